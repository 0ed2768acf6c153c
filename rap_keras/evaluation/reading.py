"""Reads heatmaps and masks from the user; anything invalid raises an `InputError`."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError
from rap_keras.support.text import shown

Mask = NDArray[np.bool_]


def read_heatmap(heatmap: Any) -> NDArray[np.float64]:
    """A heatmap as float64 `(height, width)`."""
    return read_array("a heatmap", heatmap, 2)


def read_image(x: Any, heatmap: Any) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """An image, `(height, width, channels)`, and a heatmap of its height and width."""
    image = read_array("the input x", x, 3).astype(np.float32)
    values = read_heatmap(heatmap)
    if values.shape != image.shape[:2]:
        raise InputError(
            f"Expected a heatmap of the height and width of the input, {image.shape[:2]}, got "
            f"{values.shape}."
        )
    return image, values


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


def read_array(name: str, values: Any, ndim: int | None) -> NDArray[np.float64]:
    """Reads a non-empty array of finite numbers as float64.

    Args:
        name: Its name in error messages.
        values: The array.
        ndim: The required number of axes; None: any.
    """
    array = _as_array(values)
    if array.dtype.kind not in "fiu":
        raise InputError(
            f"Expected {name} of real numbers, got {array.dtype}: convert it to floats."
        )
    if (ndim is not None and array.ndim != ndim) or array.size == 0:
        shapes = {
            0: "()",
            1: "(n,)",
            2: "(height, width)",
            3: "(height, width, channels)",
            4: "(n, height, width, channels)",
        }
        expected = "that is not empty" if ndim is None else f"of shape {shapes[ndim]}"
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
