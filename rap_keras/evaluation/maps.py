"""Measures of a relevance map alone, and reading maps and masks. Nothing of the caller's is changed."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError


def heatmap(relevance: ArrayLike) -> NDArray[np.float64]:
    """The heatmap of a relevance map: the sum over its channels.

    Args:
        relevance: The relevance of one image, `(height, width, channels)`.

    Returns:
        The heatmap, `(height, width)`, float64.

    Raises:
        InputError: It is no such array of finite numbers.
    """
    return np.asarray(read_array("a relevance map", relevance, 3).sum(axis=-1))


def conservation_error(relevance: ArrayLike, logit: float) -> float:
    """How far the relevance is from adding up to the logit: |sum R - logit| / |logit|.

    Args:
        relevance: The relevance of one image, of any shape.
        logit: The logit that was explained.

    Returns:
        The relative error, 0 or more. At a logit of 0: 0 where the relevance adds up to exactly 0,
        else infinity.

    Raises:
        InputError: The relevance is no array of finite numbers, or the logit no finite number.
    """
    total = float(read_array("a relevance map", relevance, None).sum())
    target = float(read_array("the logit", logit, 0))
    if target == 0:
        return 0.0 if total == 0 else math.inf
    return abs(total - target) / abs(target)


def sparsity(heatmap: ArrayLike) -> float:
    """The Gini index of the absolute relevance of the pixels.

    With v the n absolute values in ascending order, sum_k (2k - n - 1) v_k / (n sum_k v_k), which is
    the form of Chalasani et al., "Concise explanations of neural networks using adversarial
    training", ICML 2020, arXiv 1810.06583.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.

    Returns:
        0 where it is spread evenly, up to 1 - 1/n where one of n pixels has it all; 0 for the map
        that is zero everywhere.

    Raises:
        InputError: The heatmap is no such array of finite numbers.
    """
    sizes = np.sort(np.abs(read_heatmap(heatmap)), axis=None)
    if sizes[-1] == 0:
        return 0.0
    # A power of two, which rounds nothing, against overflow and underflow of the sums.
    sizes = np.ldexp(sizes, -np.frexp(sizes[-1])[1])
    count = sizes.size
    weights = 2.0 * np.arange(1, count + 1) - count - 1
    # Rounding may leave a little less than nothing of an evenly spread map.
    return max(0.0, float((weights * sizes).sum() / (count * sizes.sum())))


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
        shapes = {0: "()", 1: "(n,)", 2: "(height, width)", 3: "(height, width, channels)"}
        expected = "that is not empty" if ndim is None else f"of shape {shapes[ndim]}"
        raise InputError(
            f"Expected {name} {expected}, got shape {array.shape}: pass one image's at a time."
        )
    array = array.astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        raise InputError(f"Expected {name} of finite numbers, got NaN or infinity: leave it out.")
    return array
