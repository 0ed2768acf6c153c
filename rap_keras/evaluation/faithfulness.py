"""Whether an attribution predicts what changes of the input do to the logit."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import pearsonr

from rap_keras.errors import InputError
from rap_keras.evaluation.batches import Predict, logits_of
from rap_keras.evaluation.heads import Head, read_head
from rap_keras.evaluation.reading import read_array, read_image, read_seed
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
    """Whether the relevance of pixels predicts what the logit loses without them.

    Of Bhatt, Weller and Moura, "Evaluating and aggregating feature-based model explanations", IJCAI
    2020, arXiv 2005.00631: Pearson's correlation, over random sets S of pixels, of sum_S R with
    f(x) - f(x without S).

    Args:
        predict: From a batch float32 `(n, height, width, channels)` to the logits `(n, classes)`.
        x: The model's input as preprocessed, `(height, width, channels)`.
        heatmap: The relevance of its pixels, `(height, width)`.
        neuron: The index of the explained neuron among the logits.
        pixels: The number of pixels in a set; default: a tenth of all.
        samples: The number of sets, 2 at least.
        replacement: What the pixels of a set become, see `perturb`.
        seed: That of the sets.
        batch_size: The most images in a batch.
        head: "sigmoid" for a model with one logit z: `neuron` 1 is z, 0 is -z. It has no effect for
            other models.

    Returns:
        -1 to 1, the greater the better. NaN where all sums, or all logits, are the same.
    """
    image, values = read_image(x, heatmap)
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
    """How far an attribution is from telling what changes I of the input do to the logit.

    E[(I . phi - (f(x) - f(x - I)))^2] of Yeh et al., "On the (in)fidelity and sensitivity of
    explanations", NeurIPS 2019, arXiv 1901.09392, over random I:

        "squares"    a square of pixels at a random place becomes 0. I is x there, so for relevance R,
                     which has the input in it (phi = R / x), I . phi is the sum of R on the square.
        "noise"      each number changes by Gaussian noise; phi is the attribution itself, which must
                     be in the unit of a gradient.

    Args:
        predict: From a batch float32 `(n, height, width, channels)` to the logits `(n, classes)`.
        x: The model's input as preprocessed, `(height, width, channels)`.
        attribution: "squares": the relevance of the pixels, `(height, width)`; "noise": the gradient of
            the logit by the input, or what stands for it, of x's shape.
        neuron: The index of the explained neuron among the logits.
        perturbation: "squares" or "noise".
        size: The side of the squares in pixels, default: a quarter of the shorter side of x, at
            least 1; or the standard deviation of the noise in the unit of x, default: 0.2.
        samples: The number of changes.
        scaled: First multiply the attribution by the number that makes the result smallest,
            E[(I . phi) (f(x) - f(x - I))] / E[(I . phi)^2], so that its scale does not count.
        seed: That of the changes.
        batch_size: The most images in a batch.
        head: As of `faithfulness_correlation`.

    Returns:
        0 or more, in the unit of the logit squared; the smaller the better.
    """
    told, drops = told_and_lost(
        predict, x, attribution, neuron, perturbation, size, samples, seed, batch_size, head
    )
    return squared_error(told, drops, read_boolean("scaled", scaled))


def told_and_lost(
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
    """What an attribution says of changes of the input, and what the logit loses by them.

    The arguments are those of `infidelity`. Both results, I . phi and f(x) - f(x - I), are `(samples,)`.

    Raises:
        InputError: As of `infidelity`.
    """
    choose("perturbation", perturbation, ("squares", "noise"))
    image = read_array("the input x", x, 3).astype(np.float32)
    values = read_array("an attribution", attribution, 2 if perturbation == "squares" else 3)
    if values.shape != image.shape[: values.ndim]:
        raise InputError(
            f"Expected an attribution of shape {image.shape[: values.ndim]}, got {values.shape}."
        )
    count, generator = read_integer("samples", samples, 1), read_seed(seed)
    neuron = read_integer("neuron", neuron, 0)
    told = np.empty(count)

    def without_squares(masks: Iterable[NDArray[np.bool_]]) -> Iterator[NDArray[np.float32]]:
        for k, mask in enumerate(masks):
            told[k] = values[mask].sum()
            yield np.where(mask[..., np.newaxis], np.float32(0), image)

    def less_noise(deviation: float) -> Iterator[NDArray[np.float32]]:
        for k in range(count):
            change = generator.normal(scale=deviation, size=image.shape).astype(np.float32)
            told[k] = (change * values).sum()
            yield image - change

    if perturbation == "squares":
        images = without_squares(_squares(values.shape, size, count, generator))
    else:
        images = less_noise(read_number("size", 0.2 if size is None else size, 0))
    drops = _logit_drops(predict, image, images, count, neuron, batch_size, head)
    return told, drops


def squared_error(
    told: NDArray[np.float64], drops: NDArray[np.float64], scaled: bool = False
) -> float:
    """The mean square of the difference; scaled: the least that a multiple of the first has."""
    if scaled and told.any():
        told = told * (told * drops).mean() / (told**2).mean()
    return float(((told - drops) ** 2).mean())


def _logit_drops(
    predict: Predict,
    x: NDArray[np.float32],
    images: Iterable[NDArray[np.float32]],
    count: int,
    neuron: int,
    batch_size: int,
    head: Head = None,
) -> NDArray[np.float64]:
    """What the explained logit loses on each of `count` other images, `(count,)`."""
    rows = itertools.chain([x], images)
    read_head(head)
    logits = logits_of(predict, rows, count + 1, x.shape, neuron, batch_size, head)[:, neuron]
    return logits[0] - logits[1:]


def _squares(
    shape: tuple[int, ...], size: float | None, count: int, generator: np.random.Generator
) -> Iterator[NDArray[np.bool_]]:
    """Masks of squares at random places, wholly on the image, bool `(height, width)`."""
    height, width = shape
    side = max(1, min(shape) // 4) if size is None else read_integer("size", size, 1)
    if side > min(shape):
        raise InputError(
            f"Expected squares of at most {min(shape)} pixels a side, got {side}.", "size"
        )
    rows = generator.integers(height - side + 1, size=count)
    columns = generator.integers(width - side + 1, size=count)

    def square(row: int, column: int) -> NDArray[np.bool_]:
        mask = np.zeros(shape, bool)
        mask[row : row + side, column : column + side] = True
        return mask

    return map(square, rows, columns)
