"""Bounds of the input, for rules that need them (eq. 10, z^B)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rap_keras import tensors as ops
from rap_keras.errors import InputError
from rap_keras.inputs.samples import as_dtype
from rap_keras.inputs.tensors import readable
from rap_keras.network.graph import Graph
from rap_keras.support.text import shown

Box = dict[int, tuple[ops.Tensor, ops.Tensor]]  # slot => low, high
Bounds = tuple[np.ndarray, np.ndarray]


def read_bounds(bounds: Any) -> Bounds | None:
    """Reads bounds (low, high) as arrays; None stays None."""
    if bounds is None:
        return None
    try:
        low, high = map(_read_bound, bounds)
    except (TypeError, ValueError):
        raise InputError(
            f"Expected bounds=(low, high), two numbers or arrays, got {shown(bounds)}."
        ) from None
    try:
        ordered = bool((low <= high).all())
    except ValueError:
        raise InputError(
            f"Expected bounds (low, high) of shapes that fit together, got {low.shape} and {high.shape}."
        ) from None
    if not (np.isfinite(low).all() and np.isfinite(high).all() and ordered):
        raise InputError(f"Expected finite bounds with low <= high, got {shown(bounds)}.")
    return low, high


def _read_bound(bound: Any) -> np.ndarray:
    array = np.asarray(readable(bound))
    if array.dtype.kind == "b":
        raise TypeError("a boolean cannot be a bound")
    return array.astype(np.float64)


def refuse_outside(bounds: Bounds | None, inputs: Sequence[np.ndarray]) -> None:
    """Raises an error if inputs are outside the bounds. Eq. 10 does not hold there."""
    if bounds is None:
        return
    for x in inputs:
        low, high = (as_dtype(bound, x.dtype, "bounds") for bound in bounds)
        if not all(_fits(bound.shape, x.shape[1:]) for bound in (low, high)):
            raise InputError(
                f"Expected bounds that broadcast to a sample of shape {x.shape[1:]}, got shapes "
                f"{low.shape} and {high.shape}."
            )
        if outside := np.count_nonzero((x < low) | (x > high)):
            raise InputError(
                f"Expected inputs within the bounds, got {outside} values outside: widen the bounds, or "
                "leave them out to use each image's minimum and maximum."
            )


def _fits(bound: tuple[int, ...], sample: tuple[int, ...]) -> bool:
    """Whether a bound broadcasts to a sample; it may have a batch axis of size 1."""
    try:
        return np.broadcast_shapes(bound, (1, *sample)) == (1, *sample)
    except ValueError:
        return False


def boxes(graph: Graph, inputs: Sequence[ops.Tensor], bounds: Any) -> Box:
    """Returns the bounds of each input: the given ones, or the minimum and maximum of each image."""
    result = {}
    for slot, x in zip(graph.inputs, inputs, strict=True):
        if slot not in graph.images:
            continue
        if bounds is None:
            axes = list(range(1, len(x.shape)))
            low, high = (f(x, axes, keepdims=True) for f in (ops.min, ops.max))
        else:
            low, high = (ops.cast(ops.convert_to_tensor(b), x.dtype) for b in bounds)
        result[slot] = (low + ops.zeros_like(x), high + ops.zeros_like(x))
    return result
