"""The properties of each kernel layer type: one record per type.

A kernel layer is a linear map (x, kernel) -> z of its input, or two of them in sequence. A layer type
with a record here and a name in `layer_types.KERNEL` supports every linear rule, is folded with the
normalization next to it, and gets patterns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rap_keras import tensors as ops
from rap_keras.errors import InputError
from rap_keras.network import convolutions, layer_types
from rap_keras.network.convolutions import Apply, channels_first
from rap_keras.network.operations import KernelOperation

Scaled = Callable[[Any, ops.Tensor, ops.Tensor], ops.Tensor]


def _first_or_last(layer: Any, rank: int) -> int:
    return 1 if channels_first(layer) else rank - 1


def _normalized_axis(layer: Any, rank: int) -> int:
    axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
    return axis % rank


def _never(layer: Any) -> bool:
    return False


@dataclass(frozen=True)
class KernelType:
    """The properties of a kernel layer type.

    Attributes:
        maps: The linear maps of a layer, in order, each with the layer's weights for it.
        neurons: For each map, the axes of its kernel that distinguish neurons (output channels). Empty
            if there are no such axes; then there are no patterns.
        output_scaled: The kernel of a layer's last map with a scale for each output channel folded into
            it. None: a normalization after the layer cannot be folded.
        input_scaled: The kernel of the first map with a scale for each input channel. None as above.
        mixes_channels: Whether every output of a layer sums over all input channels, with a kernel of
            shape (..., inputs, outputs).
        channel_axis: The channel axis of a layer's inputs and outputs of a given rank.
    """

    maps: Callable[[Any], list[tuple[Apply, Any]]]
    neurons: tuple[tuple[int, ...], ...] = ()
    output_scaled: Scaled | None = None
    input_scaled: Scaled | None = None
    mixes_channels: Callable[[Any], bool] = _never
    channel_axis: Callable[[Any, int], int] = _first_or_last


def type_of(layer: Any) -> KernelType:
    """The properties of a kernel layer, or of a BatchNormalization layer, which is linear too.

    Raises:
        InputError: The layer is neither.
    """
    found = layer_types.lookup(layer, TYPES)
    if found is None:
        raise InputError(f"Expected a kernel layer, got {layer!r}: register a rule for its type.")
    return found


def channel_axis(layer: Any, rank: int) -> int:
    """The channel axis of a kernel layer or a normalization."""
    return type_of(layer).channel_axis(layer, rank)


def mixes_channels(layer: Any) -> bool:
    """Whether every output sums over all input channels, with kernels (..., inputs, outputs)."""
    found = layer_types.lookup(layer, TYPES)
    return found is not None and found.mixes_channels(layer)


def can_fold(layer: Any) -> bool:
    """Whether a normalization of its inputs or outputs can be folded into a layer's kernel."""
    found = layer_types.lookup(layer, TYPES)
    return found is not None and found.output_scaled is not None


def along(values: ops.Tensor, axis: int, rank: int) -> ops.Tensor:
    """One value per position of an axis, reshaped to broadcast to tensors of a rank."""
    return ops.reshape(values, [-1] + [1] * (rank - 1 - axis))


def affine(layer: Any, dtype: Any) -> tuple[ops.Tensor, ops.Tensor]:
    """The scale and shift of each channel that a BatchNormalization layer applies at inference."""
    wide = "float32" if ops.itemsize(dtype) < 4 else dtype  # variances overflow half precision

    def value(weight: Any) -> ops.Tensor:
        return ops.cast(ops.convert_to_tensor(weight), wide)

    scale = ops.rsqrt(value(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * value(layer.gamma)
    shift = -value(layer.moving_mean) * scale
    if layer.center:
        shift = shift + value(layer.beta)
    return ops.cast(scale, dtype), ops.cast(shift, dtype)


def _dense(layer: Any) -> list[tuple[Apply, Any]]:
    def apply(x: ops.Tensor, kernel: ops.Tensor) -> ops.Tensor:
        return ops.matmul(x, kernel) if len(x.shape) == 2 else ops.tensordot(x, kernel, 1)

    return [(apply, layer.kernel)]


def _normalization(layer: Any) -> list[tuple[Apply, Any]]:
    def apply(x: ops.Tensor, kernel: ops.Tensor) -> ops.Tensor:
        return x * along(kernel, _normalized_axis(layer, len(x.shape)), len(x.shape))

    dtype = ops.convert_to_tensor(layer.moving_variance).dtype
    return [(apply, affine(layer, dtype)[0])]


def _einsum_dense(layer: Any) -> list[tuple[Apply, Any]]:
    return [(lambda x, kernel: ops.einsum(layer.equation, x, kernel), layer.kernel)]


def _by_column(layer: Any, kernel: ops.Tensor, scale: ops.Tensor) -> ops.Tensor:
    return kernel * scale


def _by_row(layer: Any, kernel: ops.Tensor, scale: ops.Tensor) -> ops.Tensor:
    return kernel * scale[:, None]


def _by_multiplier(layer: Any, kernel: ops.Tensor, scale: ops.Tensor) -> ops.Tensor:
    return kernel * ops.reshape(scale, kernel.shape[-2:])  # channels times multipliers


def _by_group(layer: Any, kernel: ops.Tensor, scale: ops.Tensor) -> ops.Tensor:
    if layer.groups == 1:
        return _by_row(layer, kernel, scale)
    by_group = ops.transpose(ops.reshape(scale, [layer.groups, -1]))
    return kernel * ops.repeat(by_group, kernel.shape[-1] // layer.groups, axis=1)


_COLUMNS, _ROWS, _PAIRS = (-1,), (-2,), (-2, -1)

TYPES: dict[Any, KernelType] = {
    KernelOperation: KernelType(lambda operation: [(operation.apply, operation.kernel)]),
    "Dense": KernelType(_dense, (_COLUMNS,), _by_column, _by_row, lambda layer: True),
    "EinsumDense": KernelType(_einsum_dense),
    **dict.fromkeys(
        layer_types.CONVOLUTION,
        KernelType(
            convolutions.convolution,
            (_COLUMNS,),
            _by_column,
            _by_group,
            lambda layer: layer.groups == 1,
        ),
    ),
    **dict.fromkeys(
        layer_types.DEPTHWISE,
        KernelType(convolutions.depthwise, (_PAIRS,), _by_multiplier, _by_row),
    ),
    **dict.fromkeys(
        layer_types.SEPARABLE,
        KernelType(convolutions.separable, (_PAIRS, _COLUMNS), _by_column, _by_row),
    ),
    **dict.fromkeys(
        layer_types.TRANSPOSED, KernelType(convolutions.transposed, (_ROWS,), _by_row, _by_column)
    ),
    **dict.fromkeys(
        layer_types.BATCH_NORMALIZATION,
        KernelType(_normalization, channel_axis=_normalized_axis),
    ),
}
