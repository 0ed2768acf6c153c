"""Convolutions and pooling of images on PyTorch, in the order in memory that tensors have.

Keras copies channels last to channels first before them, which can take as long as the convolution.
PyTorch computes with both.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import torch
from keras import ops

from rap_keras.tensors import keras_ops
from rap_keras.tensors.dtypes import dtype_name

_POOLING: dict[type, Callable[..., Any]] = {
    keras.layers.MaxPooling2D: ops.max_pool,
    keras.layers.AveragePooling2D: ops.average_pool,
}


def conv(
    x: Any,
    kernel: Any,
    strides: Sequence[int],
    padding: str,
    dilations: Sequence[int],
    groups: int,
) -> Any:
    """The convolution of x with a kernel `(..., inputs, outputs)`, grouped or not; channels last."""
    if math.prod(kernel.shape[:-2]) == 1 and groups == 1:
        places = (slice(None), *(slice(None, None, stride) for stride in strides))
        return pointwise_conv(x[places], kernel)
    if len(strides) != 2:
        return keras_ops.conv(x, kernel, strides, padding, dilations, groups)
    strides, dilations = tuple(strides), tuple(dilations)
    return _last(ops.conv(_first(x), kernel, strides, padding, "channels_first", dilations))


def pointwise_conv(x: Any, kernel: Any) -> Any:
    """The convolution with a kernel of one position."""
    *_, inputs, outputs = kernel.shape
    z = torch.mm(x.reshape(-1, inputs), kernel.reshape(inputs, outputs))
    return z.reshape(*x.shape[:-1], outputs)


def depthwise_conv(
    x: Any, kernel: Any, strides: Sequence[int], padding: str, dilations: Sequence[int]
) -> Any:
    """The convolution of each channel with a kernel `(..., channels, multipliers)`; channels last."""
    if len(strides) != 2:
        return keras_ops.depthwise_conv(x, kernel, strides, padding, dilations)
    strides, dilations = tuple(strides), tuple(dilations)
    z = ops.depthwise_conv(_first(x), kernel, strides, padding, "channels_first", dilations)
    return _last(z)


def as_kernel(weights: Any) -> Any:
    """Weights as a tensor; those of images in the order in memory that PyTorch's convolutions need.

    Otherwise each convolution would copy them, and all that is computed from them.
    """
    kernel = ops.convert_to_tensor(weights)
    if len(kernel.shape) != 4 or math.prod(kernel.shape[:2]) == 1:
        return kernel
    *places, inputs, outputs = kernel.shape
    rows = kernel.reshape(-1, outputs).t().contiguous()
    return rows.reshape(outputs, *places, inputs).permute(1, 2, 3, 0)


def pooling(layer: Any, as_is: bool = False) -> Callable[[Any], Any] | None:
    """How to compute a layer that pools places of images; None for others.

    `as_is` keeps the dtype of x; otherwise it becomes the layer's.
    """
    pool = _POOLING.get(type(layer))
    if pool is None or layer.data_format != "channels_last":
        return None

    def pooled(x: Any) -> Any:
        if not as_is and dtype_name(x.dtype) != layer.compute_dtype:
            return layer(x)
        size, strides, padding = layer.pool_size, layer.strides, layer.padding
        return _last(pool(_first(x), size, strides, padding, "channels_first"))

    return pooled


def _first(x: torch.Tensor) -> torch.Tensor:
    """Channels first, in the same memory."""
    return x.permute(0, 3, 1, 2)


def _last(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1)
