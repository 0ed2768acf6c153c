"""RAP as the authors' released PyTorch code computes it, where that departs from the paper.

The departures: convolutions send negative relevance through the negative contributions, and dense
layers do not; the shift runs over C != 0; x+ and |x-| are explained apart, as if each alone were the
input, each with the whole relevance (twice the sum where x has both signs); the input rule is taken by
every convolution of three channels; BatchNormalization drops relevance where x gamma = 0; Add and
pooling divide by the signed sum, so that a maximum of 0 passes nothing.
"""

from typing import Any

import tensorflow as tf

from rap_keras.network import layer_types, linear
from rap_keras.network.linear import Stage, pullback
from rap_keras.rules import TensorMap, Tensors, lrp
from rap_keras.rules.arithmetic import divide, in_box
from rap_keras.rules.rap import shift


def linear_layer(
    layer: Any,
    inputs: Tensors,
    outputs: Tensors,
    relevances: Tensors,
    *,
    stages: list[Stage] | None = None,
    box: tuple[tf.Tensor, tf.Tensor] | None = None,
    nonnegative: bool = False,
) -> list[tf.Tensor]:
    """Dense and convolution layers: z^B on three channels, else the rule on x+ and on x- apart."""
    relevance = relevances[0]
    convolution = not layer_types.is_a(layer, {"Dense", "EinsumDense"})
    for stage in reversed(stages or linear.stages(layer, inputs[0])):
        if _has_three_channels(layer, stage):
            relevance = in_box(stage, relevance, box or _own_box(stage.x))
            continue
        parts = [tf.nn.relu(stage.x)]
        if not nonnegative or stage.x is not inputs[0]:
            parts.append(tf.nn.relu(-stage.x))
        relevance = tf.add_n([_propagate(stage, x, relevance, convolution) for x in parts])
    return [relevance]


def _has_three_channels(layer: Any, stage: Stage) -> bool:
    """The released code's sign of an image."""
    if not layer_types.is_a(layer, {"Conv1D", "Conv2D", "Conv3D"}):
        return False
    return stage.kernel.shape[-2] * layer.groups == 3


def _own_box(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
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


def batch_normalization(
    layer: Any, inputs: Tensors, outputs: Tensors, relevances: Tensors
) -> list[tf.Tensor]:
    """Relevance passes where x gamma != 0."""
    x = inputs[0]
    product = x
    if layer.scale:
        shape = [1] * x.shape.rank
        shape[layer.axis if isinstance(layer.axis, int) else layer.axis[0]] = -1
        product = x * tf.reshape(tf.cast(tf.convert_to_tensor(layer.gamma), x.dtype), shape)
    return [tf.where(tf.equal(product, 0), tf.zeros_like(relevances[0]), relevances[0])]


def simple(
    layer: Any,
    inputs: Tensors,
    outputs: Tensors,
    relevances: Tensors,
    *,
    transposed: TensorMap | None = None,
) -> list[tf.Tensor]:
    """Pooling: x times the transposed map of R / z."""
    return lrp.ratio(layer, inputs, outputs, relevances, transposed=transposed)
