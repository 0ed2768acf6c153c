"""Rules that reproduce iNNvestigate 2.1 where it deviates from the definitions."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rap_keras import tensors as ops
from rap_keras.network.kernels import along, channel_axis
from rap_keras.network.linear import Stage, pullback
from rap_keras.rules import Rule, Shares, Tensors, layer_rule


@layer_rule
def normalization(layer: Any, inputs: Tensors, relevances: Tensors, *, rule: Rule) -> Shares:
    """BatchNormalization as a linear layer with iNNvestigate's weights, by the given rule.

    Its scale is gamma / sqrt(variance² + eps) and its shift beta - mean / sqrt(variance² + eps).
    """
    x = inputs[0]
    rank = len(x.shape)

    def value(weight: Any) -> ops.Tensor:
        return ops.cast(ops.convert_to_tensor(weight), x.dtype)

    def apply(x: ops.Tensor, kernel: ops.Tensor) -> ops.Tensor:
        return x * along(kernel, channel_axis(layer, rank), rank)

    root = ops.rsqrt(ops.square(value(layer.moving_variance)) + layer.epsilon)
    kernel = root * value(layer.gamma) if layer.scale else root
    shift = -value(layer.moving_mean) * root
    if layer.center:
        shift = shift + value(layer.beta)
    z, back = pullback(lambda x: apply(x, kernel), x)
    stage = Stage(apply, kernel, x, z, back, along(shift, channel_axis(layer, rank), rank))
    return rule(layer, inputs, [], relevances, stages=[stage])


@layer_rule
def separable(
    layer: Any,
    inputs: Tensors,
    relevances: Tensors,
    stages: Sequence[Stage],
    *,
    rule: Rule,
    alpha: float = 1.0,
    beta: float = 0.0,
    bias: bool = True,
) -> Shares:
    """Separable convolutions as one map of both kernels, each split by sign separately.

    Args:
        layer: The layer.
        inputs: Its input.
        relevances: The relevance of its output.
        stages: Its two maps.
        rule: The rule of the single map; for alpha-beta, that of alpha 1 beta 0.
        alpha: The alpha of alpha-beta.
        beta: The beta of alpha-beta.
        bias: Whether the bias is included.
    """
    depthwise, pointwise = stages
    kernels = (depthwise.kernel, pointwise.kernel)
    sizes = [ops.elements(k.shape) for k in kernels]

    def apply(x: ops.Tensor, kernel: ops.Tensor) -> ops.Tensor:
        first, second = (
            ops.reshape(part, k.shape)
            for part, k in zip(ops.split(kernel, sizes), kernels, strict=True)
        )
        return pointwise.apply(depthwise.apply(x, first), second)

    kernel = ops.concatenate([ops.reshape(k, [-1]) for k in kernels], 0)
    z, back = pullback(lambda x: apply(x, kernel), inputs[0])
    stage = Stage(apply, kernel, inputs[0], z, back, pointwise.bias if bias else None)
    (positive,) = rule(layer, inputs, [], relevances, stages=[stage])
    if not beta:
        return [positive]
    # The map is quadratic in the kernels, so negating them does not negate the map.
    negated = dataclasses.replace(stage, kernel=-kernel)
    (taken,) = rule(layer, inputs, [], relevances, stages=[negated])
    return [alpha * positive - beta * taken]
