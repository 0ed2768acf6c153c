"""Products of tensors with each other, as attention has them, and the softmax between them.

The weights of an attention are made of the sample, as statistics are. Taken for constants, they leave a
linear map of the values, which gets the rules of linear layers. AttnLRP (Achtibat et al., ICML 2024,
arXiv 2402.05602) shares with them instead.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from rap_keras.network.linear import Stage, pullback
from rap_keras.rules import Rule, Samples, Shares, TensorMap, Tensors, layer_rule


@layer_rule
def contraction(
    layer: Any,
    inputs: Tensors,
    outputs: Tensors,
    relevances: Tensors,
    recompute: TensorMap,
    samples: Samples,
    *,
    rule: Rule,
    weights: Sequence[bool] = (),
) -> Shares:
    """Matmul, Einsum and the like of two tensors: linear in each while the other is a constant.

    The weights (a softmax, or another bounded factor) take nothing and the values all, by `rule`, the
    rule of a linear layer whose kernel the weights are. Where both or none are weights, each is the
    input of such a layer, with half of the relevance.
    """
    takes = [not bounded for bounded in weights]
    if not any(takes):
        takes = [True] * len(inputs)
    part = relevances[0] / sum(takes)
    to, (at,) = samples
    shares: Shares = []
    for place, x in enumerate(inputs):
        if not takes[place]:
            shares.append(None)
            continue
        stage = _stage(recompute, inputs, place)
        stage = dataclasses.replace(stage, samples=(to[place], at))
        shares += rule(layer, [x], outputs, [part], stages=[stage])
    return shares


@layer_rule
def bilinear(
    inputs: Tensors,
    outputs: Tensors,
    relevances: Tensors,
    recompute: TensorMap,
    *,
    epsilon: float = 1e-6,
) -> Shares:
    """AttnLRP, proposition 3.3: R_i = sum_j z_ij R_j / (2 z_j + epsilon), for each of both factors."""
    z = outputs[0]
    added = tf.constant(epsilon, z.dtype)
    s = relevances[0] / (2.0 * z + tf.where(z >= 0, added, -added))
    return [x * _stage(recompute, inputs, place).back(s) for place, x in enumerate(inputs)]


@layer_rule
def softmax(layer: Any, inputs: Tensors, outputs: Tensors, relevances: Tensors) -> Shares:
    """Softmax by AttnLRP, proposition 3.1.

    R_i = x_i (R_i - s_i sum_j R_j) for s = softmax(x).
    """
    axis = layer.axis if isinstance(layer.axis, int) else list(layer.axis)
    relevance = relevances[0]
    total = tf.reduce_sum(relevance, axis, keepdims=True)
    # What is masked out has x = -infinity and s = 0.
    return [tf.math.multiply_no_nan(inputs[0], relevance - outputs[0] * total)]


def _stage(recompute: TensorMap, inputs: Tensors, place: int) -> Stage:
    """The product as a linear map of one factor, whose kernel is the other."""

    def apply(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return recompute([x, kernel] if place == 0 else [kernel, x])[0]

    kernel = inputs[1 - place]
    z, back = pullback(lambda x: apply(x, kernel), inputs[place])
    return Stage(apply, kernel, inputs[place], z, back)
