import helpers.layer_cases as cases
import keras
import numpy as np
import pytest
from helpers import reference
from helpers.kernel_rules import takes_images
from helpers.layer_cases import ALL_CASES, close, unoptimized_graphs  # noqa: F401
from helpers.tensors import array, graphed, tensor

from rap_keras.rules import rap_released

L = keras.layers
pytestmark = pytest.mark.usefixtures("unoptimized_graphs")
image_cases = pytest.mark.parametrize("case", list(filter(takes_images, ALL_CASES)), ids=repr)


@image_cases
def test_given_box(case):
    layer, x, r = cases.build(case), cases.inputs(case, "signed"), cases.relevance(case)
    rng = cases.generator(case.name, "released box")
    low, high = x - rng.random(x.shape), x + rng.random(x.shape)
    found = rap_released.linear_layer(
        layer,
        [tensor(x)],
        [keras.ops.zeros_like(r)],
        [tensor(r)],
        box=(tensor(low), tensor(high)),
    )[0]
    matrix = cases.matrices(case)[0][0]
    for n, one in enumerate(array(found)):
        flat = (a[n].ravel() for a in (low, high))
        expected = reference.first(x[n].ravel(), matrix, r[n].ravel(), matrix, *flat)
        close(one, expected.reshape(one.shape))


def test_signed_inputs_take_twice_the_relevance():
    case = ALL_CASES[0]
    r = cases.relevance(case)
    for kind, times in (("signed", 2), ("nonnegative", 1)):
        x = tensor(cases.inputs(case, kind))
        (found,) = rap_released.linear_layer(cases.build(case), [x], [], [tensor(r)])
        close(keras.ops.sum(found, 1), times * r.sum(1))


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("scale", [True, False])
def test_batch_normalization(axis, scale):
    layer = L.BatchNormalization(axis=axis, scale=scale, dtype="float64")
    layer.build((None, 4, 3, 5))
    rng = np.random.default_rng(3)
    if scale:
        gamma = rng.normal(size=layer.gamma.shape)
        gamma[1] = 0
        layer.gamma.assign(gamma)
    x, r = rng.normal(size=(2, 3, 4, 3, 5))
    x[rng.random(x.shape) < 0.3] = 0

    @graphed
    def graph(x, r):
        return rap_released.batch_normalization(layer, [x], [layer(x)], [r])[0]

    found = graph(tensor(x), tensor(r))
    expected = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        passes = x[index] != 0 and not (scale and index[axis] == 1)
        expected[index] = r[index] if passes else 0
    np.testing.assert_array_equal(found, expected)


def simple(layer, xs, r):
    @graphed
    def graph(xs, r):
        outputs = [layer(xs if len(xs) > 1 else xs[0])]
        return rap_released.simple(layer, xs, outputs, [r])

    return [array(value) for value in graph([tensor(x) for x in xs], tensor(r))]


def signed_batch(shape, seed, zeros=0.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, *shape))
    return x * (rng.random(x.shape) >= zeros), rng


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("zeros", [0.0, 0.9])
def test_simple_max_pooling_passes_nothing_where_the_maximum_is_zero(padding, zeros):
    x, rng = signed_batch((5, 6, 2), 4, zeros)
    if zeros:
        x = np.abs(x)
    shape, inputs_of = reference.windows(x.shape[1:], (3, 2), (2, 2), padding)
    r = rng.normal(size=(3, *shape))
    found = simple(L.MaxPooling2D((3, 2), 2, padding, dtype="float64"), [x], r)[0]
    expected = np.zeros(x.shape)
    for n in range(3):
        alive = np.array([max(x[n][p] for p in inputs_of[o]) != 0 for o in np.ndindex(*shape)])
        assert alive.all() == (not zeros)
        expected[n] = reference.winners(x[n], inputs_of, r[n] * alive.reshape(shape))
    close(found, expected)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("zeros", [0.0, 0.8])
def test_simple_average_pooling(padding, zeros):
    x, rng = signed_batch((5, 6, 2), 5, zeros)
    shape, inputs_of = reference.windows(x.shape[1:], (2, 3), (2, 2), padding)
    matrix = reference.averages(x.shape[1:], shape, inputs_of)
    r = rng.normal(size=(3, *shape))
    layer = L.AveragePooling2D((2, 3), 2, padding, dtype="float64")
    cases.computes(layer, x, (x.reshape(3, -1) @ matrix).reshape(3, *shape))
    found = simple(layer, [x], r)[0]
    expected = [
        reference.signed_proportion(x[n].ravel(), matrix, r[n].ravel()).reshape(x[n].shape)
        for n in range(3)
    ]
    close(found, expected)


def test_simple_global_average_pooling():
    x, rng = signed_batch((3, 4, 2), 6)
    r = rng.normal(size=(3, 2))
    found = simple(L.GlobalAveragePooling2D(dtype="float64"), [x], r)[0]
    expected = [
        [
            [[x[n, a, b, c] * r[n, c] / x[n, :, :, c].sum() for c in range(2)] for b in range(4)]
            for a in range(3)
        ]
        for n in range(3)
    ]
    close(found, expected)


def test_simple_maximum():
    x, rng = signed_batch((4, 3), 7)
    y, r = rng.normal(size=(2, *x.shape))
    x[0, 0], y[0, 0] = 0, -1
    found = simple(L.Maximum(dtype="float64"), [x, y], r)
    alive = np.maximum(x, y) != 0
    assert not alive[0, 0].any()
    close(found[0], np.where((x > y) & alive, r, 0))
    close(found[1], np.where((y > x) & alive, r, 0))


def test_simple_takes_a_given_transposed_map():
    x, r = tensor([[1.0, 2.0]]), tensor([[3.0, 4.0]])
    found = rap_released.simple(None, [x], [x], [r], transposed=lambda s: [10 * t for t in s])
    close(found[0], [[30.0, 40.0]], 1e-6)
