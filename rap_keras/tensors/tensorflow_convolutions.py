"""Convolutions on TensorFlow, and their gradients: it lacks some, or computes them slowly."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


def conv(
    x: tf.Tensor,
    kernel: tf.Tensor,
    strides: Sequence[int],
    padding: str,
    dilations: Sequence[int],
    groups: int,
) -> tf.Tensor:
    """The convolution of x with a kernel `(..., inputs, outputs)`, grouped or not; channels last."""
    convolve = _grouped(tuple(strides), tuple(dilations), groups)
    return convolve(x, kernel, padding.upper())


def pointwise_conv(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The convolution with a kernel of one position."""
    return tf.nn.convolution(x, kernel)


def depthwise_conv(
    x: tf.Tensor,
    kernel: tf.Tensor,
    strides: Sequence[int],
    padding: str,
    dilations: Sequence[int],
) -> tf.Tensor:
    """The convolution of each channel with a kernel `(..., channels, multipliers)`; channels last."""
    strides, dilations = tuple(strides), tuple(dilations)
    flat = len(strides) == 1  # TensorFlow knows the depthwise convolution of images only.
    if flat:
        x, kernel = x[:, tf.newaxis], kernel[tf.newaxis]
        # It also requires equal strides; along the axis of length one they change nothing.
        strides, dilations = strides * 2, (1, *dilations)
    z = tf.nn.depthwise_conv2d(x, kernel, [1, *strides, 1], padding.upper(), dilations=dilations)
    return z[:, 0] if flat else z


def conv_transpose(
    x: tf.Tensor,
    kernel: tf.Tensor,
    strides: Sequence[int],
    padding: str,
    output_padding: Any,
    dilations: Sequence[int],
) -> tf.Tensor:
    """The transposed convolution of x with a kernel `(..., outputs, inputs)`; channels last."""
    lengths = kernel.shape[:-2]
    extras = output_padding
    if not isinstance(extras, Sequence):
        extras = [extras] * len(lengths)

    def length(size: Any, k: int, stride: int, dilation: int, extra: int | None) -> Any:
        k = (k - 1) * dilation + 1
        if extra is None:
            return size * stride + (max(k - stride, 0) if padding == "valid" else 0)
        return (size - 1) * stride + k + extra - (2 * (k // 2) if padding == "same" else 0)

    sizes = [d or tf.shape(x)[1 + axis] for axis, d in enumerate(x.shape[1:-1])]
    settings = zip(sizes, lengths, strides, dilations, extras, strict=True)
    shape = [tf.shape(x)[0], *(length(*setting) for setting in settings), kernel.shape[-2]]
    return tf.nn.conv_transpose(
        x, kernel, tf.stack(shape), strides, padding.upper(), dilations=dilations
    )


def _grouped(
    strides: tuple[int, ...], dilations: tuple[int, ...], groups: int
) -> Callable[[tf.Tensor, tf.Tensor, str], tf.Tensor]:
    def convolve(x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
        return tf.nn.convolution(x, kernel, strides, padding, dilations=dilations)

    def unfused(x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
        z = convolve(x, kernel, padding)
        # Without oneDNN, TensorFlow tries to fuse it with a bias or ReLU after it, but cannot.
        return tf.ensure_shape(z, z.shape)

    # On a CPU, TensorFlow has grouped convolutions of sequences and images, but not their gradients.
    def with_gradient(x: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
        @tf.custom_gradient
        def convolved(x: tf.Tensor, kernel: tf.Tensor) -> Any:
            def back(s: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return _grouped_gradients(x, kernel, s, groups, strides, dilations, padding)

            z = convolve(x, kernel, padding) if groups == 1 else unfused(x, kernel, padding)
            return z, back

        return convolved(x, kernel)

    # TensorFlow has no grouped convolutions of volumes.
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
    """Whether to compute a transposed convolution of stride 1 as an ordinary convolution.

    Without oneDNN, TensorFlow takes up to 2.5 times as long for the transposed one on a CPU
    (docs/cost.md). With oneDNN, on a GPU, or with few inputs, nothing is gained.
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
    """The gradients of s . z with respect to x and the kernel, where z is their grouped convolution.

    Both are (grouped) convolutions again. One is of s, with its values spaced by the strides, and the
    flipped kernel. The other is of x with s, with the samples and the channels of a group exchanged.
    """
    *lengths, inner, outer = kernel.shape
    rank = len(lengths)
    reach = (np.array(lengths) - 1) * dilations
    sizes = tf.shape(x)[1:-1]
    spread = (tf.shape(s)[1:-1] - 1) * strides + 1  # sizes of s, spaced
    padded = tf.maximum(spread + reach - sizes, 0) if padding == "SAME" else tf.zeros_like(sizes)
    before = padded // 2

    turned = tf.reshape(tf.reverse(kernel, range(rank)), [-1, inner, groups, outer // groups])
    turned = tf.reshape(tf.transpose(turned, [0, 3, 2, 1]), [*lengths, outer // groups, -1])
    spaced = _spaced(s, strides)
    ends = tf.stack([reach - before, sizes + before - spread], 1)
    spaced = tf.pad(spaced, tf.concat([[[0, 0]], ends, [[0, 0]]], 0))
    spaced.set_shape([None] * (rank + 1) + [outer])
    by_x = tf.nn.convolution(spaced, turned, 1, "VALID", dilations=dilations)
    by_x = tf.ensure_shape(by_x, x.shape)

    borders = tf.stack([before, padded - before], 1)
    x = tf.pad(x, tf.concat([[[0, 0]], borders, [[0, 0]]], 0))
    x = tf.reshape(x, tf.concat([tf.shape(x)[:-1], [groups, inner]], 0))
    x = tf.transpose(x, [rank + 2, *range(1, rank + 2), 0])
    x = tf.reshape(x, tf.concat([tf.shape(x)[:-2], [-1]], 0))
    s = tf.transpose(s, [*range(1, rank + 1), 0, rank + 1])
    by_kernel = tf.nn.convolution(x, s, dilations, "VALID", dilations=strides)
    # If the strides leave a rest of the input, the result is larger than the kernel.
    by_kernel = by_kernel[(slice(None), *(slice(n) for n in lengths))]
    by_kernel = tf.transpose(by_kernel, [*range(1, rank + 1), 0, rank + 1])
    by_kernel = tf.ensure_shape(by_kernel, kernel.shape)
    return by_x, by_kernel


def _spaced(s: tf.Tensor, strides: tuple[int, ...]) -> tf.Tensor:
    """The values of s with zeros between them, so that their distance is the stride."""
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


def max_pool_by_planes(layer: Any, x: tf.Tensor) -> tf.Tensor:
    """Max-pooling of volumes: each plane first, then along the first axis.

    TensorFlow's gradient for volumes gives the whole value to every element near the largest.
    """
    if layer.data_format == "channels_first":
        x = tf.transpose(x, [0, 2, 3, 4, 1])
    size, strides = (_three(value) for value in (layer.pool_size, layer.strides or layer.pool_size))
    padding = layer.padding.upper()
    sizes, channels = tf.shape(x), x.shape[-1]
    x = tf.reshape(x, tf.concat([[-1], sizes[2:]], 0))
    x = tf.nn.max_pool2d(x, size[1:], strides[1:], padding)
    height, width = tf.shape(x)[1], tf.shape(x)[2]
    x = tf.reshape(x, [-1, sizes[1], height * width, channels])
    x = tf.nn.max_pool2d(x, (size[0], 1), (strides[0], 1), padding)
    x = tf.reshape(x, [-1, tf.shape(x)[1], height, width, channels])
    return tf.transpose(x, [0, 4, 1, 2, 3]) if layer.data_format == "channels_first" else x


def _three(value: Any) -> tuple[int, ...]:
    return (value,) * 3 if isinstance(value, int) else tuple(value)


def uses_onednn() -> bool:
    """Whether TensorFlow uses oneDNN, which is the default on processors with AVX-512 VNNI.

    True if it is unknown, because TensorFlow's public interface does not report it.
    """
    try:
        from tensorflow.python.util import _pywrap_util_port
    except ImportError:
        return True
    return bool(getattr(_pywrap_util_port, "IsMklEnabled", lambda: True)())
