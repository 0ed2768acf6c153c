"""What the explained logit does while the pixels are replaced in the order of their relevance.

Region perturbation by Samek et al., "Evaluating the visualization of what a deep neural network has
learned", IEEE TNNLS 2017, arXiv 1509.06321, with single pixels as regions. Most relevant first (MoRF),
the logit should fall soon; least relevant first (LeRF), as in RAP (Nam et al., AAAI 2020, arXiv
1904.00605), the logit should stay, or rise while negative relevance is removed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError
from rap_keras.evaluation.reading import read_array, read_heatmap
from rap_keras.support.options import choose, read_integer


@dataclass(frozen=True, eq=False)
class PerturbationCurve:
    """What became of one image, step by step, from the image as it is.

    Attributes:
        fractions: The share of the pixels that is replaced, `(steps + 1,)`, from 0 on.
        logits: The logit of the explained neuron, `(steps + 1,)`, float64.
        correct: Whether no other neuron has a larger logit, bool `(steps + 1,)`.
    """

    fractions: NDArray[np.float64]
    logits: NDArray[np.float64]
    correct: NDArray[np.bool_]


def perturbation_masks(
    heatmap: ArrayLike, steps: int, pixels_per_step: int, order: str = "lerf"
) -> NDArray[np.bool_]:
    """The pixels that are replaced after each step.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        steps: The number of steps.
        pixels_per_step: How many more pixels each step replaces.
        order: "lerf": the least relevant first, the most negative relevance being the least.
            "morf": the most relevant first. Of equally relevant pixels, those of the upper rows
            come first, and in a row those on the left.

    Returns:
        The masks, bool `(steps, height, width)`; mask k has `(k + 1) * pixels_per_step` pixels.

    Raises:
        InputError: The arguments are not as described, or there are not as many pixels.
    """
    values = read_heatmap(heatmap)
    steps, pixels_per_step = _read_steps(steps, pixels_per_step, values.size)
    ranks = np.empty(values.size, np.int64)
    ranks[_pixel_order(values, order)] = np.arange(values.size)
    counts = np.arange(1, steps + 1) * pixels_per_step
    return ranks.reshape(values.shape) < counts[:, np.newaxis, np.newaxis]


def perturb(x: ArrayLike, masks: ArrayLike, replacement: ArrayLike = 0.0) -> NDArray[Any]:
    """Replaces the pixels of an image that the masks mark.

    The result has all perturbed images at once; `perturbation_curve` makes them batch by batch.

    Args:
        x: The model's input as preprocessed, `(height, width, channels)`.
        masks: Which pixels to replace, bool `(steps, height, width)`.
        replacement: What by: a number, an array `(channels,)`, or one of x's shape.

    Returns:
        The perturbed images, `(steps, height, width, channels)`, of x's dtype (float32 where x holds
        integers).

    Raises:
        InputError: The arguments are not as described.
    """
    values = read_array("the input x", x, 3)
    given = np.asarray(x)
    dtype = given.dtype if given.dtype.kind == "f" else np.dtype(np.float32)
    where = np.asarray(masks)
    if where.dtype != bool or where.ndim != 3 or where.shape[1:] != values.shape[:2]:
        height, width = values.shape[:2]
        raise InputError(
            f"Expected masks to be a bool array of shape (steps, {height}, {width}), as "
            f"perturbation_masks makes them, got {where.dtype} of shape {where.shape}."
        )
    image, other = values.astype(dtype), _read_replacement(replacement, values.shape, dtype)
    return np.where(where[..., np.newaxis], other, image)


def perturbation_curve(
    predict: Callable[[NDArray[np.float32]], ArrayLike],
    x: ArrayLike,
    heatmap: ArrayLike,
    neuron: int,
    steps: int = 40,
    pixels_per_step: int | None = None,
    order: str = "lerf",
    replacement: ArrayLike = 0.0,
    batch_size: int = 32,
) -> PerturbationCurve:
    """Follows the explained logit while the pixels are replaced.

    `predict` is called `ceil((steps + 1) / batch_size)` times, each time with a new array of the
    same shape: the last batch is filled up with copies of the last image, whose logits are dropped.

    Args:
        predict: From a batch float32 `(n, height, width, channels)` to the logits `(n, classes)`.
        x: The model's input as preprocessed, `(height, width, channels)`.
        heatmap: The relevance of its pixels, `(height, width)`.
        neuron: The index of the explained neuron among the logits.
        steps: The number of steps.
        pixels_per_step: How many more pixels each step replaces; default: `pixels // steps`, so
            that (nearly) all are replaced in the end.
        order: "lerf" or "morf", see `perturbation_masks`.
        replacement: What to replace the pixels by: a number, an array `(channels,)`, or one of
            x's shape.
        batch_size: The most images in a batch.

    Returns:
        The curve.

    Raises:
        InputError: The arguments or the logits are not as described.
    """
    image = read_array("the input x", x, 3).astype(np.float32)
    values = read_heatmap(heatmap)
    if values.shape != image.shape[:2]:
        raise InputError(
            f"Expected a heatmap of the height and width of the input, {image.shape[:2]}, got "
            f"{values.shape}."
        )
    steps, pixels_per_step = _read_steps(steps, pixels_per_step, values.size)
    neuron = read_integer("neuron", neuron, 0)
    # As many batches as the largest size needs, but of equal size: hardly any filling.
    batches = -(-(steps + 1) // read_integer("batch_size", batch_size, 1))
    size = -(-(steps + 1) // batches)
    pixels = _pixel_order(values, order)
    # From step to step only a few pixels change. `astype` above made the copy that is edited here.
    current = image.reshape(values.size, -1)
    other = _read_replacement(replacement, image.shape, image.dtype).reshape(current.shape)
    parts = []
    for start in range(0, steps + 1, size):
        batch = np.empty((size, *current.shape), np.float32)
        for row, step in enumerate(range(start, start + size)):
            if 0 < step <= steps:
                chosen = pixels[(step - 1) * pixels_per_step : step * pixels_per_step]
                current[chosen] = other[chosen]
            batch[row] = current
        parts.append(_logits(predict(batch.reshape(size, *image.shape)), size, neuron))
    logits = np.concatenate(parts)[: steps + 1]
    return PerturbationCurve(
        fractions=np.arange(steps + 1) * pixels_per_step / values.size,
        logits=logits[:, neuron],
        correct=logits[:, neuron] == logits.max(axis=1),
    )


def area_over_perturbation_curve(values: ArrayLike) -> float:
    """How far the values lie below the first, on average: AOPC.

    The mean of values[0] - values[k] over k = 0 ... steps, the first included, of one image in eq. 12
    of Samek et al. (2017). MoRF: the greater the better; LeRF: the smaller the better.

    Args:
        values: The logits (or other scores) of a curve, `(steps + 1,)`.

    Returns:
        The AOPC, in units of the values.

    Raises:
        InputError: The values are no such array of finite numbers.
    """
    numbers = read_array("the values of a curve", values, 1)
    return float((numbers[0] - numbers).mean())


def area_under_curve(fractions: ArrayLike, values: ArrayLike) -> float:
    """The area under a curve by the trapezoidal rule.

    Args:
        fractions: Where the values belong, `(n,)`, ascending.
        values: The values, `(n,)`.

    Returns:
        The area, in units of the values; over fractions from 0 to 1 it is their mean.

    Raises:
        InputError: The arrays are not as described, or hold a single point.
    """
    numbers = read_array("the values of a curve", values, 1)
    places = read_array("the fractions of a curve", fractions, 1)
    if len(places) < 2 or len(places) != len(numbers) or (np.diff(places) < 0).any():
        raise InputError(
            "Expected at least two ascending fractions and as many values, got "
            f"{len(places)} and {len(numbers)}: pass those of one PerturbationCurve."
        )
    return float((np.diff(places) * (numbers[1:] + numbers[:-1])).sum() / 2)


def _pixel_order(values: NDArray[np.float64], order: str) -> NDArray[np.intp]:
    """The flat indices of the pixels in the order in which they are replaced."""
    choose("order", order, ("lerf", "morf"))
    return np.argsort(values if order == "lerf" else -values, axis=None, kind="stable")


def _read_steps(steps: int, pixels_per_step: int | None, pixels: int) -> tuple[int, int]:
    steps = read_integer("steps", steps, 1)
    if pixels_per_step is None:
        per_step = max(1, pixels // steps)
    else:
        per_step = read_integer("pixels_per_step", pixels_per_step, 1)
    if steps * per_step > pixels:
        raise InputError(
            f"Expected steps * pixels_per_step to be at most the {pixels} pixels of the heatmap, got "
            f"{steps} * {per_step}: lower one of them."
        )
    return steps, per_step


def _read_replacement(
    replacement: ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    array = read_array("the replacement", replacement, None)
    if array.shape not in ((), shape[-1:], shape):
        raise InputError(
            f"Expected the replacement to be a number or an array of shape {shape[-1:]} or {shape}, "
            f"got shape {array.shape}."
        )
    return np.broadcast_to(array.astype(dtype), shape)


def _logits(logits: ArrayLike, size: int, neuron: int) -> NDArray[np.float64]:
    # A copy: what predict returns may be its own, to be overwritten with the next batch.
    array = np.array(logits, np.float64)
    if array.ndim != 2 or len(array) != size:
        raise InputError(
            f"Expected predict to return logits of shape ({size}, classes), got {array.shape}."
        )
    if neuron >= array.shape[1]:
        raise InputError(
            f"Expected neuron to be less than the {array.shape[1]} logits of predict, got {neuron}."
        )
    if not np.isfinite(array).all():
        raise InputError("Expected predict to return finite logits, got NaN or infinity.")
    return array
