"""Convolutions have the values of loops over their places, on every backend."""

import itertools

import keras
import numpy as np
import pytest
from helpers import reference
from helpers.compare import FLOAT64, assert_same
from helpers.tensors import array, tensor

from rap_keras import tensors as ops

pytestmark = pytest.mark.core
SETTINGS = [  # sizes, kernel sizes, strides, padding, dilations
    ((7,), (3,), (1,), "valid", (1,)),
    ((8,), (4,), (3,), "same", (1,)),
    ((9,), (3,), (1,), "same", (2,)),
    ((5, 6), (3, 2), (1, 1), "valid", (1, 1)),
    ((7, 6), (3, 3), (2, 2), "same", (1, 1)),
    ((6, 7), (2, 3), (3, 3), "valid", (1, 1)),
    ((7, 8), (3, 2), (1, 1), "same", (2, 3)),
    ((4, 3, 5), (2, 3, 2), (1, 1, 1), "same", (1, 1, 1)),
    ((5, 4, 3), (2, 2, 2), (2, 1, 2), "valid", (1, 1, 1)),
]


def steps(axes):
    """The places (inputs, outputs, taps) of a convolution, from those along each axis."""
    for step in itertools.product(*axes):
        yield tuple(zip(*step, strict=True))


def convolved(x, kernel, strides, padding, dilations, groups=1):
    """Tap by tap and group by group."""
    sizes = zip(x.shape[1:-1], kernel.shape, strides, dilations, strict=False)
    axes = [reference.taps(*size, padding) for size in sizes]
    result = np.zeros((len(x), *(n for n, _ in axes), kernel.shape[-1]))
    inner, outer = kernel.shape[-2], kernel.shape[-1] // groups
    for taken, given, tap in steps([inside for _, inside in axes]):
        for g in range(groups):
            out = slice(g * outer, (g + 1) * outer)
            part = x[(slice(None), *taken, slice(g * inner, (g + 1) * inner))]
            result[(slice(None), *given, out)] += part @ kernel[(*tap, slice(None), out)]
    return result


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(("sizes", "lengths", "strides", "padding", "dilations"), SETTINGS, ids=str)
def test_convolutions(sizes, lengths, strides, padding, dilations, groups, rng):
    x = rng.normal(size=(2, *sizes, 6))
    kernel = rng.normal(size=(*lengths, 6 // groups, 9))
    found = ops.conv(tensor(x), tensor(kernel), strides, padding, dilations, groups)
    expected = convolved(x, kernel, strides, padding, dilations, groups)
    assert found.shape == expected.shape
    assert_same(found, expected, FLOAT64)


@pytest.mark.parametrize(
    ("sizes", "lengths", "strides", "padding", "dilations"),
    [setting for setting in SETTINGS if len(setting[0]) < 3],
    ids=str,
)
def test_convolutions_of_each_channel(sizes, lengths, strides, padding, dilations, rng):
    x, kernel = rng.normal(size=(2, *sizes, 3)), rng.normal(size=(*lengths, 3, 2))
    if max(strides) > 1 and max(dilations) > 1:
        pytest.skip("no backend has both")
    found = ops.depthwise_conv(tensor(x), tensor(kernel), strides, padding, dilations)
    grouped = kernel.reshape(*lengths, 1, 6)  # each channel is a group
    assert_same(found, convolved(x, grouped, strides, padding, dilations, 3), FLOAT64)


def test_convolutions_of_one_place(rng):
    x, kernel = rng.normal(size=(2, 4, 3, 5)), rng.normal(size=(1, 1, 5, 2))
    assert_same(ops.pointwise_conv(tensor(x), tensor(kernel)), x @ kernel[0, 0], FLOAT64)


def test_kernels_keep_their_values(rng):
    for shape in ((3, 2, 4, 5), (1, 1, 4, 5), (3, 3, 4, 1), (2, 3, 4), (4, 5), (5,)):
        weights = rng.normal(size=shape)
        np.testing.assert_array_equal(array(ops.as_kernel(tensor(weights))), weights)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("kind", ["MaxPooling2D", "AveragePooling2D"])
def test_pooling_is_that_of_the_layer(kind, padding, rng):
    x = rng.integers(3, size=(2, 7, 6, 3)).astype("float32")  # some of the largest are equal
    for settings in ({"pool_size": 2}, {"pool_size": (3, 2), "strides": (2, 3)}):
        layer = getattr(keras.layers, kind)(padding=padding, **settings)
        pool = ops.pooling(layer) or layer
        values, back = ops.vjp(lambda xs, pool=pool: [pool(xs[0])], [tensor(x)])
        expected, back_expected = ops.vjp(lambda xs, layer=layer: [layer(xs[0])], [tensor(x)])
        assert_same(values[0], array(expected[0]), 1e-6)
        assert_same(back(values)[0], array(back_expected(expected)[0]), 1e-6)


def test_pooling_has_the_dtype_of_the_layer_or_of_the_tensor():
    layer = keras.layers.MaxPooling2D(dtype="float16")
    x = tensor(np.ones((1, 4, 4, 1), "float32"))
    for as_is, otherwise, dtype in ((False, layer, "float16"), (True, layer.call, "float32")):
        pool = ops.pooling(layer, as_is) or otherwise
        assert ops.dtype_name(pool(x).dtype) == dtype


def test_other_layers_are_computed_by_keras():
    class Mine(keras.layers.MaxPooling2D):
        pass

    first = keras.layers.MaxPooling2D(data_format="channels_first")
    others = [Mine(), first, keras.layers.MaxPooling1D(), keras.layers.ReLU(), keras.ops.relu]
    assert [ops.pooling(layer) for layer in others] == [None] * 5


@pytest.mark.parametrize("output_padding", [None, 0, 1])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("sizes", "lengths", "strides"),
    [
        ((4,), (3,), (2,)),
        ((3, 4), (3, 2), (2, 2)),
        ((3, 3), (2, 3), (1, 1)),
        ((2, 3, 2), (2, 2, 2), (2, 2, 2)),
    ],
    ids=str,
)
def test_transposed_convolutions(sizes, lengths, strides, padding, output_padding, rng):
    if output_padding and max(strides) == 1:
        pytest.skip("the output padding is smaller than the stride")
    if padding == "same" and output_padding == 0 and not all(n % 2 for n in lengths):
        pytest.skip("no convolution leads back from its size")
    x, kernel = rng.normal(size=(2, *sizes, 3)), rng.normal(size=(*lengths, 4, 3))
    dilations = (1,) * len(sizes)
    found = ops.conv_transpose(
        tensor(x), tensor(kernel), strides, padding, output_padding, dilations
    )
    axes = [
        reference.transposed_taps(*each, padding, output_padding)
        for each in zip(sizes, lengths, strides, dilations, strict=True)
    ]
    expected = np.zeros((2, *(n for n, _ in axes), 4))
    for taken, given, tap in steps([inside for _, inside in axes]):
        expected[(slice(None), *given)] += x[(slice(None), *taken)] @ kernel[tap].T
    assert found.shape == expected.shape
    assert_same(found, expected, FLOAT64)
