"""Normalizations by the statistics of each sample, as affine maps of it."""

from typing import Any

from rap_keras import tensors as ops
from rap_keras.network.layer_types import is_a

Affine = tuple[ops.Tensor, ops.Tensor]


def affine_of_sample(layer: Any, x: ops.Tensor) -> Affine:
    """a and b with layer(x) = a x + b, broadcast to x, with the statistics of x as constants.

    The layer is a LayerNormalization, RMSNormalization, GroupNormalization or UnitNormalization.
    """
    (affine,) = (affine for name, affine in _AFFINE.items() if is_a(layer, {name}))
    return affine(layer, x)


def groups_of_sample(layer: Any, x: ops.Tensor) -> tuple[ops.Tensor, list[int]]:
    """x in the shape in which a layer computes its statistics, and the axes of these statistics.

    Args:
        layer: A built normalization layer, as `affine_of_sample` takes it, or a `Normalize` operation.
        x: Its input, shape (batch, ...).
    """
    if is_a(layer, {"GroupNormalization"}):
        return _grouped(layer, x)
    return x, list(range(len(x.shape))) if layer.axis is None else _axes(layer)


def gain(layer: Any, x: ops.Tensor) -> ops.Tensor | float:
    """The factor of the normalized x, in a shape that broadcasts to x."""
    if is_a(layer, {"RMSNormalization"}):
        return _along(layer.scale, _axes(layer), x)
    if getattr(layer, "gamma", None) is None:
        return 1.0
    return _along(layer.gamma, _axes(layer), x)


def _axes(layer: Any) -> list[int]:
    return [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)


def _layer(layer: Any, x: ops.Tensor) -> Affine:
    axes = _axes(layer)
    mean, variance = ops.moments(x, axes, keepdims=True)
    scale = ops.rsqrt(variance + layer.epsilon)
    if getattr(layer, "rms_scaling", False):  # Keras before 3.10
        return scale * _along(layer.gamma, axes, x), ops.zeros_like(mean)
    if layer.scale:
        scale = scale * _along(layer.gamma, axes, x)
    shift = -mean * scale
    return scale, shift + _along(layer.beta, axes, x) if layer.center else shift


def _rms(layer: Any, x: ops.Tensor) -> Affine:
    axes = _axes(layer)
    mean = ops.mean(ops.square(x), axes, keepdims=True)
    return ops.rsqrt(mean + layer.epsilon) * _along(layer.scale, axes, x), ops.zeros_like(mean)


def _unit(layer: Any, x: ops.Tensor) -> Affine:
    axes = _axes(layer)
    square = ops.sum(ops.square(x), axes, keepdims=True)
    return ops.rsqrt(ops.maximum(square, 1e-12)), ops.zeros_like(square)


def _grouped(layer: Any, x: ops.Tensor) -> tuple[ops.Tensor, list[int]]:
    rank, axis = len(x.shape), layer.axis % len(x.shape)
    sizes = [ops.shape(x)[k] if n is None else n for k, n in enumerate(x.shape)]
    parts = [*sizes[:axis], layer.groups, sizes[axis] // layer.groups, *sizes[axis + 1 :]]
    return ops.reshape(x, parts), [k for k in range(1, rank + 1) if k != axis]


def _group(layer: Any, x: ops.Tensor) -> Affine:
    rank, axis = len(x.shape), layer.axis % len(x.shape)
    sizes = [ops.shape(x)[k] if n is None else n for k, n in enumerate(x.shape)]
    grouped, axes = _grouped(layer, x)
    mean, variance = ops.moments(grouped, axes, keepdims=True)

    def of_channels(values: ops.Tensor) -> ops.Tensor:
        """From one value for each group to one for each channel."""
        ones = [1] * rank
        return ops.repeat(
            ops.reshape(values, [sizes[0], *ones[1:axis], layer.groups, *ones[axis + 1 :]]),
            sizes[axis] // layer.groups,
            axis,
        )

    scale = of_channels(ops.rsqrt(variance + layer.epsilon))
    if layer.scale:
        scale = scale * _along(layer.gamma, [axis], x)
    shift = -of_channels(mean) * scale
    return scale, shift + _along(layer.beta, [axis], x) if layer.center else shift


def _along(weights: Any, axes: list[int], x: ops.Tensor) -> ops.Tensor:
    """Weights with the given axes of x, reshaped to broadcast to it."""
    weights = ops.cast(ops.convert_to_tensor(weights), x.dtype)
    kept = {axis % len(x.shape) for axis in axes}
    shape = [n if axis in kept else 1 for axis, n in enumerate(x.shape)]
    return ops.reshape(weights, shape)


_AFFINE = {
    "LayerNormalization": _layer,
    "RMSNormalization": _rms,
    "GroupNormalization": _group,
    "UnitNormalization": _unit,
}
