"""Products of two tensors, as in attention, and the softmax between them.

Attention weights are computed from the sample, as statistics are. If they are treated as constants,
what remains is a linear map of the values, which gets the rules of linear layers. AttnLRP (Achtibat et
al., ICML 2024, arXiv 2402.05602) shares relevance with the weights instead.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rap_keras import tensors as ops
from rap_keras.network.layer_types import activation_name
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
    """Matmul, Einsum and similar products of two tensors: linear in each while the other is constant.

    The weights (a softmax, or another bounded factor) get nothing and the values get all, by `rule`,
    the rule of a linear layer whose kernel is the weights. If both or none are weights, each is treated
    as the input of such a layer, with half of the relevance.

    Example:
        >>> import keras
        >>> from rap_keras.rules import contraction, lrp
        >>> a, b = keras.ops.array([[[0.5, 0.5]]]), keras.ops.array([[[1.0], [3.0]]])  # weights, values
        >>> options = {"rule": lrp.z_plus, "weights": (True, False)}
        >>> shares = contraction.contraction(keras.ops.matmul, [a, b], [a @ b], [a @ b], **options)
        >>> shares[0], keras.ops.convert_to_numpy(shares[1]).ravel()
        (None, array([0.5, 1.5], dtype=float32))
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
    """AttnLRP, proposition 3.3, of both factors: R_i = sum_j z_ij R_j / (2 z_j + epsilon).

    Example:
        >>> import keras
        >>> from rap_keras.rules import contraction
        >>> a, b = keras.ops.array([[[2.0]]]), keras.ops.array([[[3.0]]])
        >>> shares = contraction.bilinear(keras.ops.matmul, [a, b], [a @ b], [a @ b], epsilon=0.0)
        >>> [keras.ops.convert_to_numpy(share).item() for share in shares]
        [3.0, 3.0]
    """
    z = outputs[0]
    added = ops.constant(epsilon, z.dtype)
    s = relevances[0] / (2.0 * z + ops.where(z >= 0, added, -added))
    return [x * _stage(recompute, inputs, place).back(s) for place, x in enumerate(inputs)]


@layer_rule
def softmax(layer: Any, inputs: Tensors, outputs: Tensors, relevances: Tensors) -> Shares:
    """Softmax by AttnLRP, proposition 3.1.

    R_i = x_i (R_i - s_i sum_j R_j) for s = softmax(x).

    Example:
        >>> import keras
        >>> from rap_keras.rules import contraction
        >>> layer, x = keras.layers.Softmax(), keras.ops.array([[1.0, 1.0]])
        >>> (share,) = contraction.softmax(layer, [x], [layer(x)], [keras.ops.array([[1.0, 0.0]])])
        >>> keras.ops.convert_to_numpy(share)
        array([[ 0.5, -0.5]], dtype=float32)
    """
    axis = getattr(layer, "axis", -1)
    axis = axis if isinstance(axis, int) else list(axis)
    relevance = relevances[0]
    total = ops.sum(relevance, axis, keepdims=True)
    # Elements that are masked out have x = -infinity and s = 0.
    return [ops.multiply_no_nan(inputs[0], relevance - outputs[0] * total)]


@layer_rule
def activation(layer: Any, inputs: Tensors, outputs: Tensors, relevances: Tensors) -> Shares:
    """`softmax` for `Activation("softmax")`; other activations pass relevance on.

    Example:
        >>> import keras
        >>> from rap_keras.rules import contraction
        >>> layer, x = keras.layers.Activation("softmax"), keras.ops.array([[1.0, 1.0]])
        >>> relevance = keras.ops.array([[1.0, 0.0]])
        >>> (share,) = contraction.activation(layer, [x], [layer(x)], [relevance])
        >>> keras.ops.convert_to_numpy(share)
        array([[ 0.5, -0.5]], dtype=float32)
    """
    if activation_name(layer) == "softmax":
        return softmax(layer, inputs, outputs, relevances)
    return list(relevances)


def _stage(recompute: TensorMap, inputs: Tensors, place: int) -> Stage:
    """The product as a linear map of one factor, whose kernel is the other."""

    def apply(x: ops.Tensor, kernel: ops.Tensor) -> ops.Tensor:
        return recompute([x, kernel] if place == 0 else [kernel, x])[0]

    kernel = inputs[1 - place]
    z, back = pullback(lambda x: apply(x, kernel), inputs[place])
    return Stage(apply, kernel, inputs[place], z, back)
