"""Kernel layers as linear maps: (x, kernel) -> z, plus a bias, without activation.

Rules are written on these maps alone: a layer type that is described here has every linear rule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from rap_keras.errors import InputError
from rap_keras.network import layer_types

Apply = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class Stage:
    """One linear map of a layer at work.

    Attributes:
        apply: Maps an input and a kernel, of the shapes below, to an output; linear in both.
        kernel: The layer's weights, in the dtype of the input.
        x: The input.
        z: `apply(x, kernel)`.
        back: The transposed map: from the shape of z to the shape of x.
        bias: What is added to z, of a shape that broadcasts to it; None where nothing is.
    """

    apply: Apply
    kernel: tf.Tensor
    x: tf.Tensor
    z: tf.Tensor
    back: Callable[[tf.Tensor], tf.Tensor]
    bias: tf.Tensor | None = None

    @property
    def output(self) -> tf.Tensor:
        """z plus the bias."""
        return self.z if self.bias is None else self.z + self.bias

    def with_kernel(self, kernel: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
        """The same map with other weights."""
        return _with_kernel(self.apply, kernel)


def _with_kernel(apply: Apply, kernel: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda x: apply(x, kernel)


def pullback(
    function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """A differentiable function's value at x, and its transposed derivative there.

    It sees the function alone; `tf.gradients` would search the whole graph behind x at every call.
    """
    with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
        tape.watch(x)
        y = function(x)

    def back(s: tf.Tensor) -> tf.Tensor:
        return tape.gradient(y, x, s, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    return y, back


def is_linear(layer: Any) -> bool:
    """Whether a layer is a linear map plus bias and activation."""
    return layer_types.is_a(layer, layer_types.KERNEL)


def mixes_channels(layer: Any) -> bool:
    """Whether every output sums over all input channels, with kernels (..., inputs, outputs)."""
    maps = layer_types.lookup(layer, _MAPS)
    return maps is _dense or (maps is _convolution and layer.groups == 1)


def kernels(layer: Any) -> list[Any]:
    """The weights of the linear maps of a kernel layer, one per stage."""
    return [weights for _, weights in _maps_of(layer)]


def stages(layer: Any, x: tf.Tensor, before: Any = None, after: Any = None) -> list[Stage]:
    """The linear maps that a layer applies one after the other, with their inputs and outputs.

    Args:
        layer: A built Dense, EinsumDense, Conv, DepthwiseConv, SeparableConv, ConvTranspose or
            BatchNormalization layer.
        x: The layer's input, shape (batch, ...), floating point.
        before: A BatchNormalization layer between x and the layer, to be folded into its kernel.
        after: A BatchNormalization layer behind the layer, to be folded into its kernel.

    Returns:
        One stage, or for a separable convolution two: depthwise, then pointwise. The `output` of the
        last is what the layer feeds to its activation.

    Raises:
        InputError: The layer is quantized, so that its kernel is not what it multiplies with.
    """
    if getattr(layer, "quantization_mode", None):
        raise InputError(
            f"Expected layers with floating-point kernels, but layer {layer.name!r} is quantized "
            f"({layer.quantization_mode}): explain the model as it was before quantization."
        )
    steps = [(apply, tf.cast(tf.convert_to_tensor(w), x.dtype)) for apply, w in _maps_of(layer)]
    biases: list[tf.Tensor | None] = [None] * len(steps)
    biases[-1] = _bias(layer, x)
    if after is not None:
        apply, kernel = steps[-1]
        scale, shift = affine(after, x.dtype)
        biases[-1] = _spread(shift, layer, x) + (
            0 if biases[-1] is None else biases[-1] * _spread(scale, layer, x)
        )
        steps[-1] = (apply, _output_scaled(layer, kernel, scale))
    if before is not None:
        apply, kernel = steps[0]
        scale, shift = affine(before, x.dtype)
        # Not a bias of the layer: where it pads, it adds zeros behind the normalization.
        shifted = apply(tf.ones_like(x) * _spread(shift, layer, x), kernel)
        biases[0] = shifted if biases[0] is None else shifted + biases[0]
        steps[0] = (apply, _input_scaled(layer, kernel, scale))
    result = []
    for (apply, kernel), bias in zip(steps, biases, strict=True):
        z, back = pullback(_with_kernel(apply, kernel), x)
        result.append(Stage(apply, kernel, x, z, back, bias))
        x = result[-1].output
    return result


def _maps_of(layer: Any) -> list[tuple[Apply, Any]]:
    maps = layer_types.lookup(layer, _MAPS)
    if maps is None:
        raise InputError(f"Expected a kernel layer, got {layer!r}: register a rule for its type.")
    return maps(layer)


def _bias(layer: Any, x: tf.Tensor) -> tf.Tensor | None:
    if layer_types.is_a(layer, layer_types.BATCH_NORMALIZATION):
        return along(affine(layer, x.dtype)[1], channel_axis(layer, x.shape.rank), x.shape.rank)
    bias = getattr(layer, "bias", None)
    if bias is None:
        return None
    bias = tf.cast(tf.convert_to_tensor(bias), x.dtype)
    return _spread(bias, layer, x) if _channels_first(layer) else bias


def _spread(values: tf.Tensor, layer: Any, x: tf.Tensor) -> tf.Tensor:
    """One value per channel, shaped to broadcast to the inputs and outputs of a kernel layer."""
    if not _channels_first(layer):
        return values
    return along(values, 1, x.shape.rank)


def along(values: tf.Tensor, axis: int, rank: int) -> tf.Tensor:
    """One value for each place of an axis, shaped to broadcast to tensors of a rank."""
    return tf.reshape(values, [-1] + [1] * (rank - 1 - axis))


def channel_axis(layer: Any, rank: int) -> int:
    """The axis of the channels that a kernel layer, or a normalization, works on."""
    if layer_types.is_a(layer, layer_types.BATCH_NORMALIZATION):
        axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
        return axis % rank
    return 1 if _channels_first(layer) else rank - 1


def affine(layer: Any, dtype: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Scale and shift of each channel that a BatchNormalization layer applies at inference."""
    wide = tf.float32 if tf.as_dtype(dtype).size < 4 else dtype  # variances overflow half precision

    def value(weight: Any) -> tf.Tensor:
        return tf.cast(tf.convert_to_tensor(weight), wide)

    scale = tf.math.rsqrt(value(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * value(layer.gamma)
    shift = -value(layer.moving_mean) * scale
    if layer.center:
        shift = shift + value(layer.beta)
    return tf.cast(scale, dtype), tf.cast(shift, dtype)


def can_fold(layer: Any) -> bool:
    """Whether a normalization of its inputs or outputs can be folded into a layer's kernel."""
    return is_linear(layer) and not layer_types.is_a(layer, {"EinsumDense"})


def _output_scaled(layer: Any, kernel: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    if layer_types.is_a(layer, {"DepthwiseConv1D", "DepthwiseConv2D"}):
        return kernel * tf.reshape(scale, kernel.shape[-2:])  # channels times multipliers
    if layer_types.is_a(layer, layer_types.TRANSPOSED):
        return kernel * scale[:, tf.newaxis]
    return kernel * scale


def _input_scaled(layer: Any, kernel: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    if layer_types.is_a(layer, layer_types.TRANSPOSED):
        return kernel * scale
    groups = getattr(layer, "groups", 1)
    depthwise = layer_types.is_a(
        layer, layer_types.SEPARABLE | {"DepthwiseConv1D", "DepthwiseConv2D"}
    )
    if groups == 1 or depthwise:
        return kernel * scale[:, tf.newaxis]
    by_group = tf.transpose(tf.reshape(scale, [groups, -1]))
    return kernel * tf.repeat(by_group, kernel.shape[-1] // groups, axis=1)


def _channels_first(layer: Any) -> bool:
    return getattr(layer, "data_format", None) == "channels_first"


def _dense(layer: Any) -> list[tuple[Apply, Any]]:
    def apply(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.matmul(x, kernel) if x.shape.rank == 2 else tf.tensordot(x, kernel, 1)

    return [(apply, layer.kernel)]


def _normalization(layer: Any) -> list[tuple[Apply, Any]]:
    def apply(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return x * along(kernel, channel_axis(layer, x.shape.rank), x.shape.rank)

    dtype = tf.convert_to_tensor(layer.moving_variance).dtype
    return [(apply, affine(layer, dtype)[0])]


def _einsum_dense(layer: Any) -> list[tuple[Apply, Any]]:
    return [(lambda x, kernel: tf.einsum(layer.equation, x, kernel), layer.kernel)]


def _convolution(layer: Any) -> list[tuple[Apply, Any]]:
    return [(_spatial(layer, _grouped(layer, layer.groups)), layer.kernel)]


def _depthwise(layer: Any) -> list[tuple[Apply, Any]]:
    kernel = getattr(layer, "depthwise_kernel", None)  # Keras 2
    return [(_spatial(layer, _by_channel(layer)), layer.kernel if kernel is None else kernel)]


def _separable(layer: Any) -> list[tuple[Apply, Any]]:
    def pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.nn.convolution(x, kernel)

    return [
        (_spatial(layer, _by_channel(layer)), layer.depthwise_kernel),
        (_transposing(layer, pointwise), layer.pointwise_kernel),
    ]


def _transposed(layer: Any) -> list[tuple[Apply, Any]]:
    rank = len(layer.kernel_size)
    output_padding = layer.output_padding
    if output_padding is None or isinstance(output_padding, int):
        output_padding = (output_padding,) * rank

    def length(size: Any, k: int, stride: int, dilation: int, extra: int | None) -> Any:
        k = (k - 1) * dilation + 1
        if extra is None:
            return size * stride + (max(k - stride, 0) if layer.padding == "valid" else 0)
        return (size - 1) * stride + k + extra - (2 * (k // 2) if layer.padding == "same" else 0)

    def apply(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        sizes = [d or tf.shape(x)[1 + axis] for axis, d in enumerate(x.shape[1:-1])]
        settings = zip(
            sizes,
            layer.kernel_size,
            layer.strides,
            layer.dilation_rate,
            output_padding,
            strict=True,
        )
        shape = tf.stack(
            [tf.shape(x)[0], *(length(*setting) for setting in settings), kernel.shape[-2]]
        )
        return tf.nn.conv_transpose(
            x, kernel, shape, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate
        )

    return [(_transposing(layer, apply), layer.kernel)]


def _transposing(layer: Any, apply: Apply) -> Apply:
    """Brings channels_first data into the order that every device computes, and back."""
    if not _channels_first(layer):
        return apply

    def channels_first(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        rank = x.shape.rank
        z = apply(tf.transpose(x, [0, *range(2, rank), 1]), kernel)
        return tf.transpose(z, [0, rank - 1, *range(1, rank - 1)])

    return channels_first


def _spatial(layer: Any, convolve: Callable[[tf.Tensor, tf.Tensor, str], tf.Tensor]) -> Apply:
    """Adds what Keras calls causal padding, and the order of axes."""

    def apply(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        padding = layer.padding.upper()
        if padding == "CAUSAL":
            left = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
            x = tf.pad(x, [[0, 0], [left, 0], [0, 0]])
            padding = "VALID"
        return convolve(x, kernel, padding)

    return _transposing(layer, apply)


def _grouped(layer: Any, groups: int) -> Callable[[tf.Tensor, tf.Tensor, str], tf.Tensor]:
    def convolve(x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
        return tf.nn.convolution(x, kernel, layer.strides, padding, dilations=layer.dilation_rate)

    if groups == 1:
        return convolve

    # TensorFlow has no gradient of grouped convolutions on CPU.
    def group_by_group(x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
        parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
        return tf.concat([convolve(part, part_kernel, padding) for part, part_kernel in parts], -1)

    return group_by_group


def _by_channel(layer: Any) -> Callable[[tf.Tensor, tf.Tensor, str], tf.Tensor]:
    def convolve(x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
        strides, dilations = tuple(layer.strides), tuple(layer.dilation_rate)
        flat = len(strides) == 1  # TensorFlow knows the depthwise convolution of images only.
        if flat:
            x, kernel = x[:, tf.newaxis], kernel[tf.newaxis]
            # It also wants equal strides; along the axis of length one they change nothing.
            strides, dilations = strides * 2, (1, *dilations)
        z = tf.nn.depthwise_conv2d(x, kernel, [1, *strides, 1], padding, dilations=dilations)
        return z[:, 0] if flat else z

    return convolve


_MAPS: dict[str, Callable[[Any], list[tuple[Apply, Any]]]] = {
    "Dense": _dense,
    "EinsumDense": _einsum_dense,
    **dict.fromkeys(layer_types.BATCH_NORMALIZATION, _normalization),
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), _convolution),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _depthwise),
    **dict.fromkeys(layer_types.SEPARABLE, _separable),
    **dict.fromkeys(layer_types.TRANSPOSED, _transposed),
}
