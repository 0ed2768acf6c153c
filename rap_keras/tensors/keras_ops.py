"""The operations of the backends JAX and PyTorch, on `keras.ops`.

Names and meaning are those of `keras.ops`. `split` takes sizes or a number of parts, and there are also:

    constant       a tensor of given values
    attach_weights   gives a model in training its weights, where Keras takes them from it
    add_n          the sum of a list of tensors
    bias_add       adds one value per channel to channels last
    bias_relu      the same and a ReLU; x may then have other values
    without_product   x - a b
    as_kernel      weights as a tensor, in the order in memory that is best for `conv`
    without_values   inside, values of linear functions need not be right, only their derivatives
    pooling        a faster function than a pooling layer, or None
    multiply_no_nan  x y, and 0 where y = 0, whatever x is
    pointwise_conv   a convolution with a kernel of one position
    reduced        summed to the shape of a tensor that was broadcast
    resize         images at another size, bilinearly
    flatten, map_structure   of nested lists, tuples and dicts
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from keras import ops, tree
from keras.ops import (
    abs,
    arange,
    broadcast_to,
    clip,
    divide_no_nan,
    einsum,
    equal,
    exp,
    expand_dims,
    eye,
    floor,
    isfinite,
    log,
    logical_and,
    logical_not,
    matmul,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    ones_like,
    pad,
    relu,
    repeat,
    reshape,
    rsqrt,
    sign,
    softmax,
    sqrt,
    square,
    take,
    tensordot,
    tile,
    transpose,
    where,
    zeros,
    zeros_like,
)

from rap_keras.tensors.dtypes import dtype_name

flatten = tree.flatten
map_structure = tree.map_structure
as_kernel = ops.convert_to_tensor
without_values = contextlib.nullcontext  # programs do not compute what they do not use
max_pool_by_planes = None  # needed on TensorFlow only


@dataclass(frozen=True)
class Spec:
    """The shape of an array, with None for any size, and its dtype."""

    shape: Sequence[int | None]
    dtype: Any = "float32"


def cast(x: Any, dtype: Any) -> Any:
    return ops.cast(x, dtype_name(dtype))


def constant(value: Any, dtype: Any = None) -> Any:
    return ops.convert_to_tensor(value, None if dtype is None else dtype_name(dtype))


def convert_to_tensor(x: Any) -> Any:
    return ops.convert_to_tensor(x)


def _reduction(operation: Callable[..., Any]) -> Callable[..., Any]:
    def reduced(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        axis = tuple(axis) if isinstance(axis, list) else axis
        return x if axis == () else operation(x, axis=axis, keepdims=keepdims)

    return reduced


all, any = _reduction(ops.all), _reduction(ops.any)
max, min = _reduction(ops.max), _reduction(ops.min)
mean, sum = _reduction(ops.mean), _reduction(ops.sum)


def add_n(tensors: Sequence[Any]) -> Any:
    first, *others = tensors
    for other in others:
        first = first + other
    return first


def argmax(x: Any, axis: int) -> Any:
    return ops.cast(ops.argmax(x, axis), "int32")


def attach_weights(model: Any) -> None:
    pass


def bias_add(x: Any, bias: Any) -> Any:
    return x + bias


def bias_relu(x: Any, bias: Any) -> Any:
    return ops.relu(x + bias)


def without_product(x: Any, a: Any, b: Any) -> Any:
    return x - a * b


def causal_mask(logits: Any) -> Any:
    return ops.tril(ops.ones_like(logits, dtype="bool"))


def concatenate(tensors: Sequence[Any], axis: int) -> Any:
    return ops.concatenate(list(tensors), axis)


def pooling(layer: Any, as_is: bool = False) -> Callable[[Any], Any] | None:
    return None


def full(shape: Sequence[int], value: Any) -> Any:
    return ops.broadcast_to(ops.convert_to_tensor(value), tuple(shape))


def moments(x: Any, axes: Sequence[int], keepdims: bool = False) -> Any:
    return ops.moments(x, tuple(axes), keepdims)


def multiply_no_nan(x: Any, y: Any) -> Any:
    return ops.where(y == 0, ops.zeros_like(y), x * y)


def one_hot(x: Any, classes: int, dtype: Any) -> Any:
    x = ops.convert_to_tensor(x)  # it may be a tuple of numbers
    numbers = ops.arange(classes, dtype=dtype_name(x.dtype))
    return cast(ops.equal(ops.expand_dims(x, -1), numbers), dtype)


def reduced(x: Any, like: Any) -> Any:
    axes = tuple(k for k, n in enumerate(like.shape) if n == 1 and x.shape[k] != 1)
    return ops.sum(x, axes, keepdims=True) if axes else x


def resize(images: Any, size: Any) -> Any:
    return ops.image.resize(images, tuple(size), "bilinear", data_format="channels_last")


def shape(x: Any) -> tuple[int, ...]:
    return tuple(x.shape)


def split(x: Any, parts: int | Sequence[int], axis: int = 0) -> list[Any]:
    if isinstance(parts, int):
        return ops.split(x, parts, axis)
    places = [0]
    for size in parts:
        places.append(places[-1] + size)
    return ops.split(x, places[1:-1], axis)


def stack(tensors: Sequence[Any], axis: int = 0) -> Any:
    return ops.stack([ops.convert_to_tensor(t) for t in tensors], axis)


def to_numpy(x: Any) -> Any:
    return ops.convert_to_numpy(x)


def conv(
    x: Any,
    kernel: Any,
    strides: Sequence[int],
    padding: str,
    dilations: Sequence[int],
    groups: int,
) -> Any:
    return ops.conv(x, kernel, tuple(strides), padding, "channels_last", tuple(dilations))


def pointwise_conv(x: Any, kernel: Any) -> Any:
    return ops.conv(x, kernel, 1, "valid", "channels_last")


def depthwise_conv(
    x: Any, kernel: Any, strides: Sequence[int], padding: str, dilations: Sequence[int]
) -> Any:
    return ops.depthwise_conv(x, kernel, tuple(strides), padding, "channels_last", tuple(dilations))


def conv_transpose(
    x: Any,
    kernel: Any,
    strides: Sequence[int],
    padding: str,
    output_padding: Any,
    dilations: Sequence[int],
) -> Any:
    return ops.conv_transpose(
        x, kernel, tuple(strides), padding, output_padding, "channels_last", tuple(dilations)
    )
