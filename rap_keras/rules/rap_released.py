"""RAP as the authors' released PyTorch code computes it, where that departs from the paper.

The departures: convolutions send negative relevance through the negative contributions, and dense
layers do not; the shift runs over C != 0; x+ and |x-| are explained apart, as if each alone were the
input, each with the whole relevance (twice the sum where x has both signs); the input rule is taken by
every convolution of three channels; BatchNormalization drops relevance where x gamma = 0; Add and
pooling divide by the signed sum, so that a maximum of 0 passes nothing.
"""

from typing import Any

import tensorflow as tf

from rap_keras.network import layer_types
from rap_keras.network.linear import Stage, pullback
from rap_keras.rules import Facts, Shares, TensorMap, Tensors, kernel_rule, layer_rule, lrp
from rap_keras.rules.arithmetic import Box, divide, in_box
from rap_keras.rules.rap import shift


@kernel_rule
def linear_layer(
    stage: Stage, relevance: tf.Tensor, facts: Facts, *, box: Box | None = None
) -> tf.Tensor:
    """Dense and convolution layers: z^B on three channels, else the rule on x+ and on x- apart."""
    if _has_three_channels(facts.layer, stage):
        return in_box(stage, relevance, box or _own_box(stage.x), even=False)
    convolution = not layer_types.is_a(facts.layer, {"Dense", "EinsumDense"})
    parts = [tf.nn.relu(stage.x)]
    if not facts.nonnegative:
        parts.append(tf.nn.relu(-stage.x))
    return tf.add_n([_propagate(stage, x, relevance, convolution) for x in parts])


def _has_three_channels(layer: Any, stage: Stage) -> bool:
    """The released code's sign of an image."""
    if not layer_types.is_a(layer, {"Conv1D", "Conv2D", "Conv3D"}):
        return False
    return stage.kernel.shape[-2] * layer.groups == 3


def _own_box(x: tf.Tensor) -> Box:
    axes = list(range(1, x.shape.rank))
    low = tf.reduce_min(x, axes, keepdims=True)
    high = tf.reduce_max(x, axes, keepdims=True)
    return tf.ones_like(x) * low, tf.ones_like(x) * high


def _propagate(stage: Stage, x: tf.Tensor, relevance: tf.Tensor, convolution: bool) -> tf.Tensor:
    a, back_a = pullback(stage.with_kernel(tf.nn.relu(stage.kernel)), x)
    b, back_b = pullback(stage.with_kernel(tf.nn.relu(-stage.kernel)), x)
    positive, negative = relevance, tf.zeros_like(relevance)
    if convolution:
        positive, negative = tf.nn.relu(relevance), -tf.nn.relu(-relevance)
    to_a = divide(positive, a)
    to_b = divide(negative, b) + divide(relevance, a + b)
    shared = x * (back_a(to_a) + back_b(to_b))
    return shift(shared, tf.cast(tf.not_equal(shared, 0), shared.dtype), relevance)


@layer_rule
def batch_normalization(layer: Any, inputs: Tensors, relevances: Tensors) -> Shares:
    """Relevance passes where x gamma != 0."""
    x = inputs[0]
    product = x
    if layer.scale:
        shape = [1] * x.shape.rank
        shape[layer.axis if isinstance(layer.axis, int) else layer.axis[0]] = -1
        product = x * tf.reshape(tf.cast(tf.convert_to_tensor(layer.gamma), x.dtype), shape)
    return [tf.where(tf.equal(product, 0), tf.zeros_like(relevances[0]), relevances[0])]


@layer_rule
def simple(inputs: Tensors, outputs: Tensors, relevances: Tensors, transposed: TensorMap) -> Shares:
    """Pooling: x times the transposed map of R / z."""
    return lrp.ratio(None, inputs, outputs, relevances, transposed=transposed)
