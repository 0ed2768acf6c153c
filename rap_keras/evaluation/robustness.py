"""How much a map changes with its input, and whether it says what small changes do to the logit."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError
from rap_keras.evaluation.heads import Head
from rap_keras.evaluation.perturbation import Predict, logit_drops
from rap_keras.evaluation.reading import read_array, read_heatmap, read_seed
from rap_keras.evaluation.rows import in_batches
from rap_keras.support.options import choose, read_boolean, read_integer, read_number


def neighbours(
    x: ArrayLike, radius: float, samples: int, seed: int | Sequence[int] = 0
) -> NDArray[np.float32]:
    """Inputs near an input: each number changes by at most the radius, evenly drawn.

    Args:
        x: The model's input as preprocessed, `(height, width, channels)`.
        radius: The largest change of a number, in the unit of x.
        samples: How many.
        seed: That of the changes.

    Returns:
        The inputs, `(samples, height, width, channels)`.

    Raises:
        InputError: The arguments are not as described.
    """
    return next(neighbour_batches(x, radius, samples, seed, read_integer("samples", samples, 1)))


def neighbour_batches(
    x: ArrayLike, radius: float, samples: int, seed: int | Sequence[int] = 0, batch_size: int = 32
) -> Iterator[NDArray[np.float32]]:
    """`neighbours`, at most `batch_size` at a time.

    Args:
        x: As of `neighbours`.
        radius: As of `neighbours`.
        samples: As of `neighbours`.
        seed: As of `neighbours`.
        batch_size: The most inputs in a batch.

    Returns:
        The batches, `(n, height, width, channels)`.

    Raises:
        InputError: The arguments are not as described.
    """
    image, size = read_array("the input x", x, 3), read_number("radius", radius, 0)
    count, generator = read_integer("samples", samples, 1), read_seed(seed)
    rows = (image + generator.uniform(-size, size, image.shape) for _ in range(count))
    return in_batches(rows, count, image.shape, batch_size)


def max_sensitivity(heatmap: ArrayLike, others: ArrayLike) -> float:
    """The largest relative change of a map among neighbours of its input.

    max_j |R(x_j) - R(x)| / |R(x)| with Euclidean norms: Yeh et al., "On the (in)fidelity and sensitivity
    of explanations", NeurIPS 2019, arXiv 1901.09392, relative to the size of the map, so that methods
    can be compared.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        others: The maps of neighbours of the input (see `neighbours`), `(n, height, width)`.

    Returns:
        0 or more, the smaller the better. NaN for the map that is zero everywhere.

    Raises:
        InputError: The maps are not as described.
    """
    return largest_change(heatmap, distances(read_heatmap(heatmap), others))


def largest_change(heatmap: ArrayLike, changes: NDArray[np.float64]) -> float:
    """`max_sensitivity`, of how far the maps of the neighbours are from the map."""
    size = float(np.linalg.norm(read_heatmap(heatmap)))
    return float(changes.max()) / size if size > 0 else math.nan


def local_lipschitz(
    heatmap: ArrayLike, others: ArrayLike, x: ArrayLike, inputs: ArrayLike
) -> float:
    """The largest change of a map in relation to that of its input.

    max_j |R(x_j) - R(x)| / |x_j - x| with Euclidean norms: the local Lipschitz estimate of Alvarez-Melis
    and Jaakkola, "On the robustness of interpretability methods", 2018, arXiv 1806.08049.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        others: The maps of neighbours of the input, `(n, height, width)`.
        x: The model's input as preprocessed, `(height, width, channels)`.
        inputs: The neighbours, see `neighbours`, `(n, height, width, channels)`.

    Returns:
        0 or more, in the unit of the map by that of x; the smaller the better.

    Raises:
        InputError: The arrays are not as described, or a neighbour is the input itself.
    """
    changes = distances(read_heatmap(heatmap), others)
    image, near = read_array("the input x", x, 3), read_array("the inputs", inputs, 4)
    if near.shape != (len(changes), *image.shape):
        raise InputError(
            f"Expected an input of shape {image.shape} for each of {len(changes)} maps, got "
            f"{near.shape}."
        )
    return steepest_change(changes, _norms(near - image))


def steepest_change(changes: NDArray[np.float64], steps: NDArray[np.float64]) -> float:
    """`local_lipschitz`, of how far the maps are from the map, and the neighbours from the input.

    Raises:
        InputError: A neighbour is the input itself.
    """
    if not steps.all():
        raise InputError("Expected neighbours other than the input itself: raise their radius.")
    return float((changes / steps).max())


def distances(values: NDArray[np.float64], others: ArrayLike) -> NDArray[np.float64]:
    """How far each of other maps, or of other inputs, is from one, `(n,)`.

    Raises:
        InputError: They are of another shape, or not finite.
    """
    arrays = read_array("the other maps", others, values.ndim + 1)
    if arrays.shape[1:] != values.shape:
        raise InputError(f"Expected maps of shape {values.shape}, got {arrays.shape[1:]}.")
    return _norms(arrays - values)


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

    Raises:
        InputError: The arguments or the logits are not as described.
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

    Args:
        predict: From a batch float32 `(n, height, width, channels)` to the logits `(n, classes)`.
        x: The model's input as preprocessed, `(height, width, channels)`.
        attribution: As of `infidelity`.
        neuron: The index of the explained neuron among the logits.
        perturbation: "squares" or "noise".
        size: Of the squares or the noise, see `infidelity`.
        samples: The number of changes.
        seed: That of the changes.
        batch_size: The most images in a batch.
        head: As of `faithfulness_correlation`.

    Returns:
        I . phi and f(x) - f(x - I) of each change, `(samples,)`.

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
    drops = logit_drops(predict, image, images, count, neuron, batch_size, head)
    return told, drops


def squared_error(
    told: NDArray[np.float64], drops: NDArray[np.float64], scaled: bool = False
) -> float:
    """The mean square of the difference; scaled: the least that a multiple of the first has."""
    if scaled and told.any():
        told = told * (told * drops).mean() / (told**2).mean()
    return float(((told - drops) ** 2).mean())


def _norms(arrays: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Euclidean norm of each."""
    return np.asarray(np.linalg.norm(arrays.reshape(len(arrays), -1), axis=1))


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
