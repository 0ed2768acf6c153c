import helpers.layer_cases as cases
import keras
import numpy as np
import pytest
from helpers import reference
from helpers.layer_cases import close
from helpers.tensors import array, graphed, not_on, tensor

from rap_keras.rules import routing

L = keras.layers
F64 = {"dtype": "float64"}


def run(rule, layer, xs, r, **options):
    """The rule in a graph, in the precision of r, as the layer at work sees its inputs."""

    @graphed
    def graph(xs, r):
        y = layer(xs if len(xs) > 1 else xs[0])
        shares = rule(layer, xs, [y], [r], **options)
        zeros = [keras.ops.zeros_like(x, dtype=r.dtype) for x in xs]
        return y, [z if share is None else share for share, z in zip(shares, zeros, strict=True)]

    y, result = graph([tensor(x) for x in xs], tensor(r))
    assert tuple(y.shape) == r.shape
    assert [tuple(a.shape) for a in result] == [x.shape for x in xs]
    return [array(a) for a in result]


def signed(shape, seed="signed"):
    return cases.generator(seed, shape).normal(size=(3, *shape))


def relevance(shape):
    return cases.generator("relevance", shape).normal(size=(3, *shape))


def samplewise(rule, x, r, *arguments):
    """A rule for flat samples, on a batch."""
    results = [rule(a.ravel(), *arguments, b.ravel()) for a, b in zip(x, r, strict=True)]
    return np.reshape(results, x.shape)


def total(a):
    return a.reshape(len(a), -1).sum(1)


# --- pass_on -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [L.ReLU(), L.Activation("tanh"), L.Dropout(0.5), L.BatchNormalization(), L.Rescaling(2.0)],
    ids=lambda layer: type(layer).__name__,
)
def test_pass_on(layer):
    x, r = signed((4, 3)).astype("float32"), relevance((4, 3)).astype("float32")
    np.testing.assert_array_equal(run(routing.pass_on, layer, [x], r)[0], r)


# --- follow --------------------------------------------------------------------------------------


def positions(layer, shape):
    """Where a rearranging layer takes each output from: flat input positions, -1 for new zeros."""
    numbers = np.arange(1, 1 + np.prod(shape), dtype="float64").reshape(1, *shape)
    return array(layer(numbers))[0].astype(int) - 1


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (L.Flatten(**F64), (2, 3, 2)),
        (L.Flatten(data_format="channels_first", **F64), (2, 3, 2)),
        (L.Reshape((3, 4), **F64), (2, 6)),
        (L.Permute((3, 1, 2), **F64), (2, 3, 4)),
        (L.RepeatVector(3, **F64), (4,)),
        (L.ZeroPadding1D((1, 2), **F64), (4, 2)),
        (L.ZeroPadding2D(((1, 0), (2, 1)), **F64), (3, 2, 2)),
        (L.ZeroPadding3D((1, 0, 2), **F64), (2, 2, 2, 2)),
        (L.Cropping1D((1, 2), **F64), (5, 2)),
        (L.Cropping2D(((1, 0), (0, 2)), **F64), (3, 4, 2)),
        (L.Cropping3D((1, 0, 1), **F64), (3, 2, 4, 2)),
        (L.CenterCrop(2, 3, **F64), (4, 5, 2)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_follow_where_values_only_move(layer, shape):
    source = positions(layer, shape)
    x, r = signed(shape), relevance(source.shape)
    expected = np.zeros((3, np.prod(shape)))
    for n in range(3):
        for out in np.ndindex(*source.shape):
            if source[out] >= 0:
                expected[n, source[out]] += r[n][out]
    close(run(routing.follow, layer, [x], r)[0], expected.reshape(x.shape))


def test_follow_flatten_permute_and_padding_by_hand():
    x, r = signed((2, 3)), relevance((6,))
    np.testing.assert_array_equal(
        run(routing.follow, L.Flatten(**F64), [x], r)[0], r.reshape(3, 2, 3)
    )
    r = relevance((3, 2))
    np.testing.assert_array_equal(
        run(routing.follow, L.Permute((2, 1), **F64), [x], r)[0], r.transpose(0, 2, 1)
    )
    r = relevance((5, 3))
    np.testing.assert_array_equal(
        run(routing.follow, L.ZeroPadding1D((1, 2), **F64), [x], r)[0], r[:, 1:3]
    )


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_follow_concatenate(axis):
    shapes = [[2, 3, 2], [2, 3, 2], [2, 3, 2]]
    for size, shape in zip((1, 3, 2), shapes, strict=True):
        shape[axis - 1 if axis > 0 else axis] = size
    xs = [signed(tuple(shape), k) for k, shape in enumerate(shapes)]
    r = relevance(np.concatenate(xs, axis).shape[1:])
    found = run(routing.follow, L.Concatenate(axis=axis, **F64), xs, r)
    for part, expected in zip(found, np.split(r, [1, 4], axis), strict=True):
        np.testing.assert_array_equal(part, expected)


POOLS = [
    (1, (7, 2), (2,), (2,)),
    (1, (7, 2), (3,), (1,)),
    (1, (8, 2), (2,), (3,)),
    (2, (5, 6, 2), (2, 2), (2, 2)),
    (2, (5, 4, 2), (3, 3), (2, 2)),
    (2, (5, 6, 2), (3, 2), (1, 2)),
    (3, (3, 4, 3, 2), (2, 2, 2), (2, 2, 2)),
    (3, (3, 4, 3, 2), (2, 3, 2), (1, 2, 1)),
]
every_pool = pytest.mark.parametrize(("rank", "shape", "pool", "strides"), POOLS)


def precision(rank):
    """TensorFlow pools volumes in single precision only."""
    return ("float32", 1e-5) if rank == 3 else ("float64", 1e-10)


every_padding = pytest.mark.parametrize("padding", ["valid", "same"])


@pytest.mark.parametrize("sign", ["signed", "negative", "nonnegative"])
@every_padding
@every_pool
def test_follow_max_pooling(rank, shape, pool, strides, padding, sign):
    x = signed(shape)
    dtype, tolerance = precision(rank)
    x = {"signed": x, "negative": -np.abs(x), "nonnegative": np.abs(x)}[sign].astype(dtype)
    layer = getattr(L, f"MaxPooling{rank}D")(pool, strides, padding, dtype=dtype)
    output_shape, inputs_of = reference.windows(shape, pool, strides, padding)
    r = relevance(output_shape).astype(dtype)
    expected = [reference.winners(a, inputs_of, b) for a, b in zip(x, r, strict=True)]
    close(run(routing.follow, layer, [x], r)[0], expected, tolerance)


@pytest.mark.parametrize(
    ("pool", "strides", "padding"),
    [(2, 2, "valid"), ((2, 3, 1), (1, 2, 2), "same"), (3, 1, "same")],
)
def test_winner_of_volumes(pool, strides, padding):
    shape = (4, 5, 3, 2)
    x = signed(shape).astype("float32")
    layer = L.MaxPooling3D(pool, strides, padding)
    output_shape, inputs_of = reference.windows(shape, layer.pool_size, layer.strides, padding)
    r = relevance(output_shape).astype("float32")
    expected = [reference.winners(a, inputs_of, b) for a, b in zip(x, r, strict=True)]
    close(run(routing.winner, layer, [x], r)[0], expected, 1e-5)
    # On a CPU TensorFlow does not pool volumes whose channels are first.
    layer.data_format = "channels_first"
    first, r_first = (tensor(np.moveaxis(a, -1, 1)) for a in (x, r))
    (found,) = routing.winner(layer, [first], [], [r_first])
    close(np.moveaxis(array(found), 1, -1), expected, 1e-5)


@pytest.mark.parametrize("scale", [0.0, 1e-6])
def test_one_winner_of_volumes_that_nearly_tie(scale):
    """TensorFlow's gradient gives all to each element within 1e-5 of the largest."""
    x = (scale * signed((4, 4, 4, 2))).astype("float32")
    r = relevance((2, 2, 2, 2)).astype("float32")
    (found,) = run(routing.winner, L.MaxPooling3D(2), [x], r)
    assert np.count_nonzero(found) == r.size
    close(total(found), total(r), 1e-5)


def test_after_padding_the_largest_real_element_wins():
    """Padding is larger than what is negative, and ties with what is 0; the first of equals wins."""
    x = -np.ones((1, 4, 4, 1))
    x[0, 0, 1, 0], x[0, 3, 3, 0] = -0.5, 0.0
    borders = [(0, 0), (1, 1), (1, 1), (0, 0)]
    padded = np.pad(np.zeros_like(x, bool), borders, constant_values=True)
    r = np.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    layer = L.MaxPooling2D(2, **F64)
    (found,) = run(routing.winner, layer, [np.pad(x, borders)], r, padded=padded)
    expected = [[1, 2, 0, 3], [4, 5, 0, 6], [0, 0, 0, 0], [7, 8, 0, 9]]
    close(found[0, :, :, 0], np.pad(np.array(expected, float), 1))


def everything(shape):
    """The one window of a global pooling."""
    return {(c,): [(*place, c) for place in np.ndindex(*shape[:-1])] for c in range(shape[-1])}


@pytest.mark.parametrize("shape", [(5, 3), (3, 4, 2), (2, 3, 2, 2)])
def test_follow_global_max_pooling(shape):
    x, r = -np.abs(signed(shape)), relevance(shape[-1:])
    layer = getattr(L, f"GlobalMaxPooling{len(shape) - 1}D")(**F64)
    expected = [reference.winners(a, everything(shape), b) for a, b in zip(x, r, strict=True)]
    close(run(routing.follow, layer, [x], r)[0], expected)


@pytest.mark.parametrize(("cls", "best"), [(L.Maximum, np.argmax), (L.Minimum, np.argmin)])
def test_follow_the_largest_or_smallest_of_several(cls, best):
    xs = [signed((3, 2), k) for k in range(3)]
    r = relevance((3, 2))
    winner = best(xs, axis=0)
    for k, part in enumerate(run(routing.follow, cls(**F64), xs, r)):
        close(part, np.where(winner == k, r, 0))


@pytest.mark.parametrize(
    "layer",
    [L.MaxPooling1D(2, **F64), L.MaxPooling1D(3, 1, "same", **F64), L.GlobalMaxPooling1D(**F64)],
    ids=["MaxPooling1D", "same", "GlobalMaxPooling1D"],
)
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_equal_winners_share_all_relevance(layer, value):
    x = np.full((3, 6, 2), value)
    r = relevance(tuple(layer(x).shape[1:]))
    close(total(run(routing.follow, layer, [x], r)[0]), total(r))


def test_equal_inputs_of_a_maximum_share_all_relevance():
    x, r = signed((4,)), relevance((4,))
    close(sum(run(routing.follow, L.Maximum(**F64), [x, x.copy()], r)), r)


def test_follow_takes_a_given_transposed_map():
    r = tensor([[3.0, 4.0]])
    found = routing.follow(None, [r], [r], [r], transposed=lambda s: [2 * t for t in s])
    close(found[0], [[6.0, 8.0]], 1e-6)


# --- in_proportion -------------------------------------------------------------------------------


def kinds_of_input(shape):
    """Signed; signed with zeros and one sample of zeros; the same non-negative."""
    x = signed(shape)
    sparse = x * (cases.generator("zeros", shape).random(x.shape) < 0.3)
    sparse[1] = 0
    return {"signed": x, "sparse": sparse, "nonnegative": np.abs(sparse)}


def check_in_proportion(layer, shape, matrix, output_shape, dtype="float64", tolerance=1e-10):
    @graphed
    def graph(x, r):
        rule, outputs = routing.in_proportion, [layer(x)]
        return rule(layer, [x], outputs, [r])[0], rule(layer, [x], outputs, [r], nonnegative=True)[
            0
        ]

    r = relevance(output_shape).astype(dtype)
    for kind, x in kinds_of_input(shape).items():
        x = x.astype(dtype)
        found, of_nonnegative = (array(value) for value in graph(tensor(x), tensor(r)))
        assert found.dtype == dtype
        close(found, samplewise(reference.in_proportion, x, r, matrix), tolerance)
        close(total(found), total(r), tolerance)
        if kind == "nonnegative":
            close(of_nonnegative, found, tolerance)


@every_padding
@every_pool
def test_in_proportion_average_pooling(rank, shape, pool, strides, padding):
    dtype, tolerance = precision(rank)
    layer = getattr(L, f"AveragePooling{rank}D")(pool, strides, padding, dtype=dtype)
    output_shape, inputs_of = reference.windows(shape, pool, strides, padding)
    matrix = reference.averages(shape, output_shape, inputs_of)
    x = signed(shape)
    expected = (x.reshape(3, -1) @ matrix).reshape(3, *output_shape)
    cases.computes(layer, x.astype(dtype), expected, tolerance)
    check_in_proportion(layer, shape, matrix, output_shape, dtype, tolerance)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("shape", [(5, 3), (3, 4, 2), (2, 3, 2, 2)])
def test_in_proportion_global_average_pooling(shape, keepdims):
    layer = getattr(L, f"GlobalAveragePooling{len(shape) - 1}D")(keepdims=keepdims, **F64)
    matrix = reference.averages(shape, shape[-1:], everything(shape))
    output_shape = ((1,) * (len(shape) - 1) if keepdims else ()) + shape[-1:]
    check_in_proportion(layer, shape, matrix, output_shape)


@pytest.mark.parametrize(
    ("layer", "shape", "factors"),
    [
        (L.UpSampling1D(2, **F64), (4, 2), (2,)),
        (L.UpSampling2D((2, 3), **F64), (3, 2, 2), (2, 3)),
        (L.UpSampling3D((2, 1, 2), **F64), (2, 2, 2, 2), (2, 1, 2)),
    ],
    ids=["1D", "2D", "3D"],
)
@pytest.mark.quick("1D", "2D")
def test_in_proportion_upsampling(layer, shape, factors):
    matrix, output_shape = reference.nearest(shape, factors)
    x = signed(shape)
    close(array(layer(x)), (x.reshape(3, -1) @ matrix).reshape(3, *output_shape))
    check_in_proportion(layer, shape, matrix, output_shape)


@pytest.mark.parametrize(
    "factors",
    [
        (2, 2),
        pytest.param((3, 2), marks=not_on("jax", "computes weights of 0 with rounding errors")),
    ],
)
def test_in_proportion_bilinear_upsampling(factors):
    """TensorFlow resizes in single precision."""
    shape = (3, 2, 2)
    layer = L.UpSampling2D(factors, interpolation="bilinear", **F64)
    matrix, output_shape = reference.bilinear(shape, factors)
    x = signed(shape)
    close(array(layer(x)), (x.reshape(3, -1) @ matrix).reshape(3, *output_shape), 1e-6)
    check_in_proportion(layer, shape, matrix, output_shape, tolerance=1e-5)


@pytest.mark.parametrize("reduce", [keras.ops.mean, keras.ops.sum], ids=["mean", "sum"])
def test_in_proportion_reductions(reduce):
    shape = (3, 4, 2)
    operation = reduce(keras.KerasTensor((3, *shape), "float64"), axis=(1, 2))._keras_history[0]
    matrix = reference.averages(shape, shape[-1:], everything(shape))
    check_in_proportion(operation, shape, matrix, shape[-1:])


def test_in_proportion_leaves_masked_steps_out():
    layer = L.GlobalAveragePooling1D(**F64)
    shape = (4, 2)
    x, r = signed(shape), relevance((2,))
    x[2] = 0
    mask = np.array([[1, 1, 0, 0], [1, 0, 1, 1], [0, 1, 1, 0]], bool)

    @graphed
    def graph(x, r, mask):
        def recompute(xs):
            return [layer(xs[0], mask=mask)]

        return routing.in_proportion(layer, [x], recompute([x]), [r], recompute=recompute)[0]

    found = array(graph(tensor(x), tensor(r), tensor(mask)))
    for n in range(3):
        steps = np.flatnonzero(mask[n])
        places = {(c,): [(t, c) for t in steps] for c in range(2)}
        matrix = reference.averages(shape, (2,), places)
        expected = reference.in_proportion(x[n].ravel(), matrix, r[n]).reshape(shape)
        close(found[n], expected)


def test_in_proportion_single_precision():
    shape = (5, 6, 2)
    output_shape, inputs_of = reference.windows(shape, (2, 2), (2, 2), "same")
    matrix = reference.averages(shape, output_shape, inputs_of)
    x, r = kinds_of_input(shape)["sparse"].astype("float32"), relevance(output_shape)
    found = run(
        routing.in_proportion, L.AveragePooling2D(2, padding="same"), [x], r.astype("float32")
    )[0]
    assert found.dtype == np.float32
    close(found, samplewise(reference.in_proportion, x, r, matrix), 1e-4)


# --- share_sum ---------------------------------------------------------------------------------------


def parts_of(values, by):
    if by == "signed":
        return values
    if by == "gamma":  # in the direction of the sum, gamma = 1
        upwards = sum(values) >= 0
        parts = [2 * v if (v > 0) == upwards else v for v in values]
        return parts if any(parts) else [1.0] * len(values)
    sizes = [abs(v) for v in values]
    if by == "positive" and any(v > 0 for v in values):
        sizes = [max(v, 0.0) for v in values]
    return sizes if any(sizes) else [1.0] * len(values)


def shared_sum(xs, r, by, signs=None):
    """Element by element. An element that is broadcast collects the shares of all its positions."""
    results = [np.zeros(x.shape) for x in xs]
    signs = signs or [1] * len(xs)
    for index in np.ndindex(*r.shape):
        at = [tuple(i if n > 1 else 0 for i, n in zip(index, x.shape, strict=True)) for x in xs]
        values = [s * float(x[a]) for s, x, a in zip(signs, xs, at, strict=True)]
        parts = parts_of(values, by)
        for result, a, part in zip(results, at, parts, strict=True):
            result[a] += r[index] * reference.ratio(part, sum(parts))
    return results


def summands(shapes, zeros):
    xs = [signed(shape, k) for k, shape in enumerate(shapes)]
    if zeros:
        xs = [np.where(cases.generator(k).random(x.shape) < 0.5, 0, x) for k, x in enumerate(xs)]
        for x in xs:
            x[1] = 0
    return xs


every_share = pytest.mark.parametrize("by", ["absolute", "positive", "signed", "gamma"])
SHAPES = {
    "two": [(3, 4), (3, 4)],
    "three": [(3, 4), (3, 4), (3, 4)],
    "broadcast": [(3, 4), (1, 4)],
    "broadcast_first": [(1, 4), (3, 4), (3, 1)],
    "both_broadcast": [(3, 1), (1, 4)],
}
every_shape = pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
# A sum of (3, 4, 2) and (3, 2) under the batch: Keras puts the missing axes after the batch's.
different_ranks = pytest.mark.parametrize("shapes", [[(4, 2), (2,)], [(2,), (3, 2)]], ids=str)


@pytest.mark.parametrize("zeros", [False, True])
@every_shape
@every_share
@pytest.mark.parametrize("cls", [L.Add, L.Average])
def test_share_sum(cls, by, shapes, zeros):
    xs = summands(shapes, zeros)
    r = relevance(np.broadcast_shapes(*shapes))
    found = run(routing.share_sum, cls(**F64), xs, r, by=by)
    for part, expected in zip(found, shared_sum(xs, r, by), strict=True):
        close(part, expected)
    if by != "signed" or not zeros:
        close(sum(map(total, found)), total(r))


def test_share_sum_is_absolute_by_default():
    xs, r = summands(SHAPES["two"], False), relevance((3, 4))
    found = run(routing.share_sum, L.Add(**F64), xs, r)
    for part, expected in zip(found, shared_sum(xs, r, "absolute"), strict=True):
        close(part, expected)


def test_terms_that_cancel_keep_small_shares_with_gamma():
    """3 - 2.9 = 0.1: LRP-gamma of both terms, and not 30 and -29 times the relevance."""
    xs, r = [np.full((3, 1), 3.0), np.full((3, 1), -2.9)], np.ones((3, 1))
    found = run(routing.share_sum, L.Add(**F64), xs, r, by="gamma", gamma=0.5)
    close(found[0], np.full((3, 1), 4.5 / 1.6))
    close(found[1], np.full((3, 1), -2.9 / 1.6))
    found = run(routing.share_sum, L.Add(**F64), [-x for x in xs], r, by="gamma", gamma=0.5)
    close(found[0], np.full((3, 1), 4.5 / 1.6))
    found = run(routing.share_sum, L.Add(**F64), [xs[0], -xs[0]], r, by="gamma")
    close(found[0], np.full((3, 1), 2.0))  # a sum of 0 counts as positive
    close(found[1], np.full((3, 1), -1.0))


@different_ranks
@every_share
def test_share_sum_of_different_ranks(by, shapes):
    xs = summands(shapes, False)
    rank = max(map(len, shapes))
    wide = [x.reshape(3, *(1,) * (rank + 1 - x.ndim), *x.shape[1:]) for x in xs]
    r = relevance(np.broadcast_shapes(*(x.shape[1:] for x in wide)))
    found = run(routing.share_sum, L.Add(**F64), xs, r, by=by)
    for part, expected in zip(found, shared_sum(wide, r, by), strict=True):
        close(part, expected.reshape(part.shape))


@every_share
def test_share_sum_of_a_difference(by):
    """The contributions to x - y are x and -y."""
    xs, r = summands(SHAPES["two"], False), relevance((3, 4))
    found = run(routing.share_sum, L.Subtract(**F64), xs, r, by=by)
    for part, expected in zip(found, shared_sum(xs, r, by, [1, -1]), strict=True):
        close(part, expected)


@every_share
def test_share_scaled_sum(by):
    """x + scale y."""
    (x, y), r = summands(SHAPES["broadcast"], False), relevance((3, 4))

    class Scaled:
        scale = -0.5

        def __call__(self, xs):
            return xs[0] + self.scale * xs[1]

    found = run(routing.share_scaled_sum, Scaled(), [x, y], r, by=by)
    for part, expected in zip(found, shared_sum([x, -0.5 * y], r, by), strict=True):
        close(part, expected)


@every_share
@pytest.mark.parametrize("statistics", [(), (False, True)], ids=["hidden", "a constant input"])
def test_a_position_takes_a_share_that_is_not_returned(by, statistics):
    (x, p), r = summands(SHAPES["two"], False), relevance((3, 4))
    inputs = [tensor(x), tensor(p)] if statistics else [tensor(x)]
    shares = routing.share_sum(
        L.Add(**F64), inputs, [], [tensor(r)], statistics=statistics, position=tensor(p[0]), by=by
    )
    expected, _ = shared_sum([x, np.broadcast_to(p[0], x.shape)], r, by)
    close(array(shares[0]), expected)
    assert shares[1:] == [None] * len(statistics[1:])


@every_share
def test_one_summand_takes_all(by):
    x, r = signed((3, 4)), relevance((3, 4))
    (found,) = routing.share_sum(None, [tensor(x)], [], [tensor(r)], by=by)
    np.testing.assert_array_equal(found, r)


@every_share
def test_share_sum_single_precision(by):
    xs, r = summands(SHAPES["broadcast"], False), relevance((3, 4))
    single = [x.astype("float32") for x in xs]
    found = run(routing.share_sum, L.Add(), single, r.astype("float32"), by=by)
    for part, expected in zip(found, shared_sum(single, r, by), strict=True):
        assert part.dtype == np.float32
        close(part, expected, 1e-4)


# --- Products, quotients, vectors ----------------------------------------------------------------------


def summed_like(r, x):
    """The sum of r over the axes along which x has length 1."""
    axes = tuple(k for k, (n, m) in enumerate(zip(x.shape, r.shape, strict=True)) if n != m)
    return r.sum(axes, keepdims=True)


@pytest.mark.parametrize(
    ("gates", "shares"),
    [
        ((), (1 / 2, 1 / 2)),
        ((False, False), (1 / 2, 1 / 2)),
        ((False, True), (1, 0)),
        ((True, False), (0, 1)),
        ((True, True), (1 / 2, 1 / 2)),
        ((False, False, False), (1 / 3, 1 / 3, 1 / 3)),
        ((False, True, False), (1 / 2, 0, 1 / 2)),
        ((True, False, True), (0, 1, 0)),
    ],
)
@pytest.mark.parametrize("broadcast", [False, True])
def test_share_product(gates, shares, broadcast):
    xs = [signed((1 if broadcast and k else 3, 4), k) for k in range(len(shares))]
    r = relevance((3, 4))
    found = run(routing.share_product, L.Multiply(**F64), xs, r, gates=gates)
    for part, x, share in zip(found, xs, shares, strict=True):
        close(part, share * summed_like(r, x))
    close(sum(map(total, found)), total(r))


@different_ranks
def test_share_product_of_different_ranks(shapes):
    xs = summands(shapes, False)
    r = relevance(max(shapes, key=len))
    found = run(routing.share_product, L.Multiply(**F64), xs, r)
    for part, shape in zip(found, shapes, strict=True):
        close(part, 0.5 * (r if len(shape) > 1 else r.sum(1)))


@pytest.mark.parametrize("shape", [(3, 4), (1, 4)])
def test_numerator(shape):
    x, y, r = signed((3, 4)), signed(shape, "y"), relevance((3, 4))
    for xs in ([x, y], [y, x]):
        found = run(routing.numerator, lambda t: t[0] / t[1], xs, r)
        close(found[0], summed_like(r, xs[0]))
        assert not found[1].any()


def test_sum_vector():
    layer = L.Embedding(7, 4, **F64)
    tokens, r = np.array([[0, 3, 3], [6, 1, 2]]), signed((3, 4))[:2]
    found = run(routing.sum_vector, layer, [tokens], r)[0]
    expected = [[sum(r[n, t, k] for k in range(4)) for t in range(3)] for n in range(2)]
    close(found, expected)
