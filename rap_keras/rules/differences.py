"""Multipliers of differences for functions of several elements, as `deep_lift` needs them.

Let M be a multiplier of y. A multiplier m of x keeps the sum: sum m (x - x0) = sum M (y - y0). Tensors
contain the samples first and then the same number of references. Multipliers are the same in both
halves.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from rap_keras import tensors as ops
from rap_keras.network.layer_types import is_a
from rap_keras.network.normalization import gain, groups_of_sample
from rap_keras.rules import TensorMap, Tensors
from rap_keras.rules.arithmetic import aligned, divide, narrowed, per_sample, tiny, total


def differences(pairs: ops.Tensor, axis: int = 0) -> ops.Tensor:
    """Samples minus their references, in both halves."""
    sample, reference = ops.split(pairs, 2, axis)
    return ops.concatenate([sample - reference] * 2, axis)


def mean_of(pairs: ops.Tensor, axis: int = 0) -> ops.Tensor:
    """The mean of samples and their references, in both halves."""
    sample, reference = ops.split(pairs, 2, axis)
    return ops.concatenate([(sample + reference) / 2] * 2, axis)


def is_rounding(x: ops.Tensor, dx: ops.Tensor, axis: int) -> ops.Tensor:
    """Where samples and references differ only by rounding."""
    sample, reference = ops.split(abs(x), 2, axis)
    size = ops.concatenate([ops.maximum(sample, reference)] * 2, axis)
    return abs(dx) <= 100 * float(ops.finfo(x.dtype).eps) * size


def of_softmax(
    x: ops.Tensor, y: ops.Tensor, multiplier: ops.Tensor, axes: Any, axis: int, is_log: bool = False
) -> ops.Tensor:
    """Softmax over `axes`, or its logarithm.

    With the logarithmic means L of y and y0, dy = L (dx - sum(L dx) / sum(L)). It is exact, does not
    change if a constant is added to x, and is the Jacobian where x equals x0.
    """
    floor = tiny(y.dtype)
    logarithm = y if is_log else ops.log(ops.maximum(y, floor))
    y = ops.exp(y) if is_log else y
    # Where y underflows, its logarithm follows from x.
    shift = ops.sum(ops.multiply_no_nan(x - logarithm, y), axes, keepdims=True)
    logarithm = ops.where(y > floor, logarithm, x - shift)
    dz = differences(logarithm, axis)
    dz = ops.where(ops.isfinite(dz), dz, ops.zeros_like(dz))
    sample, reference = ops.split(y, 2, axis)
    near = ops.sqrt(sample) * ops.sqrt(reference)
    near = ops.concatenate([near] * 2, axis) * (1 + ops.square(dz) / 24)
    mean = ops.where(abs(dz) < 1e-2, near, divide(differences(y, axis), dz))
    weights = divide(mean, ops.sum(mean, axes, keepdims=True))
    direct = multiplier if is_log else multiplier * mean
    return direct - weights * ops.sum(direct, axes, keepdims=True)


def of_quotient(inputs: Tensors, outputs: Tensors, multiplier: ops.Tensor, axis: int) -> list[Any]:
    """a / b: dy = (da - mean(y) db) / mean(b), where b and its reference have the same sign.

    Elsewhere a times 1 / b: dy = mean(1 / b) da - mean(a) db / (b b0).
    """
    a, b = (ops.cast(t, multiplier.dtype) for t in inputs)
    y = ops.cast(outputs[0], multiplier.dtype)
    sample, reference = ops.split(b, 2, axis)
    one_sign = ops.concatenate([ops.equal(ops.sign(sample), ops.sign(reference))] * 2, axis)
    product = ops.concatenate([sample * reference] * 2, axis)
    middle = mean_of(b, axis)
    slope = ops.where(one_sign, divide(ops.ones_like(b), middle), divide(middle, product))
    other = ops.where(one_sign, mean_of(y, axis) * slope, divide(mean_of(a, axis), product))
    wide = [ops.broadcast_to(part, ops.shape(y)) * multiplier for part in (slope, -other)]
    return narrowed(wide, inputs, inputs)


def of_scaling(
    layer: Any, inputs: Tensors, outputs: Tensors, multiplier: ops.Tensor, scale: int, axis: int
) -> list[Any]:
    """A product of two tensors, one of which is a scale s that may be far larger at one end.

    dy = (w s + (1 - w) s0) da + ((1 - w) a + w a0) ds is exact for every w. With w = |s0| / (|s| +
    |s0|), neither tensor gets more than twice the smaller scale times a, so the normalization of values
    near 0 does not explode.
    """
    wide = [ops.cast(t, multiplier.dtype) for t in aligned(layer, inputs)]
    y = ops.cast(outputs[0], multiplier.dtype)
    s, a = wide[scale], wide[1 - scale]
    sample, reference = ops.split(abs(s), 2, axis)
    size = sample + reference
    share = ops.where(size > 0, divide(sample, size), ops.constant(0.5, size.dtype))
    direct, swapped = (
        ops.concatenate(parts, axis) for parts in ([1 - share, share], [share, 1 - share])
    )
    parts = [ops.broadcast_to(part, ops.shape(y)) for part in (s * direct, a * swapped)]
    parts = [2 * mean_of(part, axis) * multiplier for part in parts]
    return narrowed(parts[::-1] if scale == 0 else parts, wide, inputs)


def of_normalization(
    layer: Any, x: ops.Tensor, multiplier: ops.Tensor, epsilon: float
) -> ops.Tensor:
    """y = u gain + shift with u = c / n, where c is x, or x minus its mean, and n is the size of c.

    As a quotient, du = (dc - mean(u) dn) / mean(n), and n is the root of a sum of squares. No value
    here exceeds what the larger of both sizes gives.
    """
    dtype = multiplier.dtype
    grouped, axes = groups_of_sample(layer, ops.cast(x, dtype))
    multiplier = ops.reshape(multiplier * gain(layer, ops.cast(x, dtype)), ops.shape(grouped))
    centred = is_a(layer, {"LayerNormalization", "GroupNormalization"})
    mean = functools.partial(ops.mean, axis=axes, keepdims=True)
    c = grouped - mean(grouped) if centred else grouped
    unit = is_a(layer, {"UnitNormalization", "Normalize"})
    summed = ops.sum(ops.square(c), axes, keepdims=True)
    count = ops.sum(ops.ones_like(c), axes, keepdims=True)
    squares = summed if unit else summed / count
    size = ops.sqrt(ops.maximum(squares, epsilon**2) if unit else squares + epsilon)
    middle = mean_of(size)
    of_c = multiplier / middle
    of_size = -ops.sum(of_c * mean_of(c / size), axes, keepdims=True)
    of_squares = of_size / (2 * middle)  # dn = d(squares) / (n + n0)
    if unit:  # smaller if one of the two is below the floor
        floored = ops.min(ops.stack(ops.split(squares, 2)), 0) <= epsilon**2
        quotient = of_size * divide(differences(size), differences(squares))
        of_squares = ops.where(ops.concatenate([floored] * 2, 0), quotient, of_squares)
    of_c += of_squares * 2 * mean_of(c) / (1.0 if unit else count)
    return ops.reshape(of_c - mean(of_c) if centred else of_c, ops.shape(x))


def between(
    function: TensorMap,
    inputs: Tensors,
    outputs: Tensors,
    multipliers: Tensors,
    to: Sequence[int],
    at: Sequence[int],
    each: bool = False,
) -> list[ops.Tensor]:
    """Any function: its mean gradient along the way, with the smallest change that keeps each sum.

    The gradient is taken at the two points of Gauss' quadrature and never at the ends, where a value to
    be normalized may be 0. The change is that of the discrete gradient of Gonzalez (1996). With `each`,
    the sum of every element is kept, for inputs and outputs of one shape.
    """
    dtype = multipliers[0].dtype
    points = [_on_the_way(x, axis) for x, axis in zip(inputs, to, strict=True)]
    values = [ops.cast(m, y.dtype) for m, y in zip(multipliers, outputs, strict=True)]
    _, back = ops.vjp(function, points)
    slopes = [ops.where(ops.isfinite(g), g, ops.zeros_like(g)) for g in back(values)]
    slopes = [mean_of(ops.cast(g, dtype), axis) for g, axis in zip(slopes, to, strict=True)]
    dx, dy = (
        [ops.cast(differences(t, axis), dtype) for t, axis in zip(tensors, axes, strict=True)]
        for tensors, axes in ((inputs, to), (outputs, at))
    )
    summed: Callable[..., ops.Tensor] = (lambda t, _: t) if each else total
    sums = [summed(m * d, axis) for m, d, axis in zip(multipliers, dy, at, strict=True)]
    sums += [-summed(s * d, axis) for s, d, axis in zip(slopes, dx, to, strict=True)]
    size = ops.add_n([summed(d * d, axis) for d, axis in zip(dx, to, strict=True)])
    noise = [
        ops.where(is_rounding(ops.cast(x, dtype), d, axis), ops.zeros_like(d), d)
        for x, d, axis in zip(inputs, dx, to, strict=True)
    ]
    differ = ops.add_n([summed(d * d, axis) for d, axis in zip(noise, to, strict=True)]) > 0
    missing = ops.where(differ, divide(ops.add_n(sums), size), ops.zeros_like(size))
    if each:
        return [s + missing * d for s, d in zip(slopes, dx, strict=True)]
    return [s + per_sample(missing, d, axis) * d for s, d, axis in zip(slopes, dx, to, strict=True)]


def _on_the_way(pairs: ops.Tensor, axis: int) -> ops.Tensor:
    sample, reference = ops.split(pairs, 2, axis)
    middle, away = (sample + reference) / 2, (sample - reference) / (2 * 3**0.5)
    return ops.concatenate([middle + away, middle - away], axis)
