"""Rules for the layers between the linear ones: activations, pooling, reshaping, merging."""

import functools
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from rap_keras.network.layer_types import is_a, is_layer
from rap_keras.network.linear import pullback
from rap_keras.rules import Samples, Shares, TensorMap, Tensors, layer_rule
from rap_keras.rules.arithmetic import divide, per_sample, tiny, total


@layer_rule
def pass_on(relevances: Tensors) -> Shares:
    """Relevance stays with its neuron: activations, dropout, batch normalization, scaling."""
    return list(relevances)


@layer_rule
def follow(relevances: Tensors, transposed: TensorMap) -> Shares:
    """Relevance goes where the value came from.

    Reshaping, padding, slices of a concatenation, and the winner of a maximum, which takes all.
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
    """Relevance goes where the value came from; what came from a constant, to all that are activated.

    The relevance of padding, of a token that is put before others, and of other constants is spread
    evenly over the inputs x != 0 (over all, where none is), as eq. 9 restores the sum.
    """
    shares = transposed(relevances)
    if not drops:
        return shares
    to, at = samples
    lost = _totals(relevances, at) - _totals(shares, to)
    activated = [tf.cast(tf.not_equal(x, 0), lost.dtype) for x in inputs]
    none = tf.cast(_totals(activated, to) <= 0, lost.dtype)
    activated = [a + per_sample(none, a, axis) for a, axis in zip(activated, to, strict=True)]
    each = lost / _totals(activated, to)
    return [
        s + a * per_sample(each, a, axis) for s, a, axis in zip(shares, activated, to, strict=True)
    ]


def _totals(tensors: Tensors, samples: Sequence[int]) -> tf.Tensor:
    return tf.add_n([total(x, axis) for x, axis in zip(tensors, samples, strict=True)])


@layer_rule
def winner(
    layer: Any,
    inputs: Tensors,
    relevances: Tensors,
    recompute: TensorMap,
    transposed: TensorMap,
    *,
    padded: tf.Tensor | None = None,
) -> Shares:
    """Max-pooling: the largest element takes all, the first of several that are equal.

    Padding right before the pooling wins where all that is real is negative or 0. The largest real
    element takes its relevance.
    """
    x = inputs[0]
    if padded is None and x.shape.rank < 5:
        return transposed(relevances)
    if padded is not None:
        x = tf.where(padded, x.dtype.min, x)
    # TensorFlow's gradient for volumes gives to each element near the largest, and to each the whole.

    def pool(x: tf.Tensor) -> tf.Tensor:
        return _by_planes(layer, x) if x.shape.rank == 5 else recompute([x])[0]

    return [pullback(pool, x)[1](relevances[0])]


def _by_planes(layer: Any, x: tf.Tensor) -> tf.Tensor:
    """Max-pooling of volumes: of each plane first, then along the first axis."""
    if layer.data_format == "channels_first":
        x = tf.transpose(x, [0, 2, 3, 4, 1])
    size, strides = (_three(value) for value in (layer.pool_size, layer.strides or layer.pool_size))
    padding = layer.padding.upper()
    sizes, channels = tf.shape(x), x.shape[-1]
    x = tf.reshape(x, tf.concat([[-1], sizes[2:]], 0))
    x = tf.nn.max_pool2d(x, size[1:], strides[1:], padding)
    height, width = tf.shape(x)[1], tf.shape(x)[2]
    x = tf.reshape(x, [-1, sizes[1], height * width, channels])
    x = tf.nn.max_pool2d(x, (size[0], 1), (strides[0], 1), padding)
    x = tf.reshape(x, [-1, tf.shape(x)[1], height, width, channels])
    return tf.transpose(x, [0, 4, 1, 2, 3]) if layer.data_format == "channels_first" else x


def _three(value: Any) -> tuple[int, ...]:
    return (value,) * 3 if isinstance(value, int) else tuple(value)


@layer_rule
def in_proportion(
    inputs: Tensors, relevances: Tensors, recompute: TensorMap, *, nonnegative: bool = False
) -> Shares:
    """Average pooling and the like: each output's relevance is shared in proportion to a_ji |x_i|.

    a_ji >= 0 are the fixed weights of the average. For x >= 0 this is in proportion to x. An output
    whose inputs are all 0 shares its relevance in proportion to a_ji, so that the sum is kept.
    """
    x, relevance = inputs[0], relevances[0]

    def average(other: tf.Tensor) -> tf.Tensor:
        return recompute([other])[0]

    size = x if nonnegative else tf.abs(x)
    averages, back = pullback(average, size)
    share = size * back(divide(relevance, averages))

    weights, back = pullback(average, tf.ones_like(x))
    left = tf.where(averages <= tiny(x.dtype), relevance, tf.zeros_like(relevance))
    return [share + back(divide(left, weights))]


@layer_rule
def share_sum(
    layer: Any,
    inputs: Tensors,
    relevances: Tensors,
    *,
    statistics: Sequence[bool] = (),
    by: str = "absolute",
) -> Shares:
    """Sums of several tensors (Add, Average, Subtract). The RAP paper is silent about them.

    What is made of the statistics of another summand, as in x - mean(x), takes nothing.

    Args:
        layer: The layer.
        inputs: The summands x_k. One alone (the other is a constant) gets all.
        relevances: Relevance of the sum.
        statistics: For each summand, whether it is made of statistics of another, or of constants.
        by: "absolute": in proportion to |x_k|. "positive": to max(x_k, 0), to |x_k| where none is
            positive. "signed": x_k R / sum x, the released code's rule. Where all the parts of the
            first two are 0, the shares are equal; "signed" then passes nothing.
    """
    if len(inputs) == 1:
        return [reduced(relevances[0], inputs[0])]
    if any(statistics):
        values = [k for k, statistic in enumerate(statistics) if not statistic]
        shared = share_sum(layer, [inputs[k] for k in values], [], relevances, by=by)
        return [shared[values.index(k)] if k in values else None for k in range(len(inputs))]
    relevance, shape = relevances[0], tf.shape(relevances[0])
    wide = aligned(layer, inputs)
    parts = [x if x.shape == relevance.shape else tf.broadcast_to(x, shape) for x in wide]
    if is_a(layer, {"Subtract"}):
        parts[1] = -parts[1]
    if by == "signed":
        s = divide(relevance, tf.add_n(parts))
        return narrowed([x * s for x in parts], wide, inputs)
    sizes = [tf.abs(x) for x in parts]
    if by == "positive":
        none = tf.cast(functools.reduce(tf.maximum, parts) <= 0, relevance.dtype)
        # Not by tf.where, which takes several times as long; where `none` is 1, ReLUs give 0.
        sizes = [none * size + tf.nn.relu(x) for size, x in zip(sizes, parts, strict=True)]
    sizes = [size + tiny(size.dtype) for size in sizes]  # equal shares where all are 0
    s = relevance / tf.add_n(sizes)
    return narrowed([size * s for size in sizes], wide, inputs)


@layer_rule
def share_scaled_sum(
    layer: Any, inputs: Tensors, relevances: Tensors, *, by: str = "absolute"
) -> Shares:
    """x + scale y: `share_sum` of the two summands."""
    summands = [inputs[0], inputs[1] * layer.scale]
    return share_sum(layer, summands, [], relevances, by=by)


@layer_rule
def share_product(
    layer: Any, inputs: Tensors, relevances: Tensors, *, gates: Sequence[bool] = ()
) -> Shares:
    """Products: the signal takes all, gates take nothing; equal shares where that does not decide.

    A gate only scales what it multiplies (Arras et al. 2017, signal-take-all). The RAP paper is silent.
    """
    takes = [not gate for gate in gates] or [True] * len(inputs)
    if not any(takes):
        takes = [True] * len(inputs)
    share = relevances[0] / sum(takes)
    parts = narrowed([share] * len(inputs), aligned(layer, inputs), inputs)
    return [part if take else None for part, take in zip(parts, takes, strict=True)]


@layer_rule
def numerator(inputs: Tensors, relevances: Tensors) -> Shares:
    """Quotients: the numerator takes all, because the denominator only scales it."""
    return [reduced(relevances[0], inputs[0]), *[None for _ in inputs[1:]]]


@layer_rule
def sum_vector(relevances: Tensors) -> Shares:
    """Embedding: a token's relevance is the sum over its vector."""
    return [tf.reduce_sum(relevances[0], -1)]


@layer_rule
def nothing(inputs: Tensors) -> Shares:
    """Masks have no relevance to share."""
    return [None for _ in inputs]


def aligned(layer: Any, inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The inputs of a merging layer in one rank: Keras' layers put missing axes after the batch."""
    rank = max(x.shape.rank for x in inputs)
    if not is_layer(layer):
        return list(inputs)  # an operation aligns its inputs on the right, as TensorFlow does
    wide = list(inputs)
    for k, x in enumerate(inputs):
        for _ in range(rank - x.shape.rank):
            wide[k] = tf.expand_dims(wide[k], 1)
    return wide


def narrowed(
    relevances: Sequence[tf.Tensor], wide: Sequence[tf.Tensor], inputs: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """Relevance of broadcast inputs, summed back into the inputs' own shapes."""
    result = []
    for relevance, aligned, x in zip(relevances, wide, inputs, strict=True):
        part = reduced(relevance, aligned)
        result.append(part if aligned is x else tf.reshape(part, tf.shape(x)))
    return result


def reduced(relevance: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Relevance summed over the axes along which a tensor was broadcast, in that tensor's shape."""
    extra = relevance.shape.rank - like.shape.rank
    if extra:
        relevance = tf.reduce_sum(relevance, list(range(extra)))
    # Static sizes are mostly known; TensorFlow's rule for gradients finds the others.
    if relevance.shape.is_fully_defined() or relevance.shape[1:] == like.shape[1:]:
        axes = [i for i, n in enumerate(like.shape) if n == 1 and relevance.shape[i] != 1]
        return tf.reduce_sum(relevance, axes, keepdims=True) if axes else relevance
    _, axes = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(relevance), s1=tf.shape(like))
    return tf.reshape(tf.reduce_sum(relevance, axes), tf.shape(like))
