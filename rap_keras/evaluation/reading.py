"""Reads inputs, heatmaps, masks and grids from the user; anything invalid raises an `InputError`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError
from rap_keras.support.options import read_integer
from rap_keras.support.text import shown

Mask = NDArray[np.bool_]
Shapes = Mapping[int, str]

INPUTS: Shapes = {1: "(features,)", 2: "(steps, channels)", 3: "(height, width, channels)"}
HEATMAPS: Shapes = {1: "(steps,)", 2: "(height, width)"}
_SHAPES: Shapes = {0: "()", 1: "(n,)", 2: "(n, classes)"}


def read_input(x: Any) -> NDArray[np.float64]:
    """An image, a series or a vector."""
    return read_array("the input x", x, INPUTS)


def read_heatmap(heatmap: Any) -> NDArray[np.float64]:
    """A heatmap as float64: `(height, width)`, or `(steps,)` of a series or a vector."""
    return read_array("a heatmap", heatmap, HEATMAPS)


def read_explained(x: Any, heatmap: Any) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """An input with its heatmap."""
    image = read_input(x).astype(np.float32)
    values = read_heatmap(heatmap)
    pixels = pixels_of(image.shape)
    if values.shape != pixels:
        raise InputError(
            f"Expected a heatmap in the shape of the input's pixels, {pixels}, got {values.shape}."
        )
    return image, values


def pixels_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an input without its channels. A vector has none: each feature is one pixel."""
    return shape if len(shape) == 1 else shape[:-1]


def one_shape(images: Iterable[NDArray[Any]]) -> tuple[int, ...]:
    """The shape that all images have."""
    shapes = sorted({image.shape for image in images})
    if len(shapes) > 1:
        raise InputError(f"Expected images of one size, got {', '.join(map(str, shapes))}.", "x")
    return shapes[0]


def over_channels(masks: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Masks, or one mask, of the pixels of inputs of a shape, with an axis for the channels."""
    return masks if len(shape) == 1 else masks[..., np.newaxis]


def read_mask(name: str, mask: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A bool array of the heatmap's shape."""
    array = _as_array(mask)
    if array.dtype != bool:
        raise InputError(
            f"Expected {name} to be a bool array, got {array.dtype}: compare, as in `{name} == 1`."
        )
    if array.shape != shape:
        raise InputError(
            f"Expected {name} of the heatmap's shape {shape}, got {array.shape}: resize one to the "
            "other."
        )
    return array


def read_regions(
    heatmap: ArrayLike, mask: ArrayLike, void: ArrayLike | None
) -> tuple[NDArray[np.float64], Mask, Mask]:
    """The heatmap, and where object and background are; void pixels are neither."""
    values = read_heatmap(heatmap)
    inside = read_mask("mask", mask, values.shape)
    if void is None:
        return values, inside, ~inside
    labelled = ~read_mask("void", void, values.shape)
    return values, inside & labelled, ~inside & labelled


def read_array(name: str, values: Any, ndim: int | Shapes | None) -> NDArray[np.float64]:
    """Reads a non-empty array of finite numbers as float64.

    Args:
        name: Its name in error messages.
        values: The array.
        ndim: The required number of axes, or the shapes by the allowed numbers of axes; None: any.
    """
    array = _as_array(values)
    if array.dtype.kind not in "fiu":
        raise InputError(
            f"Expected {name} of real numbers, got {array.dtype}: convert it to floats."
        )
    shapes = {ndim: _SHAPES[ndim]} if isinstance(ndim, int) else ndim
    if (shapes is not None and array.ndim not in shapes) or array.size == 0:
        *others, last = shapes.values() if shapes else [""]
        listed = f"{', '.join(others)} or {last}" if others else last
        expected = "that is not empty" if shapes is None else f"of shape {listed}"
        raise InputError(
            f"Expected {name} {expected}, got shape {array.shape}: pass one image at a time."
        )
    array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise InputError(
            f"Expected {name} of finite numbers, got NaN or infinity: leave this image out."
        )
    return array


def _as_array(values: Any) -> NDArray[Any]:
    """The values as an array; an object array if their shapes differ."""
    try:
        return np.asarray(values)
    except ValueError:
        return np.asarray(None)


def read_seed(seed: Any) -> np.random.Generator:
    """A random generator from a seed: an integer, or several."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Expected seed to be integers from 0 on, got {shown(seed)}.", "seed"
        ) from error


def cell_numbers(shape: tuple[int, ...], grid: Sequence[int]) -> NDArray[np.int64]:
    """The number of each pixel's cell, row by row, in an array of this shape.

    Cells differ by at most one pixel a side if the grid does not divide the shape.
    """
    counts = [read_integer("grid", n, 1) for n in grid]
    if len(counts) != len(shape) or any(n > size for n, size in zip(counts, shape, strict=True)):
        raise InputError(
            f"Expected cells of at least one pixel, got the grid {tuple(grid)} of {shape} pixels: "
            "choose fewer cells, with a number for each axis."
        )
    ends = [[size * k // n for k in range(n + 1)] for size, n in zip(shape, counts, strict=True)]
    places = [np.repeat(np.arange(len(end) - 1), np.diff(end)) for end in ends]
    return np.asarray(np.ravel_multi_index(np.ix_(*places), counts))
