import keras
import numpy as np
import pytest
from helpers.compare import assert_same

from rap_keras.models.loading import load_model

layers = keras.layers

pytestmark = [
    pytest.mark.skipif(keras.__version__ < "3", reason="Keras 2 has layers for its operations"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]


def test_operations_and_layers_of_one_name_in_a_nested_model(tmp_path, rng):
    inputs = keras.Input((8, 8, 4))
    x = 2 * layers.Conv2D(4, 3, padding="same")(inputs) + 0.5  # Multiply and Add, raw
    inner = keras.Model(inputs, layers.Add()([x, inputs]))  # the layer Add
    inputs = keras.Input((8, 8, 3))
    x = inner(layers.Conv2D(4, 1)(inputs / 127.5 - 1))
    x = keras.ops.concatenate([x[:, ::2], keras.ops.relu(x[:, 1::2])], axis=-1)
    x = layers.Multiply()([x, layers.Conv2D(8, 1)(x)])
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    model.save(tmp_path / "model.h5")
    images = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    loaded = load_model(str(tmp_path / "model.h5"), preprocess="none")
    assert_same(loaded.model(loaded.preprocess(images)), model(images.astype(np.float32)))


def test_the_axes_of_layers(tmp_path, rng):
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(axis=1)(layers.Conv2D(4, 1)(inputs))
    x = layers.Concatenate(axis=1)([x, layers.TimeDistributed(layers.Softmax(axis=1))(x)])
    inner = keras.Sequential([keras.Input((16, 8, 4)), layers.Softmax(axis=2), layers.Flatten()])
    model = keras.Model(inputs, layers.Dense(3)(inner(x)))
    model.save(tmp_path / "model.h5")
    images = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    loaded = load_model(str(tmp_path / "model.h5"), preprocess="unit")
    assert_same(loaded.model(loaded.preprocess(images)), model(images / np.float32(255)))
    assert [file.name for file in tmp_path.iterdir()] == ["model.h5"]
