"""Replaces pixels by a colour, another image, or the mean of their neighbours."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from rap_keras.errors import InputError
from rap_keras.evaluation.reading import (
    over_channels,
    pixels_of,
    read_array,
    read_input,
    read_mask,
    read_seed,
)
from rap_keras.support.options import read_number

Impute = Callable[[NDArray[np.float32], NDArray[np.bool_]], ArrayLike]

# Weights of a pixel's neighbours by row and column offset: 1/6 next to it, 1/12 diagonally.
_NEIGHBOURS = {
    (row, column): (1 / 6 if 0 in (row, column) else 1 / 12)
    for row in (-1, 0, 1)
    for column in (-1, 0, 1)
    if (row, column) != (0, 0)
}


def perturb(x: ArrayLike, masks: ArrayLike, replacement: ArrayLike | Impute = 0.0) -> NDArray[Any]:
    """Replaces the pixels of an image that the masks select.

    The result contains all perturbed images at once; `perturbation_curve` makes them batch by batch.

    Args:
        x: The model's preprocessed input, `(height, width, channels)`, or a series or a vector.
        masks: The pixels to replace, bool `(steps, height, width)`; for a series or a vector, a row for
            each step.
        replacement: What replaces them: a number, an array `(channels,)`, an image of x's shape (such
            as `blurred(x)`), or a function of the image and a mask `(height, width)` that returns an
            image of x's shape, from which the selected pixels are taken (such as
            `noisy_linear_imputation`).

    Returns:
        The perturbed images, `(steps, height, width, channels)`, with x's dtype, or float32 if x has
        integers.

    Example:
        >>> masks = np.array([[[True, False]]])
        >>> rap_keras.evaluation.perturb(np.ones((1, 2, 1)), masks).ravel()
        array([0., 1.])
    """
    values = read_input(x)
    given = np.asarray(x)
    dtype = given.dtype if given.dtype.kind == "f" else np.dtype(np.float32)
    where = np.asarray(masks)
    pixels = pixels_of(values.shape)
    if where.dtype != bool or where.ndim != 1 + len(pixels) or where.shape[1:] != pixels:
        listed = ", ".join(map(str, ("steps", *pixels)))
        raise InputError(
            f"Expected masks to be a bool array of shape ({listed}), as perturbation_masks makes them, "
            f"got {where.dtype} of shape {where.shape}."
        )
    image = values.astype(dtype)
    if callable(replacement):
        other = np.empty((len(where), *values.shape), dtype)
        for row, mask in zip(other, where, strict=True):
            row[...] = imputed(replacement, image, mask)
    else:
        other = read_replacement(replacement, values.shape, dtype)
    return np.where(over_channels(where, values.shape), other, image)


def blurred(x: ArrayLike, sigma: float = 5) -> NDArray[np.float32]:
    """The image blurred by a Gaussian: a replacement that keeps the colours.

    Args:
        x: The model's preprocessed input, `(height, width, channels)`, or a series, which is blurred
            along its steps.
        sigma: The standard deviation of the Gaussian, in pixels. The default is that of Petsiuk et al.

    Returns:
        The blurred image, float32. Beyond its border, the image is mirrored.

    Example:
        >>> rap_keras.evaluation.blurred(np.ones((8, 8, 3))).shape
        (8, 8, 3)
    """
    width = read_number("sigma", sigma, 0)
    image = read_input(x)
    if image.ndim == 1:
        raise InputError(
            f"Expected an image or a series to blur, got a vector of shape {image.shape}: its features "
            "have no order, so choose another replacement, or start=X for insertion."
        )
    widths = (*[width] * (image.ndim - 1), 0)
    return np.asarray(gaussian_filter(image, widths), np.float32)


def noisy_linear_imputation(
    x: ArrayLike, mask: ArrayLike, noise: float = 0.01, seed: int | Sequence[int] = 0
) -> NDArray[np.float32]:
    """Replaces pixels by weighted means of their neighbours, so that their position cannot be seen.

    Source: Rong et al., "A consistent and efficient evaluation strategy for attribution methods"
    (ROAD), ICML 2022, arXiv 2202.00449. Each missing pixel is the mean of its eight neighbours, with
    weights 1/6 next to it and 1/12 diagonally, whether they are known or missing. This makes a sparse
    linear system. There are no neighbours beyond the border. Then noise is added.

    Args:
        x: The model's preprocessed input, `(height, width, channels)`.
        mask: The pixels to replace, bool `(height, width)`.
        noise: The standard deviation of the noise, in units of x.
        seed: The seed of the noise.

    Returns:
        The image, float32. If no pixel is known, all are the mean of x plus noise.

    Example:
        >>> mask = np.zeros((8, 8), bool)
        >>> mask[2:4, 2:4] = True
        >>> rap_keras.evaluation.noisy_linear_imputation(np.ones((8, 8, 3)), mask).shape
        (8, 8, 3)
    """
    deviation, generator = read_number("noise", noise, 0), read_seed(seed)
    image = read_input(x)
    if image.ndim != 3:
        raise InputError(
            "Expected an image (height, width, channels) for ROAD, got an input of shape "
            f"{image.shape}: choose another replacement, such as a number or the mean."
        )
    missing = read_mask("mask", mask, image.shape[:2])
    found = image.astype(np.float32)
    if missing.all():
        filled = np.broadcast_to(image.mean(axis=(0, 1)), (missing.size, image.shape[-1]))
    elif missing.any():
        filled = _imputation(image, missing)
    else:
        return found
    found[missing] = filled + generator.normal(scale=deviation, size=filled.shape)
    return found


def _imputation(image: NDArray[np.float64], missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The solution of the linear system, a row for each missing pixel."""
    height, width = missing.shape
    count = int(missing.sum())
    unknown = np.full(missing.shape, -1)
    unknown[missing] = np.arange(count)
    rows, columns = np.nonzero(missing)
    totals, known = np.zeros(count), np.zeros((count, image.shape[-1]))
    entries: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    for (down, right), weight in _NEIGHBOURS.items():
        y, x = rows + down, columns + right
        (there,) = np.nonzero((y >= 0) & (y < height) & (x >= 0) & (x < width))
        y, x = y[there], x[there]
        totals[there] += weight
        free = missing[y, x]
        known[there[~free]] += weight * image[y[~free], x[~free]]
        entries.append((there[free], unknown[y[free], x[free]], np.full(int(free.sum()), -weight)))
    entries.append((np.arange(count), np.arange(count), totals))
    i, j, weights = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    system = csc_array((weights, (i, j)), shape=(count, count))
    # Pivots off the diagonal, which a symmetric and positive definite system does not need, would fill
    # the factors of scattered pixels: 40 seconds instead of half a second at 224 pixels.
    factors = splu(
        system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True}
    )
    return np.asarray(factors.solve(known))


def imputed(impute: Impute, image: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """The result of a function for an image without the pixels of a mask."""
    found = read_array("what the replacement returns", impute(image.copy(), mask), None)
    if found.shape != image.shape:
        raise InputError(
            f"Expected the replacement to return an image of shape {image.shape}, got {found.shape}."
        )
    return found.astype(image.dtype)


def read_replacement(
    replacement: ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Reads a number, a colour or an image as an image of the given shape."""
    array = read_array("the replacement", replacement, None)
    if array.shape not in ((), shape[-1:], shape):
        raise InputError(
            f"Expected the replacement to be a number or an array of shape {shape[-1:]} or {shape}, "
            f"got shape {array.shape}."
        )
    return np.broadcast_to(array.astype(dtype), shape)
