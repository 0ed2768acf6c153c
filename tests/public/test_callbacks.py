"""`rap_keras.callbacks`."""

import io
import sys

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import rap_keras
from rap_keras import InputError
from rap_keras.callbacks import HeatMaps

pytestmark = pytest.mark.programs  # graphs that must see the weights of each epoch


class Token(layers.Layer):
    """Its weight becomes a constant where the layer is opened."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, *shape[1:]), initializer="ones")

    def call(self, x):
        return x + keras.ops.cast(self.token * 2, x.dtype)


def network(*more):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            *more,
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    return model


@pytest.fixture
def data(rng):
    return rng.random((16, 8, 8, 3), np.float32), rng.integers(0, 3, 16)


ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


@pytest.fixture
def _writer():
    if not ON_TENSORFLOW:
        pytest.importorskip("tensorboard", reason="writes the pictures on JAX and PyTorch")


def events(file):
    """What a file for TensorBoard contains."""
    if ON_TENSORFLOW:
        import tensorflow as tf

        records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
        return [tf.compat.v1.Event.FromString(record) for record in records]
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    return [Event.FromString(record) for record in RawEventFileLoader(str(file)).Load()]


def pictures(folder):
    """The steps, names and pixels that were written."""
    found = []
    for file in sorted(folder.glob("events.*")):
        for event in events(file):
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "images"
                assert [dim.size for dim in value.tensor.tensor_shape.dim] == [3]
                width, height, png = value.tensor.string_val
                pixels = pixels_of(io.BytesIO(png))
                assert pixels.shape == (int(height), int(width), 3)
                found.append((event.step, value.tag, pixels))
    return found


def pixels_of(png):
    return np.asarray(Image.open(png).convert("RGB"))


@pytest.mark.usefixtures("_writer")
@pytest.mark.parametrize(
    "more",
    [pytest.param([], id="plain", marks=pytest.mark.slow), pytest.param([Token()], id="constants")],
)
def test_maps_of_every_epoch(more, data, tmp_path):
    x, y = data
    model = network(*more)
    maps = HeatMaps(tmp_path, x[:1], images=x[:1])
    model.fit(x, y, epochs=2, batch_size=8, verbose=0, callbacks=[maps])
    found = pictures(tmp_path)
    assert [(step, tag) for step, tag, _ in found] == [(k, "rap") for k in range(3)]
    assert not np.array_equal(found[0][2], found[2][2])
    # The last picture is that of the model as it is now.
    figure = rap_keras.create_analyzer("rap", model).explain(x[:1]).plot(x[:1])
    file = tmp_path / "now.png"
    figure.savefig(file, dpi=100)
    np.testing.assert_array_equal(found[2][2], pixels_of(file))


@pytest.mark.usefixtures("_writer")
@pytest.mark.slow
def test_every_second_epoch_of_given_neurons(data, tmp_path):
    x, y = data
    maps = HeatMaps(tmp_path, x[:1], method="gradient", target=y[:1], every=2, postprocess="abs")
    network().fit(x, y, epochs=5, verbose=0, callbacks=[maps])
    assert [(step, tag) for step, tag, _ in pictures(tmp_path)] == [
        (k, "gradient") for k in (0, 2, 4)
    ]


@pytest.mark.skipif(ON_TENSORFLOW, reason="TensorFlow writes the pictures")
def test_tensorboard_is_missing(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer", None)
    with pytest.raises(
        InputError, match=r"Expected TensorBoard .*: run pip install tensorboard\.$"
    ):
        HeatMaps(tmp_path, data[0])


@pytest.mark.usefixtures("_writer")
def test_wrong_arguments(data, tmp_path):
    x, y = data
    with pytest.raises(InputError, match="every"):
        HeatMaps(tmp_path, x, every=0)
    with pytest.raises(InputError, match="one image for each of the 16 samples, got 2"):
        HeatMaps(tmp_path, x, images=x[:2])
    with pytest.raises(InputError, match="did you mean 'rap'"):
        network().fit(x, y, verbose=0, callbacks=[HeatMaps(tmp_path, x, method="rapp")])
    assert not list(tmp_path.iterdir())
