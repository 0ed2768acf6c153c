"""What is known of each kernel layer type: one record a type.

A kernel layer is a linear map (x, kernel) -> z of its input, or two of them one after the other. A
layer type that has a record here, and a name in `layer_types.KERNEL`, has every linear rule, is folded
with the normalization beside it, and gets patterns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.errors import InputError
from rap_keras.network import layer_types
from rap_keras.network.operations import KernelOperation
from rap_keras.support.devices import uses_onednn

Apply = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Scaled = Callable[[Any, tf.Tensor, tf.Tensor], tf.Tensor]


def channels_first(layer: Any) -> bool:
    """Whether a layer has its channels before the spatial axes."""
    return getattr(layer, "data_format", None) == "channels_first"


def _first_or_last(layer: Any, rank: int) -> int:
    return 1 if channels_first(layer) else rank - 1


def _normalized_axis(layer: Any, rank: int) -> int:
    axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
    return axis % rank


def _never(layer: Any) -> bool:
    return False


@dataclass(frozen=True)
class KernelType:
    """What is known of a kernel layer type.

    Attributes:
        maps: The linear maps of a layer, in their order, each with the layer's weights for it.
        neurons: For each map, the axes of its kernel that tell neurons (output channels) apart. Empty
            where there are no such axes; then there are no patterns.
        output_scaled: The kernel of a layer's last map with a scale for each output channel folded into
            it. None: a normalization behind the layer cannot be folded into it.
        input_scaled: The kernel of the first map with a scale for each input channel. None as above.
        mixes_channels: Whether every output of a layer sums over all input channels, with a kernel of
            shape (..., inputs, outputs).
        channel_axis: The axis of the channels of a layer's inputs and outputs, which have a rank.
    """

    maps: Callable[[Any], list[tuple[Apply, Any]]]
    neurons: tuple[tuple[int, ...], ...] = ()
    output_scaled: Scaled | None = None
    input_scaled: Scaled | None = None
    mixes_channels: Callable[[Any], bool] = _never
    channel_axis: Callable[[Any, int], int] = _first_or_last


def type_of(layer: Any) -> KernelType:
    """What is known of a kernel layer, or a BatchNormalization layer, which is linear too.

    Raises:
        InputError: The layer is neither.
    """
    found = layer_types.lookup(layer, TYPES)
    if found is None:
        raise InputError(f"Expected a kernel layer, got {layer!r}: register a rule for its type.")
    return found


def channel_axis(layer: Any, rank: int) -> int:
    """The axis of the channels that a kernel layer, or a normalization, works on."""
    return type_of(layer).channel_axis(layer, rank)


def mixes_channels(layer: Any) -> bool:
    """Whether every output sums over all input channels, with kernels (..., inputs, outputs)."""
    found = layer_types.lookup(layer, TYPES)
    return found is not None and found.mixes_channels(layer)


def can_fold(layer: Any) -> bool:
    """Whether a normalization of its inputs or outputs can be folded into a layer's kernel."""
    found = layer_types.lookup(layer, TYPES)
    return found is not None and found.output_scaled is not None


def along(values: tf.Tensor, axis: int, rank: int) -> tf.Tensor:
    """One value for each place of an axis, shaped to broadcast to tensors of a rank."""
    return tf.reshape(values, [-1] + [1] * (rank - 1 - axis))


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


def _dense(layer: Any) -> list[tuple[Apply, Any]]:
    def apply(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.matmul(x, kernel) if x.shape.rank == 2 else tf.tensordot(x, kernel, 1)

    return [(apply, layer.kernel)]


def _normalization(layer: Any) -> list[tuple[Apply, Any]]:
    def apply(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return x * along(kernel, _normalized_axis(layer, x.shape.rank), x.shape.rank)

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
    if not channels_first(layer):
        return apply

    def turned(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        rank = x.shape.rank
        z = apply(tf.transpose(x, [0, *range(2, rank), 1]), kernel)
        return tf.transpose(z, [0, rank - 1, *range(1, rank - 1)])

    return turned


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
    strides, dilations = tuple(layer.strides), tuple(layer.dilation_rate)

    def convolve(x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
        return tf.nn.convolution(x, kernel, strides, padding, dilations=dilations)

    def apart(x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
        z = convolve(x, kernel, padding)
        # Without oneDNN, TensorFlow cannot fuse it with a bias or ReLU behind it, but tries.
        return tf.ensure_shape(z, z.shape)

    # On a CPU TensorFlow has grouped convolutions of sequences and images, but not their gradient.
    def with_gradient(x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
        @tf.custom_gradient
        def convolved(x: tf.Tensor, kernel: tf.Tensor) -> Any:
            def back(s: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return _grouped_gradients(x, kernel, s, groups, strides, dilations, padding)

            z = convolve(x, kernel, padding) if groups == 1 else apart(x, kernel, padding)
            return z, back

        return convolved(x, kernel)

    # Of volumes it has none.
    def group_by_group(x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
        parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
        return tf.concat([convolve(part, part_kernel, padding) for part, part_kernel in parts], -1)

    def whole(x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
        forward = max(strides) == 1 and _transposed_faster_as_forward(kernel.shape)
        return (with_gradient if forward else convolve)(x, kernel, padding)

    if groups == 1:
        return whole
    return group_by_group if len(strides) == 3 else with_gradient


def _transposed_faster_as_forward(kernel_shape: tf.TensorShape) -> bool:
    """Whether to compute a transposed convolution, of stride 1, as the convolution that it is.

    Without oneDNN, TensorFlow takes up to 2.5 times as long for the transposed one on a CPU
    (docs/cost.md); with it, or on a GPU, or where the inputs are few, there is nothing to gain.
    """
    *lengths, inputs, _ = kernel_shape
    return (
        len(lengths) == 2
        and max(lengths) > 1
        and inputs >= 16
        and not uses_onednn()
        and not tf.config.list_logical_devices("GPU")
    )


def _grouped_gradients(
    x: tf.Tensor,
    kernel: tf.Tensor,
    s: tf.Tensor,
    groups: int,
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    padding: str,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The gradients of s . z by x and by the kernel, where z is the grouped convolution of both.

    Both are (grouped) convolutions again: of s, its values set apart by the strides, with the kernel
    turned around; and of x with s, where samples and the channels of a group have changed places.
    """
    *lengths, inner, outer = kernel.shape
    rank = len(lengths)
    reach = (np.array(lengths) - 1) * dilations
    sizes = tf.shape(x)[1:-1]
    spread = (tf.shape(s)[1:-1] - 1) * strides + 1  # sizes of s, set apart
    padded = tf.maximum(spread + reach - sizes, 0) if padding == "SAME" else tf.zeros_like(sizes)
    before = padded // 2

    turned = tf.reshape(tf.reverse(kernel, range(rank)), [-1, inner, groups, outer // groups])
    turned = tf.reshape(tf.transpose(turned, [0, 3, 2, 1]), [*lengths, outer // groups, -1])
    apart = _set_apart(s, strides)
    ends = tf.stack([reach - before, sizes + before - spread], 1)
    apart = tf.pad(apart, tf.concat([[[0, 0]], ends, [[0, 0]]], 0))
    apart.set_shape([None] * (rank + 1) + [outer])
    by_x = tf.nn.convolution(apart, turned, 1, "VALID", dilations=dilations)
    by_x = tf.ensure_shape(by_x, x.shape)

    borders = tf.stack([before, padded - before], 1)
    x = tf.pad(x, tf.concat([[[0, 0]], borders, [[0, 0]]], 0))
    x = tf.reshape(x, tf.concat([tf.shape(x)[:-1], [groups, inner]], 0))
    x = tf.transpose(x, [rank + 2, *range(1, rank + 2), 0])
    x = tf.reshape(x, tf.concat([tf.shape(x)[:-2], [-1]], 0))
    s = tf.transpose(s, [*range(1, rank + 1), 0, rank + 1])
    by_kernel = tf.nn.convolution(x, s, dilations, "VALID", dilations=strides)
    # There is more than the kernel where strides leave a rest of the input.
    by_kernel = by_kernel[(slice(None), *(slice(n) for n in lengths))]
    by_kernel = tf.transpose(by_kernel, [*range(1, rank + 1), 0, rank + 1])
    by_kernel = tf.ensure_shape(by_kernel, kernel.shape)
    return by_x, by_kernel


def _set_apart(s: tf.Tensor, strides: tuple[int, ...]) -> tf.Tensor:
    """The values of s with zeros between them, so that they lie strides apart."""
    rank = len(strides)
    if max(strides) == 1:
        return s
    sizes = tf.shape(s)
    shape, paddings = [sizes[0]], [(0, 0)]
    for k, stride in enumerate(strides):
        shape += [sizes[k + 1], 1]
        paddings += [(0, 0), (0, stride - 1)]
    wide = tf.pad(tf.reshape(s, [*shape, s.shape[-1]]), [*paddings, (0, 0)])
    wide = tf.reshape(wide, tf.concat([sizes[:1], sizes[1:-1] * strides, sizes[-1:]], 0))
    ends = [slice((sizes[k + 1] - 1) * strides[k] + 1) for k in range(rank)]
    return wide[(slice(None), *ends)]


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


def _by_column(layer: Any, kernel: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    return kernel * scale


def _by_row(layer: Any, kernel: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    return kernel * scale[:, tf.newaxis]


def _by_multiplier(layer: Any, kernel: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    return kernel * tf.reshape(scale, kernel.shape[-2:])  # channels times multipliers


def _by_group(layer: Any, kernel: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    if layer.groups == 1:
        return _by_row(layer, kernel, scale)
    by_group = tf.transpose(tf.reshape(scale, [layer.groups, -1]))
    return kernel * tf.repeat(by_group, kernel.shape[-1] // layer.groups, axis=1)


_COLUMNS, _ROWS, _PAIRS = (-1,), (-2,), (-2, -1)

TYPES: dict[Any, KernelType] = {
    KernelOperation: KernelType(lambda operation: [(operation.apply, operation.kernel)]),
    "Dense": KernelType(_dense, (_COLUMNS,), _by_column, _by_row, lambda layer: True),
    "EinsumDense": KernelType(_einsum_dense),
    **dict.fromkeys(
        layer_types.CONVOLUTION,
        KernelType(
            _convolution, (_COLUMNS,), _by_column, _by_group, lambda layer: layer.groups == 1
        ),
    ),
    **dict.fromkeys(
        layer_types.DEPTHWISE, KernelType(_depthwise, (_PAIRS,), _by_multiplier, _by_row)
    ),
    **dict.fromkeys(
        layer_types.SEPARABLE, KernelType(_separable, (_PAIRS, _COLUMNS), _by_column, _by_row)
    ),
    **dict.fromkeys(layer_types.TRANSPOSED, KernelType(_transposed, (_ROWS,), _by_row, _by_column)),
    **dict.fromkeys(
        layer_types.BATCH_NORMALIZATION,
        KernelType(_normalization, channel_axis=_normalized_axis),
    ),
}
