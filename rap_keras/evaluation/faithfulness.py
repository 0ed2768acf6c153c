"""Metrics of faithfulness: does an attribution predict how changes of the input change the logit?"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import pearsonr

from rap_keras.errors import InputError
from rap_keras.evaluation.batches import Predict, logits_of
from rap_keras.evaluation.heads import Head, read_head
from rap_keras.evaluation.reading import (
    HEATMAPS,
    INPUTS,
    over_channels,
    pixels_of,
    read_array,
    read_explained,
    read_input,
    read_seed,
)
from rap_keras.evaluation.replacement import Impute, perturb
from rap_keras.support.options import choose, read_boolean, read_integer, read_number


def faithfulness_correlation(
    predict: Predict,
    x: ArrayLike,
    heatmap: ArrayLike,
    neuron: int,
    pixels: int | None = None,
    samples: int = 100,
    replacement: ArrayLike | Impute = 0.0,
    seed: int | Sequence[int] = 0,
    batch_size: int = 32,
    head: Head = None,
) -> float:
    """The correlation between the relevance of pixels and the drop of the logit without them.

    Source: Bhatt, Weller and Moura, "Evaluating and aggregating feature-based model explanations",
    IJCAI 2020, arXiv 2005.00631. Pearson's correlation, over random sets S of pixels, of sum_S R with
    f(x) - f(x without S).

    Args:
        predict: From a batch, float32 `(n, height, width, channels)`, to the logits `(n, classes)`.
        x: The model's preprocessed input, `(height, width, channels)`, or a series or a vector.
        heatmap: The relevance of its pixels, `(height, width)`.
        neuron: The index of the explained class among the logits.
        pixels: The number of pixels in a set; default: a tenth of all.
        samples: The number of sets, at least 2.
        replacement: What replaces the pixels of a set, see `perturb`.
        seed: The seed of the sets.
        batch_size: The largest number of images in a batch.
        head: "sigmoid" for a model with one logit z: `neuron` 1 has z and 0 has -z. It has no effect
            for other models.

    Returns:
        -1 to 1; larger is better. NaN if all sums or all logits are the same.

    Example:
        >>> predict = lambda images: images.sum((1, 2))  # logits of two classes
        >>> x = np.random.default_rng(0).normal(size=(4, 4, 2))
        >>> round(rap_keras.evaluation.faithfulness_correlation(predict, x, x[..., 1], 1), 4)
        1.0
    """
    image, values = read_explained(x, heatmap)
    neuron = read_integer("neuron", neuron, 0)
    samples, generator = read_integer("samples", samples, 2), read_seed(seed)
    count = max(1, values.size // 10) if pixels is None else read_integer("pixels", pixels, 1)
    if count > values.size:
        raise InputError(
            f"Expected at most the {values.size} pixels of the heatmap in a set, got {count}: lower "
            "pixels.",
            "pixels",
        )
    sums = np.empty(samples)

    def images() -> Iterator[NDArray[np.float32]]:
        for k in range(samples):
            chosen = generator.choice(values.size, count, replace=False)
            sums[k] = values.ravel()[chosen].sum()
            mask = np.zeros(values.size, bool)
            mask[chosen] = True
            yield perturb(image, mask.reshape(1, *values.shape), replacement)[0]

    drops = _logit_drops(predict, image, images(), samples, neuron, batch_size, head)
    if np.ptp(sums) == 0 or np.ptp(drops) == 0:
        return math.nan
    return float(pearsonr(sums, drops).statistic)


def infidelity(
    predict: Predict,
    x: ArrayLike,
    attribution: ArrayLike,
    neuron: int,
    perturbation: str = "squares",
    size: float | None = None,
    samples: int = 100,
    scaled: bool = False,
    seed: int | Sequence[int] = 0,
    batch_size: int = 32,
    head: Head = None,
) -> float:
    """The squared error of an attribution that predicts how changes I of the input change the logit.

    E[(I . phi - (f(x) - f(x - I)))^2] of Yeh et al., "On the (in)fidelity and sensitivity of
    explanations", NeurIPS 2019, arXiv 1901.09392, over random I:

        "squares"    a square of pixels (a segment of a series) at a random position becomes 0. I is x
                     there. Relevance R has the input as a factor (phi = R / x), so I . phi is the sum
                     of R over the square.
        "noise"      each number changes by Gaussian noise; phi is the attribution itself, which must
                     have the unit of a gradient.

    Args:
        predict: From a batch, float32 `(n, height, width, channels)`, to the logits `(n, classes)`.
        x: The model's preprocessed input, `(height, width, channels)`, or a series or a vector.
        attribution: For "squares", the relevance of the pixels, `(height, width)`. For "noise", the
            gradient of the logit, or an attribution in its unit, of x's shape.
        neuron: The index of the explained class among the logits.
        perturbation: "squares" or "noise".
        size: The side of the squares in pixels, default: a quarter of the shorter side of x, at least
            1. Or the standard deviation of the noise in units of x, default: 0.2.
        samples: The number of changes.
        scaled: First multiply the attribution by the number that makes the result smallest, E[(I . phi)
            (f(x) - f(x - I))] / E[(I . phi)^2], so that its scale does not matter.
        seed: The seed of the changes.
        batch_size: The largest number of images in a batch.
        head: As in `faithfulness_correlation`.

    Returns:
        0 or more, in the squared unit of the logit; smaller is better.

    Example:
        >>> predict = lambda images: images.sum((1, 2))  # logits of two classes
        >>> x = np.random.default_rng(0).normal(size=(4, 4, 2))
        >>> round(rap_keras.evaluation.infidelity(predict, x, x[..., 1], 1), 4)
        0.0
    """
    predicted, drops = predicted_and_actual_drops(
        predict, x, attribution, neuron, perturbation, size, samples, seed, batch_size, head
    )
    return squared_error(predicted, drops, read_boolean("scaled", scaled))


def predicted_and_actual_drops(
    predict: Predict,
    x: ArrayLike,
    attribution: ArrayLike,
    neuron: int,
    perturbation: str = "squares",
    size: float | None = None,
    samples: int = 100,
    seed: int | Sequence[int] = 0,
    batch_size: int = 32,
    head: Head = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The drops of the logit that an attribution predicts for changes of the input, and the true drops.

    The arguments are those of `infidelity`; both results have the shape `(samples,)`.
    """
    choose("perturbation", perturbation, ("squares", "noise"))
    image, squares = read_input(x).astype(np.float32), perturbation == "squares"
    values = read_array("an attribution", attribution, HEATMAPS if squares else INPUTS)
    shape = pixels_of(image.shape) if squares else image.shape
    if values.shape != shape:
        raise InputError(f"Expected an attribution of shape {shape}, got {values.shape}.")
    count, generator = read_integer("samples", samples, 1), read_seed(seed)
    neuron = read_integer("neuron", neuron, 0)
    predicted = np.empty(count)

    def without_squares(masks: Iterable[NDArray[np.bool_]]) -> Iterator[NDArray[np.float32]]:
        for k, mask in enumerate(masks):
            predicted[k] = values[mask].sum()
            yield np.where(over_channels(mask, image.shape), np.float32(0), image)

    def less_noise(deviation: float) -> Iterator[NDArray[np.float32]]:
        for k in range(count):
            change = generator.normal(scale=deviation, size=image.shape).astype(np.float32)
            predicted[k] = (change * values).sum()
            yield image - change

    if squares:
        images = without_squares(_squares(values.shape, size, count, generator))
    else:
        images = less_noise(read_number("size", 0.2 if size is None else size, 0))
    drops = _logit_drops(predict, image, images, count, neuron, batch_size, head)
    return predicted, drops


def squared_error(
    predicted: NDArray[np.float64], drops: NDArray[np.float64], scaled: bool = False
) -> float:
    """The mean squared difference; if `scaled`, after the first is multiplied by the best factor."""
    if scaled and predicted.any():
        predicted = predicted * (predicted * drops).mean() / (predicted**2).mean()
    return float(((predicted - drops) ** 2).mean())


def _logit_drops(
    predict: Predict,
    x: NDArray[np.float32],
    images: Iterable[NDArray[np.float32]],
    count: int,
    neuron: int,
    batch_size: int,
    head: Head = None,
) -> NDArray[np.float64]:
    """The drop of the explained logit for each of `count` other images, `(count,)`."""
    rows = itertools.chain([x], images)
    read_head(head)
    logits = logits_of(predict, rows, count + 1, x.shape, neuron, batch_size, head)[:, neuron]
    return logits[0] - logits[1:]


def _squares(
    shape: tuple[int, ...], size: float | None, count: int, generator: np.random.Generator
) -> Iterator[NDArray[np.bool_]]:
    """Masks of squares, or of segments of a series, at random positions, fully inside the shape."""
    side = max(1, min(shape) // 4) if size is None else read_integer("size", size, 1)
    if side > min(shape):
        raise InputError(
            f"Expected squares of at most {min(shape)} pixels a side, got {side}.", "size"
        )
    corners = [generator.integers(length - side + 1, size=count) for length in shape]

    def square(*corner: int) -> NDArray[np.bool_]:
        mask = np.zeros(shape, bool)
        mask[tuple(slice(first, first + side) for first in corner)] = True
        return mask

    return map(square, *corners)
