import functools

import helpers.layer_cases as cases
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import reference
from helpers.layer_cases import ALL_CASES, close, unoptimized_graphs  # noqa: F401

from rap_keras.network import linear
from rap_keras.rules import rap_released

L = keras.layers
pytestmark = pytest.mark.usefixtures("unoptimized_graphs")
KINDS = ("signed", "nonnegative", "sparse")
FULL = (L.Conv1D, L.Conv2D, L.Conv3D)


def channels(case):
    first = getattr(cases.build(case), "data_format", None) == "channels_first"
    return case.shape[0 if first else -1]


def takes_images(case):
    return isinstance(cases.build(case), FULL) and channels(case) == 3


every_kind = pytest.mark.parametrize("kind", KINDS)
every_case = pytest.mark.parametrize("case", ALL_CASES, ids=repr)
image_cases = pytest.mark.parametrize("case", list(filter(takes_images, ALL_CASES)), ids=repr)


def rule(layer, x, r, nonnegative=False):
    stages = linear.stages(layer, x)
    return rap_released.linear_layer(
        layer, [x], [stages[-1].z], [r], stages=stages, nonnegative=nonnegative
    )[0]


def run(case, x, r, **options):
    layer = cases.build(case, str(x.dtype))
    return cases.outside_a_graph(case, rule)(
        layer, tf.constant(x), tf.constant(r), **options
    ).numpy()


def expected(case, kind, dtype="float64"):
    x, r = (a.astype(dtype) for a in (cases.inputs(case, kind), cases.relevance(case)))
    matrices = cases.matrices(case, dtype)[0]
    if takes_images(case):
        return by_image_rule(x, r, matrices[0], [(a.min(), a.max()) for a in x])
    layer = cases.build(case, dtype)
    convolution = not isinstance(layer, L.Dense | L.EinsumDense)
    step = functools.partial(reference.released, convolution=convolution)
    return reference.layer_rule([step] * len(matrices), matrices, x, r)


def by_image_rule(x, r, matrix, bounds):
    result = np.zeros(x.shape)
    for n, (low, high) in enumerate(bounds):
        flat = x[n].astype(float).ravel()
        low, high = (np.broadcast_to(b, x[n].shape).astype(float).ravel() for b in (low, high))
        result[n] = reference.first(flat, matrix, r[n].ravel(), matrix, low, high).reshape(
            x[n].shape
        )
    return result


@every_kind
@every_case
def test_linear_layer(case, kind):
    x, r = cases.inputs(case, kind), cases.relevance(case)
    close(run(case, x, r), expected(case, kind))


@every_case
def test_nonnegative_is_a_shortcut_only(case):
    x, r = cases.inputs(case, "nonnegative"), cases.relevance(case)
    found = run(case, x, r, nonnegative=True)
    close(found, expected(case, "nonnegative"))


@pytest.mark.parametrize("case", ALL_CASES[::7], ids=repr)
def test_linear_layer_in_a_graph(case):
    layer = cases.build(case)
    x, r = cases.inputs(case, "signed"), cases.relevance(case)
    graph = tf.function(lambda x, r: rule(layer, x, r), autograph=False)
    close(graph(tf.constant(x), tf.constant(r)), expected(case, "signed"))


@pytest.mark.parametrize("case", ALL_CASES[::4], ids=repr)
def test_single_precision(case):
    x, r = (a.astype("float32") for a in (cases.inputs(case, "signed"), cases.relevance(case)))
    found = run(case, x, r)
    assert found.dtype == np.float32
    close(found, expected(case, "signed", "float32"), 1e-4)


@image_cases
def test_given_box(case):
    layer, x, r = cases.build(case), cases.inputs(case, "signed"), cases.relevance(case)
    rng = cases.generator(case.name, "released box")
    low, high = x - rng.random(x.shape), x + rng.random(x.shape)
    found = rap_released.linear_layer(
        layer,
        [tf.constant(x)],
        [tf.zeros_like(r)],
        [tf.constant(r)],
        box=(tf.constant(low), tf.constant(high)),
    )[0]
    matrix = cases.matrices(case)[0][0]
    close(found, by_image_rule(x, r, matrix, list(zip(low, high, strict=True))))


@every_case
def test_a_dead_sample_gives_zeros(case):
    x, r = cases.inputs(case, "signed"), cases.relevance(case)
    x[1] = 0
    found = run(case, x, r)
    assert np.isfinite(found).all()
    assert not found[1].any()


def test_signed_inputs_take_twice_the_relevance():
    case = ALL_CASES[0]
    r = cases.relevance(case)
    for kind, times in (("signed", 2), ("nonnegative", 1)):
        found = run(case, cases.inputs(case, kind), r)
        close(found.sum(1), times * r.sum(1))


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
    found = tf.function(
        lambda x, r: rap_released.batch_normalization(layer, [x], [layer(x)], [r]), autograph=False
    )(tf.constant(x), tf.constant(r))[0]
    expected = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        passes = x[index] != 0 and not (scale and index[axis] == 1)
        expected[index] = r[index] if passes else 0
    np.testing.assert_array_equal(found, expected)


def simple(layer, xs, r):
    @functools.partial(tf.function, autograph=False)
    def graph(xs, r):
        outputs = [layer(xs if len(xs) > 1 else xs[0])]
        return rap_released.simple(layer, xs, outputs, [r])

    return [value.numpy() for value in graph([tf.constant(x) for x in xs], tf.constant(r))]


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
    found = simple(L.AveragePooling2D((2, 3), 2, padding, dtype="float64"), [x], r)[0]
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


def test_simple_takes_the_transposed_map_that_is_known():
    x, r = tf.constant([[1.0, 2.0]]), tf.constant([[3.0, 4.0]])
    found = rap_released.simple(None, [x], [x], [r], transposed=lambda s: [10 * t for t in s])
    close(found[0], [[30.0, 40.0]], 1e-6)
