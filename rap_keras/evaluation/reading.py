"""Reads heat maps and masks as users pass them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.errors import InputError
from rap_keras.support.text import shown


def read_heatmap(heatmap: Any) -> NDArray[np.float64]:
    """A heatmap as float64 `(height, width)`.

    Raises:
        InputError: It is no such array of finite numbers.
    """
    return read_array("a heatmap", heatmap, 2)


def read_mask(name: str, mask: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A bool array of the heatmap's shape.

    Raises:
        InputError: It is none.
    """
    try:
        array = np.asarray(mask)
    except ValueError:
        array = np.asarray(None)
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


def read_array(name: str, values: Any, ndim: int | None) -> NDArray[np.float64]:
    """An array of finite numbers as float64, not empty.

    Args:
        name: What it is, for the error.
        values: The array.
        ndim: How many axes it must have; None: any.

    Raises:
        InputError: It is no such array.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.asarray(None)
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
            f"Expected {name} {expected}, got shape {array.shape}: pass one image's at a time."
        )
    array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise InputError(f"Expected {name} of finite numbers, got NaN or infinity: leave it out.")
    return array


def read_seed(seed: Any) -> np.random.Generator:
    """A generator of random numbers from a seed: an integer, or several.

    Raises:
        InputError: It is no seed.
    """
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Expected seed to be integers from 0 on, got {shown(seed)}.", "seed"
        ) from error
