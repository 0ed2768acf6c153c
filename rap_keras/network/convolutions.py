"""Convolutions as linear maps (x, kernel) -> z with a layer's settings."""

from collections.abc import Callable
from typing import Any

from rap_keras import tensors as ops

Apply = Callable[[ops.Tensor, ops.Tensor], ops.Tensor]


def channels_first(layer: Any) -> bool:
    """Whether a layer has its channels before the spatial axes."""
    return getattr(layer, "data_format", None) == "channels_first"


def convolution(layer: Any) -> list[tuple[Apply, Any]]:
    """The map of a convolution, grouped or not."""

    def convolve(x: ops.Tensor, kernel: ops.Tensor, padding: str) -> ops.Tensor:
        return ops.conv(x, kernel, layer.strides, padding, layer.dilation_rate, layer.groups)

    return [(_spatial(layer, convolve), layer.kernel)]


def depthwise(layer: Any) -> list[tuple[Apply, Any]]:
    """The map of a depthwise convolution."""
    kernel = getattr(layer, "depthwise_kernel", None)  # Keras 2
    return [(_spatial(layer, _by_channel(layer)), layer.kernel if kernel is None else kernel)]


def separable(layer: Any) -> list[tuple[Apply, Any]]:
    """The two maps of a separable convolution: depthwise, then pointwise."""
    return [
        (_spatial(layer, _by_channel(layer)), layer.depthwise_kernel),
        (_transposing(layer, ops.pointwise_conv), layer.pointwise_kernel),
    ]


def transposed(layer: Any) -> list[tuple[Apply, Any]]:
    """The map of a transposed convolution."""

    def apply(x: ops.Tensor, kernel: ops.Tensor) -> ops.Tensor:
        return ops.conv_transpose(
            x, kernel, layer.strides, layer.padding, layer.output_padding, layer.dilation_rate
        )

    return [(_transposing(layer, apply), layer.kernel)]


def _transposing(layer: Any, apply: Apply) -> Apply:
    """Converts channels_first data to the order that every device supports, and back."""
    if not channels_first(layer):
        return apply

    def turned(x: ops.Tensor, kernel: ops.Tensor) -> ops.Tensor:
        rank = len(x.shape)
        z = apply(ops.transpose(x, [0, *range(2, rank), 1]), kernel)
        return ops.transpose(z, [0, rank - 1, *range(1, rank - 1)])

    return turned


def _spatial(layer: Any, convolve: Callable[[ops.Tensor, ops.Tensor, str], ops.Tensor]) -> Apply:
    """Adds Keras' causal padding and the order of axes."""

    def apply(x: ops.Tensor, kernel: ops.Tensor) -> ops.Tensor:
        padding = layer.padding
        if padding == "causal":
            left = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
            x = ops.pad(x, [[0, 0], [left, 0], [0, 0]])
            padding = "valid"
        return convolve(x, kernel, padding)

    return _transposing(layer, apply)


def _by_channel(layer: Any) -> Callable[[ops.Tensor, ops.Tensor, str], ops.Tensor]:
    def convolve(x: ops.Tensor, kernel: ops.Tensor, padding: str) -> ops.Tensor:
        return ops.depthwise_conv(x, kernel, layer.strides, padding, layer.dilation_rate)

    return convolve
