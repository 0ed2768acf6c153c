"""RAP as the authors' released PyTorch code computes it, where this differs from the paper.

The differences:

- Convolutions propagate negative relevance through the negative contributions; dense layers do not.
- The shift applies where C != 0.
- x+ and |x-| are explained separately, as if each were the only input, and each with the whole
  relevance (twice the sum if x has both signs).
- Every convolution with three input channels gets the input rule.
- BatchNormalization drops relevance where x gamma = 0.
- Add and pooling divide by the signed sum, so a maximum of 0 propagates nothing.
"""

from typing import Any

from rap_keras import tensors as ops
from rap_keras.network import layer_types
from rap_keras.network.linear import Stage, pullback
from rap_keras.rules import Facts, Shares, TensorMap, Tensors, kernel_rule, layer_rule, lrp
from rap_keras.rules.arithmetic import Box, divide, in_box
from rap_keras.rules.rap import shift


@kernel_rule
def linear_layer(
    stage: Stage, relevance: ops.Tensor, facts: Facts, *, box: Box | None = None
) -> ops.Tensor:
    """Dense and convolution layers: z^B for three channels, otherwise the rule for x+ and x- separately.

    Example:
        >>> import keras
        >>> from rap_keras.rules import rap_released
        >>> layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        >>> x = keras.ops.array([[1.0, 3.0]])
        >>> (share,) = rap_released.linear_layer(layer, [x], [layer(x)], [layer(x)])
        >>> keras.ops.convert_to_numpy(share)
        array([[1., 3.]], dtype=float32)
    """
    if _has_three_channels(facts.layer, stage):
        return in_box(stage, relevance, box or _box_of(stage.x), even=False)
    convolution = not layer_types.is_a(facts.layer, {"Dense", "EinsumDense"})
    parts = [ops.relu(stage.x)]
    if not facts.nonnegative:
        parts.append(ops.relu(-stage.x))
    return ops.add_n([_propagate(stage, x, relevance, convolution) for x in parts])


def _has_three_channels(layer: Any, stage: Stage) -> bool:
    """Whether the released code takes the layer's input for an image."""
    if not layer_types.is_a(layer, {"Conv1D", "Conv2D", "Conv3D"}):
        return False
    return stage.kernel.shape[-2] * layer.groups == 3


def _box_of(x: ops.Tensor) -> Box:
    axes = list(range(1, len(x.shape)))
    low = ops.min(x, axes, keepdims=True)
    high = ops.max(x, axes, keepdims=True)
    return ops.ones_like(x) * low, ops.ones_like(x) * high


def _propagate(stage: Stage, x: ops.Tensor, relevance: ops.Tensor, convolution: bool) -> ops.Tensor:
    a, back_a = pullback(stage.with_kernel(ops.relu(stage.kernel)), x)
    b, back_b = pullback(stage.with_kernel(ops.relu(-stage.kernel)), x)
    positive, negative = relevance, ops.zeros_like(relevance)
    if convolution:
        positive, negative = ops.relu(relevance), -ops.relu(-relevance)
    to_a = divide(positive, a)
    to_b = divide(negative, b) + divide(relevance, a + b)
    shared = x * (back_a(to_a) + back_b(to_b))
    return shift(shared, ops.cast(ops.not_equal(shared, 0), shared.dtype), relevance)


@layer_rule
def batch_normalization(layer: Any, inputs: Tensors, relevances: Tensors) -> Shares:
    """Relevance passes where x gamma != 0.

    Example:
        >>> import keras
        >>> from rap_keras.rules import rap_released
        >>> layer = keras.layers.BatchNormalization()
        >>> x = keras.ops.array([[1.0, 0.0]])
        >>> (share,) = rap_released.batch_normalization(layer, [x], [layer(x)], [keras.ops.ones_like(x)])
        >>> keras.ops.convert_to_numpy(share)
        array([[1., 0.]], dtype=float32)
    """
    x = inputs[0]
    product = x
    if layer.scale:
        shape = [1] * len(x.shape)
        shape[layer.axis if isinstance(layer.axis, int) else layer.axis[0]] = -1
        product = x * ops.reshape(ops.cast(ops.convert_to_tensor(layer.gamma), x.dtype), shape)
    return [ops.where(ops.equal(product, 0), ops.zeros_like(relevances[0]), relevances[0])]


@layer_rule
def simple(inputs: Tensors, outputs: Tensors, relevances: Tensors, transposed: TensorMap) -> Shares:
    """Pooling: x times the transposed map of R / z.

    Example:
        >>> import keras
        >>> from rap_keras.rules import rap_released
        >>> layer = keras.layers.GlobalAveragePooling1D()
        >>> x = keras.ops.array([[[1.0], [3.0]]])
        >>> (share,) = rap_released.simple(layer, [x], [layer(x)], [layer(x)])
        >>> keras.ops.convert_to_numpy(share).ravel()
        array([0.5, 1.5], dtype=float32)
    """
    return lrp.ratio(None, inputs, outputs, relevances, transposed=transposed)
