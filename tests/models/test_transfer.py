"""Networks as tutorials of transfer learning build them: augmentation, an application, a new head."""

import keras
import numpy as np
import pytest
from helpers.command_line import succeed
from helpers.compare import assert_same
from helpers.layer_cases import VERSION
from keras.ops import convert_to_numpy
from PIL import Image

import rap_keras
from rap_keras.models.loading import load_model

layers = keras.layers
hdf5 = pytest.mark.skipif(
    VERSION < (3, 6), reason="Keras before 3.6 saves no RandomRotation as HDF5"
)

pytestmark = [
    pytest.mark.skipif(keras.__version__ < "3", reason="the native backend is of Keras 3"),
    # Keras 3.15 saves variables in a way that NumPy 2.4 deprecates.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]

SIZE, CLASSES = 32, 3


def augmentations():
    return [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.1),
        layers.RandomZoom(0.1),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomContrast(0.1),
    ]


def base():
    """An application whose weights are random, but whose normalization fits, as trained ones do."""
    model = keras.applications.MobileNet(
        input_shape=(SIZE, SIZE, 3), alpha=0.25, include_top=False, weights=None
    )
    normalizations = [x for x in model.layers if isinstance(x, layers.BatchNormalization)]
    for layer in normalizations:
        layer.momentum = 0.0
    model(np.random.default_rng(1).uniform(-1, 1, (16, SIZE, SIZE, 3)), training=True)
    model.trainable = False
    return model


def head():
    return [
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.2),
        layers.Dense(
            CLASSES, "softmax", kernel_initializer=keras.initializers.RandomNormal(0, 0.2)
        ),
    ]


def chain(x, steps):
    for step in steps:
        x = step(x)
    return x


def sequential_flat():
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            *augmentations(),
            layers.Rescaling(1 / 127.5, offset=-1),
            base(),
            *head(),
        ]
    )


def sequential_nested():
    """The augmentation is a Sequential model without an Input, as the tutorials have it."""
    model = keras.Sequential(
        [keras.Sequential(augmentations()), layers.Rescaling(1 / 127.5, offset=-1), base(), *head()]
    )
    model.build((None, SIZE, SIZE, 3))
    return model


def functional():
    """The preprocessing is operations of Keras, and the base is called in inference mode."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.Sequential(augmentations())(inputs)
    x = keras.applications.mobilenet.preprocess_input(x)
    return keras.Model(inputs, chain(base()(x, training=False), head()))


def functional_layers():
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(chain(inputs, augmentations()))
    return keras.Model(inputs, chain(base()(x, training=False), head()))


CASES = [
    *(
        pytest.param(build, suffix, marks=[pytest.mark.slow, *marks])
        for build, suffix, marks in [
            (sequential_nested, ".keras", []),
            (sequential_flat, ".keras", []),
            (sequential_flat, ".h5", [hdf5]),
            (sequential_nested, ".h5", [hdf5]),
            (functional, ".keras", []),
            (functional, ".h5", [hdf5]),
            (functional_layers, ".keras", []),
            (functional_layers, ".h5", [hdf5]),
        ]
    ),
]


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize(("build", "suffix"), CASES)
def test_saved_loaded_and_explained(build, suffix, images, tmp_path):
    model = build()
    model.save(tmp_path / f"model{suffix}")
    loaded = load_model(str(tmp_path / f"model{suffix}"), preprocess="none")
    assert loaded.input_size == (SIZE, SIZE)
    x = loaded.preprocess(images)
    probabilities = convert_to_numpy(model(x, training=False))
    assert probabilities.std() > 0.05
    found = rap_keras.create_analyzer("rap", loaded.network).explain(x)
    exponentials = np.exp(found.logits)
    assert_same(exponentials / exponentials.sum(1, keepdims=True), probabilities, 1e-4)
    np.testing.assert_array_equal(found.neurons, probabilities.argmax(1))
    error = found.relevance.sum((1, 2, 3)) - found.logits.max(1)
    assert np.abs(error / np.abs(found.relevance).sum((1, 2, 3))).max() < 1e-5


@pytest.mark.slow
@hdf5
def test_the_command_line_explains_it(images, tmp_path):
    model = sequential_nested()
    model.save(tmp_path / "model.h5")
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    arguments = [
        "--model",
        tmp_path / "model.h5",
        "--preprocess",
        "none",
        "--out",
        tmp_path / "out",
    ]
    text = succeed("explain", tmp_path / "a.png", *arguments)
    assert f"class {np.argmax(model(np.float32(images[:1]), training=False))}, logit" in text


@pytest.mark.slow
def test_augmentation_and_scaling_change_nothing_of_the_map(images):
    model = sequential_flat()
    at = [layer.name.startswith("mobilenet") for layer in model.layers].index(True)
    inputs = keras.Input((SIZE, SIZE, 3))
    plain = keras.Model(inputs, chain(inputs, model.layers[at:]))
    found, expected = (
        rap_keras.create_analyzer("rap", network).analyze(x)
        for network, x in [(model, images.astype(np.float32)), (plain, images / 127.5 - 1)]
    )
    assert_same(found, expected, 1e-4)
