"""Centres of receptive fields against the centre of mass of a cell's gradient, and the default layer."""

import keras
import numpy as np
import pytest
from helpers.tensors import slopes
from keras import layers, ops

from rap_keras import InputError
from rap_keras.backends.keras3.trace import trace
from rap_keras.network.feature_maps import default_map, ends, feature_maps
from rap_keras.network.receptive_fields import centres


def conv(filters=1, size=3, **options):
    return layers.Conv2D(filters, size, kernel_initializer="ones", use_bias=False, **options)


def same(size, stride):
    return conv(size=size, strides=stride, padding="same")


def stem(x):
    return same(3, 2)(x)


def transposed(size, stride, padding):
    return layers.Conv2DTranspose(
        1, size, strides=stride, padding=padding, kernel_initializer="ones", use_bias=False
    )


def gated(x):
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return layers.Multiply()([x, layers.Dense(1, activation="sigmoid")(gate)])


NETWORKS = {
    "same, size 3": lambda x: same(3, 2)(stem(x)),
    "same, size 5 and stride 3": lambda x: same(5, 3)(x),
    "same, size 2 and 4": lambda x: same(4, 2)(same(2, 2)(x)),
    "valid": lambda x: conv(size=4, strides=3)(conv(strides=2)(x)),
    "dilation": lambda x: conv(dilation_rate=2, padding="same")(stem(x)),
    "depthwise and separable": lambda x: layers.SeparableConv2D(
        1, 3, strides=2, padding="same", depthwise_initializer="ones", pointwise_initializer="ones"
    )(layers.DepthwiseConv2D(3, strides=2, padding="same", depthwise_initializer="ones")(x)),
    "pooling": lambda x: layers.AveragePooling2D(3, 2, "same")(layers.AveragePooling2D(2)(x)),
    "padding and cropping": lambda x: layers.Cropping2D(((2, 1), (1, 3)))(
        conv(strides=2)(layers.ZeroPadding2D(((0, 1), (3, 0)))(x))
    ),
    "padding, an operation": lambda x: conv(strides=2)(
        ops.pad(x, [[0, 0], [1, 2], [2, 0], [0, 0]])
    ),
    "a slice": lambda x: stem(x)[:, 1:, 2:-1],
    "a flip": lambda x: ops.flip(stem(x), 2),
    "channels": lambda x: ops.split(conv(4, strides=2, padding="same")(x), 2, -1)[1],
    "upsampling": lambda x: layers.UpSampling2D((2, 3), interpolation="bilinear")(stem(stem(x))),
    "resizing": lambda x: layers.Resizing(24, 12)(stem(stem(x))),
    "transposed, same": lambda x: transposed(3, 2, "same")(stem(stem(x))),
    "transposed, valid": lambda x: transposed(4, 2, "valid")(stem(stem(x))),
    "a gate": lambda x: gated(stem(x)),
    "branches that agree": lambda x: layers.Concatenate()([stem(x), same(5, 2)(x)]),
    "an operation with weights": lambda x: ops.conv(
        x, np.ones((3, 3, 1, 1), np.float32), strides=2, padding="same"
    ),
}


def centre_of_mass(model, row, column):
    x = np.ones((1, *model.input_shape[1:]), "float32")
    (slope,) = slopes(lambda x: model(x)[:, row, column], [x])
    mass = np.abs(slope[0].sum(-1))
    rows, columns = np.indices(mass.shape)
    return (mass * rows).sum() / mass.sum(), (mass * columns).sum() / mass.sum()


@pytest.mark.parametrize("name", NETWORKS)
def test_centres_are_those_of_the_gradients(name):
    x = keras.Input((48, 45, 1))
    model = keras.Model(x, NETWORKS[name](x))
    graph = trace(model)
    rows, columns = centres(graph, graph.output, lambda slot: graph.shapes[slot][1:3])
    # The gate's own gradient is everywhere: it is left out, as a layer that looks at the whole image.
    seen = keras.Model(x, stem(x)) if name == "a gate" else model
    cells = [(4, 4), (4, 5), (5, 4), (5, 5)]
    found = np.array([centre_of_mass(seen, *cell) for cell in cells])
    computed = np.array(
        [(rows.first + rows.step * r, columns.first + columns.step * c) for r, c in cells]
    )
    if name == "transposed, valid":  # every other cell sees the same part of the image
        found, computed = found.mean(0), computed.mean(0)
    np.testing.assert_allclose(computed, found, atol=1e-3)


def kernel(layer, size, strides=1, **options):
    return layer(1, size, strides=strides, kernel_initializer="ones", use_bias=False, **options)


OTHER_AXES = {
    "causal": (
        (40, 1),
        lambda x: kernel(layers.Conv1D, 3, 2, padding="causal")(
            kernel(layers.Conv1D, 4, padding="causal", dilation_rate=2)(x)
        ),
    ),
    "series, padded and cropped": (
        (41, 1),
        lambda x: layers.Cropping1D((2, 1))(
            kernel(layers.Conv1D, 3, 2, padding="same")(
                layers.AveragePooling1D(2)(layers.ZeroPadding1D((3, 1))(x))
            )
        ),
    ),
    "series, transposed": (
        (20, 1),
        lambda x: kernel(layers.Conv1DTranspose, 3, 2, padding="same")(x[:, 1:]),
    ),
    "volume": (
        (17, 28, 23, 1),
        lambda x: kernel(layers.Conv3D, (2, 3, 4), (2, 2, 1), padding="same")(
            layers.ZeroPadding3D(((1, 0), (0, 2), (2, 2)))(layers.AveragePooling3D((1, 2, 2))(x))
        ),
    ),
}


@pytest.mark.parametrize("name", OTHER_AXES)
def test_centres_of_series_and_volumes(name):
    shape, build = OTHER_AXES[name]
    x = keras.Input(shape)
    model = keras.Model(x, build(x))
    graph = trace(model)
    axes = centres(graph, graph.output, lambda slot: graph.shapes[slot][1:-1])
    for cell in (4, 5):
        cells = (cell,) * len(axes)
        (slope,) = slopes(
            lambda x, cells=cells: model(x)[(slice(None), *cells)],
            [np.ones((1, *shape), "float32")],
        )
        mass = np.abs(slope[0].sum(-1))
        found = [(mass * place).sum() / mass.sum() for place in np.indices(mass.shape)]
        computed = [axis.first + axis.step * cell for axis in axes]
        if name == "series, transposed":  # of two cells that see the same part, one sees more
            np.testing.assert_allclose(computed, found, atol=0.5)
        else:
            np.testing.assert_allclose(computed, found, atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_are_those_of_the_gradients(name):
    x = keras.Input((48, 45, 1))
    model = keras.Model(x, NETWORKS[name](x))
    graph = trace(model)
    axes = centres(graph, graph.output, lambda slot: graph.shapes[slot][1:3])
    seen = keras.Model(x, stem(x)) if name == "a gate" else model
    image = np.ones((1, 48, 45, 1), "float32")
    found = np.zeros(2)
    for row, column in [(4, 4), (4, 5), (5, 4), (5, 5)]:  # neighbours may see different numbers
        (slope,) = slopes(lambda x, at=(row, column): seen(x)[:, at[0], at[1]], [image])
        touched = np.nonzero(slope[0, ..., 0])
        found = np.maximum(found, [np.ptp(places) + 1 for places in touched])
    computed = [axis.size for axis in axes]
    if name in ("upsampling", "resizing"):  # the size is a bound of up to two cells
        assert (found <= computed).all()
        assert (found > np.array(computed) - 8).all()
    else:
        np.testing.assert_array_equal(computed, found)


def test_branches_that_differ_are_averaged():
    x = keras.Input((16, 16, 1))
    graph = trace(keras.Model(x, layers.Add()([conv(size=1, strides=2)(x), same(3, 2)(x)])))
    rows, _ = centres(graph, graph.output, lambda slot: graph.shapes[slot][1:3])
    assert (rows.first, rows.step, rows.size) == (0.5, 2, 3)


@pytest.mark.parametrize(
    "moving",
    [
        lambda x: ops.roll(x, 3, 1),
        lambda x: ops.transpose(x, (0, 2, 1, 3)),
        lambda x: layers.Concatenate(1)([x, x]),
        lambda x: layers.Resizing(8, 4, crop_to_aspect_ratio=True)(x),
    ],
)
def test_unknown_positions_are_refused(moving):
    x = keras.Input((8, 8, 1))
    graph = trace(keras.Model(x, stem(moving(x))))
    with pytest.raises(
        InputError, match='choose an earlier layer, or leave align="image"'
    ) as error:
        centres(graph, graph.output, lambda slot: graph.shapes[slot][1:3])
    assert "\n" not in str(error.value)


def head(x):
    return layers.Dense(3)(layers.GlobalAveragePooling2D()(x))


def trunk(name):
    x = keras.Input((12, 12, 3))
    return keras.Model(x, head(layers.Conv2D(2, 3, name=f"{name}_map")(x)), name=name)


def on_stem(*branches):
    def build(x):
        x = layers.Conv2D(2, 3, name="stem")(x)
        return layers.Add()([head(branch(x)) for branch in branches])

    return build


def inception(x):
    parts = [layers.Conv2D(2, size, padding="same")(x) for size in (1, 3)]
    return head(layers.Concatenate(name="joined")(parts))


def excited(x):
    x = layers.Conv2D(4, 3, name="before")(x)
    gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return head(layers.Multiply(name="excited")([x, gate]))


def shuffled(x):
    x, kept = ops.split(layers.Conv2D(4, 3, name="before")(x), 2, -1)
    return head(layers.Concatenate(name="joined")([layers.Conv2D(2, 1)(x), kept]))


def with_class_token(x):
    x = layers.Conv2D(4, 3, strides=3, name="patches")(x)
    token = layers.Dense(4, use_bias=False)(ops.ones((1, 1)))
    tokens = ops.concatenate([ops.reshape(x, (-1, 16, 4)), ops.ones_like(x[:, 0, :1])], 1)
    return layers.Dense(3)(tokens[:, 0] + tokens[:, -1] + token)


def with_mean_colour(x):
    colour = layers.GlobalAveragePooling2D()(x)
    x = layers.Conv2D(4, 3, name="only")(layers.Rescaling(2.0)(x))
    return layers.Add()([head(x), layers.Dense(3)(colour)])


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (inception, "joined"),
        (excited, "excited"),
        (shuffled, "joined"),
        (with_class_token, "patches"),
        (with_mean_colour, "only"),
        (on_stem(layers.Conv2D(2, 3), layers.Conv2D(2, 5)), "stem"),
        (on_stem(layers.Conv2D(2, 3), lambda x: x), "stem"),
    ],
)
def test_the_default_is_the_last_map_on_every_path(build, name):
    x = keras.Input((12, 12, 3))
    graph = trace(keras.Model(x, build(x)))
    found = default_map(graph, feature_maps(graph, graph.inputs[0]))
    assert found.name == name


def test_without_one_the_last_map_of_each_branch_is_known():
    x = keras.Input((12, 12, 3))
    members = [trunk(name) for name in "abc"]
    scaled = layers.Rescaling(2.0)(x)  # passed by all, but nothing has looked at it
    graph = trace(keras.Model(x, layers.Average()([member(scaled) for member in members])))
    maps = feature_maps(graph, graph.inputs[0])
    assert default_map(graph, maps) is None
    assert [node.name for node in ends(graph, maps)] == ["a/a_map", "b/b_map", "c/c_map"]
