"""Class activation maps of series, volumes, videos, tokens and models with several inputs."""

import keras
import numpy as np
import pytest
from helpers.compare import FLOAT32, assert_same
from helpers.networks import biased
from helpers.tensors import array, slopes, tensor
from keras import layers

from rap_keras import InputError, create_analyzer

NAMES = ["grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam"]


def series():
    x = inputs = keras.Input((11, 3))
    x = layers.Conv1D(4, 3, activation="relu")(x)
    x = features = layers.Conv1D(5, 2, strides=2, activation="relu")(x)
    return inputs, features, layers.GlobalMaxPooling1D()(x)


def tokens():
    x = inputs = keras.Input((9,), dtype="int32")
    x = layers.Embedding(20, 4)(x)
    x = features = layers.Conv1D(5, 3, activation="relu")(x)
    return inputs, features, layers.Flatten()(x)


def volume():
    x = inputs = keras.Input((6, 8, 10, 1))
    x = layers.Conv3D(4, 3, activation="relu")(x)
    x = features = layers.MaxPooling3D((1, 2, 2))(x)
    return inputs, features, layers.Flatten()(x)


def video():
    x = inputs = keras.Input((3, 8, 7, 2))
    x = layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu"))(x)
    x = features = layers.TimeDistributed(layers.MaxPooling2D())(x)
    x = layers.TimeDistributed(layers.Flatten())(x)
    return inputs, features, layers.Flatten()(layers.Dense(6, activation="relu")(x))


def recurrent():
    x = inputs = keras.Input((3, 6, 6, 2))
    x = features = layers.ConvLSTM2D(4, 3, return_sequences=True)(x)
    return inputs, features, layers.Flatten()(x)


KINDS = {
    "series": (series, (11, 3)),
    "tokens": (tokens, (9,)),
    "volume": (volume, (6, 8, 10, 1)),
    "video": (video, (3, 8, 7, 2)),
    "recurrent": (recurrent, (3, 6, 6, 2)),
}


GRAPH = pytest.mark.programs  # TensorFlow's Conv3D has no gradient outside of a graph


# Every equation on a series, one or two on what is computed the same way.
def coarse(name, a, g):
    """One sample's map, position by position, as the papers write it, without the final ReLU."""
    places = a.shape[:-1]
    result = np.zeros(places)
    for k in range(a.shape[-1]):
        if name == "grad_cam":
            weight = np.full(places, g[..., k].sum() / np.prod(places))
        elif name == "grad_cam_plus_plus":  # of Y = exp(S), over exp(S)
            weight = 0.0
            for place in np.ndindex(*places):
                second, third = g[(*place, k)] ** 2, g[(*place, k)] ** 3
                below = 2 * second + a[..., k].sum() * third
                weight += (second / below if below else 0) * max(g[(*place, k)], 0)
        else:
            weight = g[..., k] if name == "hires_cam" else np.maximum(g[..., k], 0)
        result += weight * a[..., k]
    return result


def stretched(places, size):
    """Linear along each axis, between the centres of the places, corner to corner."""
    for axis, n in enumerate(size):
        cells = places.shape[axis]
        centres = (np.arange(cells) + 0.5) * n / cells - 0.5
        places = np.apply_along_axis(
            lambda line, n=n, centres=centres: np.interp(np.arange(n), centres, line), axis, places
        )
    return places


def samples(shape, rng, n=2):
    if len(shape) == 1:
        return rng.integers(0, 20, (n, *shape))
    return rng.normal(size=(n, *shape)).astype(np.float32)


def maps_of(name, features, above, neurons):
    """The maps of each sample, from feature maps and the model above them."""
    chosen = np.eye(above.output.shape[-1], dtype=features.dtype)[neurons]
    (gradients,) = slopes(lambda a: above(a) * tensor(chosen), [features])
    pairs = zip(features.astype(np.float64), gradients.astype(np.float64), strict=True)
    return [coarse(name, a, g) for a, g in pairs]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, marks=GRAPH if kind == "volume" else ())
        for kind in KINDS
        for name in NAMES
    ],
)
@pytest.mark.quick(
    "series-grad_cam_plus_plus", "tokens-layer_cam", "volume-hires_cam", "video-grad_cam"
)
def test_maps_are_those_of_the_equations(kind, name, rng):
    build, shape = KINDS[kind]
    inputs, features, x = build()
    model = biased(keras.Model(inputs, layers.Dense(4)(x)))
    x, neurons = samples(shape, rng), [1, 3]
    found = create_analyzer(name, model, relu=False).analyze(x, neurons)
    assert found.shape == x.shape
    known = array(keras.Model(inputs, features)(x))
    maps = maps_of(name, known, keras.Model(features, model.output), neurons)
    size = shape[: known.ndim - 2]
    expected = np.stack([stretched(one, size) for one in maps])
    assert abs(expected).max() > 0
    found = found if kind == "tokens" else found.sum(-1)
    assert_same(found, expected, 1e-3 if "plus" in name else 10 * FLOAT32)


def of_frames():
    """A network that is called for each frame of a video and has no maps at its end."""
    x = frame = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(x)
    x = features = layers.Conv2D(5, 3, strides=2, activation="relu", name="last")(x)
    encoder = keras.Model(frame, layers.GlobalAveragePooling2D()(x), name="encoder")
    x = inputs = keras.Input((4, 8, 8, 3))
    x = layers.TimeDistributed(encoder, name="each")(x)
    model = biased(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))))
    return model, keras.Model(frame, features)


@pytest.mark.parametrize("layer", [None, "each", "each/last"])
@pytest.mark.quick("None")
def test_the_maps_of_all_frames_are_one_map(layer, rng):
    model, features = of_frames()
    x, neurons = samples((4, 8, 8, 3), rng), [2, 0]
    found = create_analyzer("grad_cam", model, layer=layer, relu=False).analyze(x, neurons)
    known = np.stack([array(features(x[:, k])) for k in range(4)], 1)
    inputs = keras.Input(known.shape[1:])
    mean = keras.ops.mean(inputs, (2, 3))
    above = keras.Model(inputs, model.layers[-1](layers.Flatten()(mean)))
    maps = maps_of("grad_cam", known, above, neurons)
    assert_same(found.sum(-1), np.stack([stretched(one, (4, 8, 8)) for one in maps]), 10 * FLOAT32)


def image_and_row():
    image, row = keras.Input((12, 12, 3), name="image"), keras.Input((5,), name="row")
    x = layers.Conv2D(4, 3, strides=2, activation="relu")(image)
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.Dense(3)(row)])
    return biased(keras.Model([image, row], layers.Dense(3)(layers.Dense(6, "relu")(x))))


@pytest.mark.parametrize("name", ["grad_cam", "score_cam"])
@pytest.mark.quick("grad_cam")
def test_the_other_inputs_are_constants(name, rng):
    """The map of an image is that of the model of this image alone, with the others as they are."""
    model = image_and_row()
    x = [samples((12, 12, 3), rng), samples((5,), rng) / 9]
    with pytest.warns(UserWarning, match="gives zeros to 'row', whose positions layer 'conv2d"):
        image, row = create_analyzer(name, model).analyze(x, [1, 2])
    assert not row.any()
    for k in range(2):
        alone = keras.Input((12, 12, 3))
        fixed = keras.ops.zeros_like(alone[:, 0, 0, :1]) + x[1][k : k + 1].astype("float32")
        one = keras.Model(alone, model([alone, fixed]))
        expected = create_analyzer(name, one).analyze(x[0][k : k + 1], 1 + k)
        assert_same(image[k : k + 1], expected, 10 * FLOAT32)


def two_images():
    image = keras.Input((8, 8, 3))
    features = layers.Conv2D(4, 3, activation="relu", name="map")(image)
    encoder = keras.Model(image, layers.Flatten()(features), name="encoder")
    first, second = keras.Input((8, 8, 3), name="first"), keras.Input((8, 8, 3), name="second")
    joined = layers.Concatenate()([encoder(first), encoder(second)])
    return biased(keras.Model([first, second], layers.Dense(3)(joined)))


def test_of_two_images_the_layer_names_one(rng):
    model = two_images()
    x = [samples((8, 8, 3), rng), samples((8, 8, 3), rng)]
    with pytest.raises(InputError, match="layer='encoder/map:0', 'encoder:1/map'") as error:
        create_analyzer("hires_cam", model)
    assert "\n" not in str(error.value)
    analyzer = create_analyzer("hires_cam", model, layer="encoder:1/map")
    with pytest.warns(UserWarning, match="gives zeros to 'first'"):
        first, second = analyzer.analyze(x)
    assert not first.any()
    assert second.any()


def test_a_layer_that_sees_two_images_explains_both(rng):
    first, second = keras.Input((8, 8, 3)), keras.Input((8, 8, 1))
    x = layers.Concatenate()([first, second])
    x = layers.Conv2D(4, 3, activation="relu")(x)
    model = biased(keras.Model([first, second], layers.Dense(3)(layers.Flatten()(x))))
    found = create_analyzer("hires_cam", model).analyze(
        [samples((8, 8, 3), rng), samples((8, 8, 1), rng)]
    )
    assert found[0].any()
    assert_same(found[0].sum(-1), found[1].sum(-1))


def test_the_layer_has_the_axes_of_the_input():
    x = inputs = keras.Input((11, 3))
    x = layers.Flatten(name="flat")(layers.Conv1D(4, 3)(x))
    model = keras.Model(inputs, layers.Dense(2)(x))
    with pytest.raises(InputError, match=r"one output of shape \(batch, steps, channels\), got"):
        create_analyzer("grad_cam", model, layer="flat")
