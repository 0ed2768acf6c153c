"""Metrics of robustness: how much does a map change with its input?"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError
from rap_keras.evaluation.batches import in_batches
from rap_keras.evaluation.reading import read_array, read_heatmap, read_input, read_seed
from rap_keras.support.options import read_integer, read_number


def neighbours(
    x: ArrayLike, radius: float, samples: int, seed: int | Sequence[int] = 0
) -> NDArray[np.float32]:
    """Random inputs near an input: each number changes by at most the radius, uniformly distributed.

    Args:
        x: The model's preprocessed input, `(height, width, channels)`, or a series or a vector.
        radius: The largest change of a number, in units of x.
        samples: The number of inputs.
        seed: The seed of the changes.

    Returns:
        The inputs, `(samples, height, width, channels)`.

    Example:
        >>> rap_keras.evaluation.neighbours(np.ones((4, 4, 3)), radius=0.1, samples=5).shape
        (5, 4, 4, 3)
    """
    return next(neighbour_batches(x, radius, samples, seed, read_integer("samples", samples, 1)))


def neighbour_batches(
    x: ArrayLike, radius: float, samples: int, seed: int | Sequence[int] = 0, batch_size: int = 32
) -> Iterator[NDArray[np.float32]]:
    """Yields `neighbours` in batches `(n, height, width, channels)` of at most `batch_size`."""
    image, size = read_input(x), read_number("radius", radius, 0)
    count, generator = read_integer("samples", samples, 1), read_seed(seed)
    rows = (image + generator.uniform(-size, size, image.shape) for _ in range(count))
    return in_batches(rows, count, image.shape, batch_size)


def max_sensitivity(heatmap: ArrayLike, others: ArrayLike) -> float:
    """The largest relative change of a map among the neighbours of its input.

    max_j |R(x_j) - R(x)| / |R(x)| with Euclidean norms: Yeh et al., "On the (in)fidelity and
    sensitivity of explanations", NeurIPS 2019, arXiv 1901.09392, relative to the size of the map so
    that methods can be compared.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        others: The maps of the neighbours (see `neighbours`), `(n, height, width)`.

    Returns:
        0 or more; smaller is better. NaN for a map that is zero everywhere.

    Example:
        >>> rap_keras.evaluation.max_sensitivity([[3.0, 4.0]], [[[3.0, 4.0]], [[3.0, 3.0]]])
        0.2
    """
    return largest_change(heatmap, distances(read_heatmap(heatmap), others))


def largest_change(heatmap: ArrayLike, changes: NDArray[np.float64]) -> float:
    """`max_sensitivity`, computed from the distances between the maps."""
    size = float(np.linalg.norm(read_heatmap(heatmap)))
    return float(changes.max()) / size if size > 0 else math.nan


def local_lipschitz(
    heatmap: ArrayLike, others: ArrayLike, x: ArrayLike, inputs: ArrayLike
) -> float:
    """The largest change of a map relative to the change of its input.

    max_j |R(x_j) - R(x)| / |x_j - x| with Euclidean norms: the local Lipschitz estimate of
    Alvarez-Melis and Jaakkola, "On the robustness of interpretability methods", 2018, arXiv 1806.08049.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        others: The maps of the neighbours, `(n, height, width)`.
        x: The model's preprocessed input, `(height, width, channels)`, or a series or a vector.
        inputs: The neighbours, see `neighbours`, `(n, height, width, channels)`.

    Returns:
        0 or more, in the unit of the map divided by that of x; smaller is better.

    Raises:
        InputError: An array is invalid, or a neighbour equals the input.

    Example:
        >>> x = np.ones((1, 2, 1))
        >>> near = x + np.array([[[0.5], [0.0]]])
        >>> rap_keras.evaluation.local_lipschitz([[3.0, 4.0]], [[[3.0, 3.0]]], x, near[None])
        2.0
    """
    changes = distances(read_heatmap(heatmap), others)
    image, near = read_input(x), read_array("the inputs", inputs, None)
    if near.shape != (len(changes), *image.shape):
        raise InputError(
            f"Expected an input of shape {image.shape} for each of {len(changes)} maps, got "
            f"{near.shape}."
        )
    return steepest_change(changes, _norms(near - image))


def steepest_change(changes: NDArray[np.float64], steps: NDArray[np.float64]) -> float:
    """`local_lipschitz`, computed from the distances between the maps and between the inputs."""
    if not steps.all():
        raise InputError("Expected neighbours other than the input itself: raise their radius.")
    return float((changes / steps).max())


def distances(values: NDArray[np.float64], others: ArrayLike) -> NDArray[np.float64]:
    """The distance of each of other maps, or other inputs, from one, `(n,)`."""
    arrays = read_array("the other maps", others, None)
    if arrays.shape[1:] != values.shape:
        raise InputError(f"Expected maps of shape {values.shape}, got {arrays.shape[1:]}.")
    return _norms(arrays - values)


def _norms(arrays: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Euclidean norm of each."""
    return np.asarray(np.linalg.norm(arrays.reshape(len(arrays), -1), axis=1))
