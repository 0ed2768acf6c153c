"""Rules for the layers between the linear ones: activations, pooling, reshaping, merging."""

import functools
from collections.abc import Sequence
from typing import Any

from rap_keras import tensors as ops
from rap_keras.network.layer_types import is_a
from rap_keras.network.linear import pullback
from rap_keras.rules import Samples, Shares, TensorMap, Tensors, layer_rule
from rap_keras.rules.arithmetic import (
    aligned,
    divide,
    narrowed,
    per_sample,
    reduced,
    tiny,
    total,
)


@layer_rule
def pass_on(relevances: Tensors) -> Shares:
    """Relevance stays with its neuron: activations, dropout, batch normalization, scaling.

    Example:
        >>> from rap_keras.rules import routing
        >>> routing.pass_on("layer", ["x"], ["y"], ["relevance"])
        ['relevance']
    """
    return list(relevances)


@layer_rule
def follow(relevances: Tensors, transposed: TensorMap) -> Shares:
    """Relevance goes to the elements that the values come from.

    For reshaping, padding, slices of a concatenation, and the largest element of a maximum, which gets
    all.

    Example:
        >>> import keras
        >>> from rap_keras.rules import routing
        >>> layer = keras.layers.Reshape((2, 1))
        >>> x = keras.ops.array([[1.0, 3.0]])
        >>> (share,) = routing.follow(layer, [x], [layer(x)], [layer(x)])
        >>> keras.ops.convert_to_numpy(share)
        array([[1., 3.]], dtype=float32)
    """
    return transposed(relevances)


@layer_rule
def follow_and_spread(
    inputs: Tensors,
    relevances: Tensors,
    transposed: TensorMap,
    samples: Samples,
    *,
    drops: bool = False,
) -> Shares:
    """Like `follow`, but relevance of constants is spread over all activated inputs.

    The relevance of padding, of a token that is put before others, and of other constants is spread
    evenly over the inputs x != 0 (over all if there are none), as eq. 9 restores the sum.

    Example:
        >>> import keras
        >>> from rap_keras.rules import routing
        >>> layer = keras.layers.ZeroPadding1D((1, 0))
        >>> x = keras.ops.array([[[1.0], [3.0]]])
        >>> y = layer(x)
        >>> (share,) = routing.follow_and_spread(layer, [x], [y], [keras.ops.ones_like(y)], drops=True)
        >>> keras.ops.convert_to_numpy(share).ravel()
        array([1.5, 1.5], dtype=float32)
    """
    shares = transposed(relevances)
    if not drops:
        return shares
    to, at = samples
    lost = _totals(relevances, at) - _totals(shares, to)
    activated = [ops.cast(ops.not_equal(x, 0), lost.dtype) for x in inputs]
    none = ops.cast(_totals(activated, to) <= 0, lost.dtype)
    activated = [a + per_sample(none, a, axis) for a, axis in zip(activated, to, strict=True)]
    each = lost / _totals(activated, to)
    return [
        s + a * per_sample(each, a, axis) for s, a, axis in zip(shares, activated, to, strict=True)
    ]


def _totals(tensors: Tensors, samples: Sequence[int]) -> ops.Tensor:
    return ops.add_n([total(x, axis) for x, axis in zip(tensors, samples, strict=True)])


@layer_rule
def winner(
    layer: Any,
    inputs: Tensors,
    relevances: Tensors,
    recompute: TensorMap,
    transposed: TensorMap,
    *,
    padded: ops.Tensor | None = None,
) -> Shares:
    """Max-pooling: the largest element gets all relevance, the first one if several are equal.

    If padding right before the pooling has the largest value, because all real elements are negative or
    0, the largest real element gets its relevance.

    Example:
        >>> import keras
        >>> from rap_keras.rules import routing
        >>> layer = keras.layers.MaxPooling1D(2)
        >>> x = keras.ops.array([[[1.0], [3.0]]])
        >>> (share,) = routing.winner(layer, [x], [layer(x)], [layer(x)])
        >>> keras.ops.convert_to_numpy(share).ravel()
        array([0., 3.], dtype=float32)
    """
    x = inputs[0]
    by_planes = ops.max_pool_by_planes if len(x.shape) == 5 else None
    if padded is None and by_planes is None:
        return transposed(relevances)
    if padded is not None:
        x = ops.where(padded, ops.lowest(x.dtype), x)

    def pool(x: ops.Tensor) -> ops.Tensor:
        return by_planes(layer, x) if by_planes else recompute([x])[0]

    return [pullback(pool, x)[1](relevances[0])]


@layer_rule
def in_proportion(
    inputs: Tensors, relevances: Tensors, recompute: TensorMap, *, nonnegative: bool = False
) -> Shares:
    """Average pooling and similar: each output's relevance is distributed by a_ji |x_i|.

    a_ji >= 0 are the fixed weights of the average. For x >= 0 the shares are in proportion to x. An
    output whose inputs are all 0 distributes its relevance by a_ji, so that the sum is kept.

    Example:
        >>> import keras
        >>> from rap_keras.rules import routing
        >>> layer, x = keras.layers.GlobalAveragePooling1D(), keras.ops.array([[[1.0], [-3.0]]])
        >>> relevance = keras.ops.array([[4.0]])
        >>> (share,) = routing.in_proportion(layer, [x], [layer(x)], [relevance])
        >>> keras.ops.convert_to_numpy(share).ravel()
        array([1., 3.], dtype=float32)
    """
    x, relevance = inputs[0], relevances[0]

    def average(other: ops.Tensor) -> ops.Tensor:
        return recompute([other])[0]

    size = x if nonnegative else ops.abs(x)
    averages, back = pullback(average, size)
    share = size * back(divide(relevance, averages))

    weights, back = pullback(average, ops.ones_like(x))
    left = ops.where(averages <= tiny(x.dtype), relevance, ops.zeros_like(relevance))
    return [share + back(divide(left, weights))]


@layer_rule
def share_sum(
    layer: Any,
    inputs: Tensors,
    relevances: Tensors,
    *,
    statistics: Sequence[bool] = (),
    position: ops.Tensor | None = None,
    by: str = "absolute",
    gamma: float = 1.0,
) -> Shares:
    """Sums of several tensors (Add, Average, Subtract). The RAP paper does not cover them.

    A summand that is computed from the statistics of another one, as in x - mean(x), gets nothing.

    Args:
        layer: The layer.
        inputs: The summands x_k. A single one (if the other is a constant) gets all.
        relevances: Relevance of the sum.
        statistics: For each summand, whether it is computed from statistics of another, or from
            constants.
        position: A constant summand that takes a share, which is not returned: a position embedding.
        by: "absolute": in proportion to |x_k|. "positive": in proportion to max(x_k, 0), or to |x_k| if
            none is positive. "signed": x_k R / sum x, the rule of the released code. "gamma": in
            proportion to x_k + gamma max(x_k, 0) if the sum is not negative, and to
            x_k + gamma min(x_k, 0) otherwise, as LRP-gamma does in linear layers, so that terms which
            cancel do not get large shares of both signs. If all terms are 0, "signed" gives nothing,
            and the others give equal shares.
        gamma: For "gamma": how strongly terms with the sign of the sum are favoured.

    Returns:
        The relevance of each summand.

    Example:
        >>> import keras
        >>> from rap_keras.rules import routing
        >>> x, y = keras.ops.array([[1.0]]), keras.ops.array([[-3.0]])
        >>> shares = routing.share_sum(keras.layers.Add(), [x, y], [x + y], [keras.ops.array([[4.0]])])
        >>> [keras.ops.convert_to_numpy(share).item() for share in shares]
        [1.0, 3.0]
    """
    if len(inputs) == 1 and position is None:
        return [reduced(relevances[0], inputs[0])]
    if any(statistics):
        values = [k for k, statistic in enumerate(statistics) if not statistic]
        kept = [inputs[k] for k in values]
        options = {"position": position, "by": by, "gamma": gamma}
        shared = share_sum(layer, kept, [], relevances, **options)
        return [shared[values.index(k)] if k in values else None for k in range(len(inputs))]
    relevance, shape = relevances[0], ops.shape(relevances[0])
    wide = aligned(layer, inputs)
    parts = [x if x.shape == relevance.shape else ops.broadcast_to(x, shape) for x in wide]
    if is_a(layer, {"Subtract"}):
        parts[1] = -parts[1]
    if position is not None:
        parts.append(ops.broadcast_to(position, shape))
    if by == "signed":
        s = divide(relevance, ops.add_n(parts))
        return narrowed([x * s for x in parts[: len(inputs)]], wide, inputs)
    if by == "gamma":
        sign = ops.where(ops.add_n(parts) >= 0, ops.ones_like(relevance), -ops.ones_like(relevance))
        # Times the sign, so that their sum is positive.
        sizes = [sign * x for x in parts]
        sizes = [x + gamma * ops.relu(x) + tiny(x.dtype) for x in sizes]
        s = relevance / ops.add_n(sizes)
        return narrowed([size * s for size in sizes[: len(inputs)]], wide, inputs)
    sizes = [ops.abs(x) for x in parts]
    if by == "positive":
        none = ops.cast(functools.reduce(ops.maximum, parts) <= 0, relevance.dtype)
        # Several times faster than ops.where; where `none` is 1, ReLUs give 0.
        sizes = [none * size + ops.relu(x) for size, x in zip(sizes, parts, strict=True)]
    sizes = [size + tiny(size.dtype) for size in sizes]  # equal shares where all are 0
    s = relevance / ops.add_n(sizes)
    return narrowed([size * s for size in sizes[: len(inputs)]], wide, inputs)


@layer_rule
def share_scaled_sum(
    layer: Any, inputs: Tensors, relevances: Tensors, *, by: str = "absolute"
) -> Shares:
    """x + scale y: `share_sum` of the two summands.

    Example:
        >>> import keras
        >>> from rap_keras.rules import routing
        >>> class CustomScaleLayer:  # as in keras.applications' InceptionResNetV2
        ...     scale = 3.0
        >>> x = y = keras.ops.array([[1.0]])
        >>> shares = routing.share_scaled_sum(CustomScaleLayer(), [x, y], [], [keras.ops.array([[4.0]])])
        >>> [keras.ops.convert_to_numpy(share).item() for share in shares]
        [1.0, 3.0]
    """
    summands = [inputs[0], inputs[1] * layer.scale]
    return share_sum(layer, summands, [], relevances, by=by)


@layer_rule
def share_product(
    layer: Any, inputs: Tensors, relevances: Tensors, *, gates: Sequence[bool] = ()
) -> Shares:
    """Products: the signal gets all, gates get nothing; equal shares if there are only signals or gates.

    A gate only scales the signal (Arras et al. 2017, signal-take-all). The RAP paper does not cover it.

    Example:
        >>> import keras
        >>> from rap_keras.rules import routing
        >>> signal, gate = keras.ops.array([[2.0]]), keras.ops.array([[0.5]])
        >>> layer, relevance = keras.layers.Multiply(), keras.ops.array([[4.0]])
        >>> shares = routing.share_product(layer, [signal, gate], [], [relevance], gates=(False, True))
        >>> keras.ops.convert_to_numpy(shares[0]).item(), shares[1]
        (4.0, None)
    """
    takes = [not gate for gate in gates] or [True] * len(inputs)
    if not any(takes):
        takes = [True] * len(inputs)
    share = relevances[0] / sum(takes)
    parts = narrowed([share] * len(inputs), aligned(layer, inputs), inputs)
    return [part if take else None for part, take in zip(parts, takes, strict=True)]


@layer_rule
def numerator(inputs: Tensors, relevances: Tensors) -> Shares:
    """Quotients: the numerator gets all, because the denominator only scales it.

    Example:
        >>> import keras
        >>> from rap_keras.rules import routing
        >>> a, b = keras.ops.array([[6.0]]), keras.ops.array([[2.0]])
        >>> shares = routing.numerator("divide", [a, b], [a / b], [a / b])
        >>> keras.ops.convert_to_numpy(shares[0]).item(), shares[1]
        (3.0, None)
    """
    return [reduced(relevances[0], inputs[0]), *[None for _ in inputs[1:]]]


@layer_rule
def sum_vector(relevances: Tensors) -> Shares:
    """Embedding: a token's relevance is the sum over its vector.

    Example:
        >>> import keras
        >>> from rap_keras.rules import routing
        >>> (share,) = routing.sum_vector("embedding", [], [], [keras.ops.array([[[1.0, 2.0]]])])
        >>> keras.ops.convert_to_numpy(share)
        array([[3.]], dtype=float32)
    """
    return [ops.sum(relevances[0], -1)]


@layer_rule
def nothing(inputs: Tensors) -> Shares:
    """Masks get no relevance.

    Example:
        >>> from rap_keras.rules import routing
        >>> routing.nothing("layer", ["mask"], ["y"], ["relevance"])
        [None]
    """
    return [None for _ in inputs]
