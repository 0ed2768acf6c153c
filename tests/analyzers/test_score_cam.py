"""Score-CAM against its definition, map by map."""

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import plain
from helpers.tensors import array
from keras import layers

import rap_keras
from rap_keras import InputError, create_analyzer


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return plain()


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype("float32")


def slow(model, x, target, layer, value):
    """Algorithm 1 of the paper."""
    features = array(keras.Model(model.input, model.get_layer(layer).output)(x[None]))[0]
    scores, resized = [], []
    for k in range(features.shape[-1]):
        mask = array(keras.ops.image.resize(features[..., k : k + 1], x.shape[:2]))[..., 0]
        low, high = mask.min(), mask.max()
        mask = (mask - low) / (high - low) if high > low else np.zeros_like(mask)
        seen = x * mask[..., None] + value * (1 - mask[..., None])
        scores.append(float(array(model(seen[None].astype("float32")))[0, target]))
        resized.append(features[..., k])
    weights = np.exp(np.array(scores) - max(scores))
    weights /= weights.sum()
    summed = np.maximum(sum(w * m for w, m in zip(weights, resized, strict=True)), 0)
    return array(keras.ops.image.resize(summed[..., None], x.shape[:2]))[..., 0]


@pytest.mark.parametrize("value", [0, [0.5, -1, 2]])
def test_it_equals_the_definition_of_the_paper(value, model, x):
    layer = next(name for name in (one.name for one in model.layers[::-1]) if "conv" in name)
    analyzer = create_analyzer("score_cam", model, layer=layer, value=value, batch_size=3)
    found = analyzer.analyze(x, target=[7, 0])
    for k, target in enumerate((7, 0)):
        expected = slow(model, x[k], target, layer, np.asarray(value))
        assert_same(found[k].sum(-1), expected)
    assert found.any((1, 2, 3)).all()
    assert (found >= 0).all()


@pytest.mark.parametrize("shape", [(10, 2), (4, 6, 8, 1)])
def test_series_and_volumes(shape):
    keras.utils.set_random_seed(3)
    inputs = keras.Input(shape)
    conv = layers.Conv1D if len(shape) == 2 else layers.Conv3D
    features = conv(4, 2, strides=2, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(features)))
    x = np.random.default_rng(0).normal(size=(1, *shape)).astype("float32")
    known = array(keras.Model(inputs, features)(x))[0].astype(np.float64)
    size, scores = shape[:-1], []
    for k in range(4):
        mask = stretched(known[..., k], size)
        mask = (mask - mask.min()) / (np.ptp(mask) or 1)
        shown = (x * mask[..., None]).astype("float32")
        scores.append(float(array(model(shown))[0, 1]))
    weights = np.exp(scores) / np.exp(scores).sum()
    expected = stretched(np.maximum(known @ weights, 0), size)
    found = create_analyzer("score_cam", model, batch_size=3).analyze(x, 1)[0].sum(-1)
    assert found.any()
    assert_same(found, expected)


def stretched(places, size):
    """Linear along each axis, between the centres of the places, corner to corner."""
    for axis, n in enumerate(size):
        centres = (np.arange(places.shape[axis]) + 0.5) * n / places.shape[axis] - 0.5
        lines = [np.interp(np.arange(n), centres, line) for line in _lines(places, axis)]
        others = [m for k, m in enumerate(places.shape) if k != axis]
        places = np.moveaxis(np.reshape(lines, (*others, n)), -1, axis)
    return places


def _lines(places, axis):
    return np.moveaxis(places, axis, -1).reshape(-1, places.shape[axis])


def test_it_is_saved_and_takes_images_only(model, x, tmp_path):
    analyzer = create_analyzer("score_cam", model)
    analyzer.save(tmp_path / "saved")
    again = rap_keras.load_analyzer(tmp_path / "saved")
    assert again.options() == analyzer.options()
    np.testing.assert_array_equal(again.analyze(x), analyzer.analyze(x))
    flat = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(InputError, match="an input of images"):
        create_analyzer("score_cam", flat)


@pytest.mark.parametrize("target", [0, 1])
def test_the_layer_may_be_the_last_with_weights(target):
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6, 6, 3))
    features = layers.Conv2D(1, 3, name="features")(inputs)
    mean = layers.GlobalAveragePooling2D()(features)
    model = keras.Model(inputs, layers.Activation("sigmoid")(mean))
    head = layers.Dense(1, "sigmoid", kernel_initializer="ones")(mean)
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")
    found, expected = (
        create_analyzer("score_cam", one, layer="features").analyze(x, target)
        for one in (model, keras.Model(inputs, head))
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)
