"""Does a map change when the model forgets what it has learned? Comparisons of maps.

Model parameter randomisation by Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, arXiv
1810.03292 (MPRT), and what Hedström et al., "A fresh look at sanity checks for saliency maps", 2024,
arXiv 2401.06465, make of it (sMPRT, eMPRT). `rap_keras.models.randomised` randomises a model.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import entropy

from rap_keras.errors import InputError
from rap_keras.evaluation.batches import in_batches
from rap_keras.evaluation.classes import map_similarity
from rap_keras.evaluation.reading import read_array, read_heatmap, read_seed
from rap_keras.support.options import read_integer, read_number


def randomisation_similarity(heatmap: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """How much the map of a model is like the maps of its randomised copies: MPRT.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        others: The maps of copies that are randomised more and more, `(stages, height, width)`.

    Returns:
        Spearman's rank correlation of the sizes of relevance, `(stages,)`, -1 to 1: the nearer to 0 the
        better. NaN where a map is the same everywhere.
    """
    maps = read_array("the other maps", others, 3)
    return np.array([map_similarity(heatmap, other, absolute=True) for other in maps])


def smoothed_map(
    explain: Callable[[NDArray[np.float32]], ArrayLike],
    x: ArrayLike,
    noise: float,
    samples: int = 50,
    seed: int | Sequence[int] = 0,
    batch_size: int = 32,
) -> NDArray[np.float64]:
    """The mean of the maps of an input with noise: what sMPRT compares instead of single maps.

    The same seed gives the same noise, so that maps of a model and of its randomised copies differ by
    the model alone.

    Args:
        explain: From inputs float32 `(n, height, width, channels)` to their maps `(n, height, width)`;
            it is called batch by batch.
        x: The model's input as preprocessed, `(height, width, channels)`.
        noise: The standard deviation of the Gaussian noise, in the unit of x.
        samples: How many inputs.
        seed: That of the noise.
        batch_size: The most inputs in a batch.

    Returns:
        The map, `(height, width)`.
    """
    image, deviation = read_array("the input x", x, 3), read_number("noise", noise, 0)
    count, generator = read_integer("samples", samples, 1), read_seed(seed)
    rows = (image + generator.normal(scale=deviation, size=image.shape) for _ in range(count))
    total = np.zeros(image.shape[:2])
    for inputs in in_batches(rows, count, image.shape, batch_size):
        maps = read_array("the maps of explain", explain(inputs), 3)
        if maps.shape != inputs.shape[:3]:
            raise InputError(
                f"Expected explain to return maps of shape {inputs.shape[:3]}, got {maps.shape}."
            )
        for one in maps:
            total += one
    return total / count


def map_entropy(heatmap: ArrayLike, bins: int = 100) -> float:
    """The entropy of the histogram of a map, over bins of one width from its least to its largest value.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        bins: The number of bins.

    Returns:
        0 (all pixels are in one bin) to log(bins), in nats; it does not depend on the map's scale.
    """
    counts, _ = np.histogram(read_heatmap(heatmap), read_integer("bins", bins, 1))
    return float(entropy(counts))


def entropy_rise(heatmap: ArrayLike, other: ArrayLike, bins: int = 100) -> float:
    """How much more complex the map of a randomised model is: eMPRT.

    (H(other) - H(map)) / H(map), with the entropies of their histograms.

    Args:
        heatmap: The relevance of the pixels by the model, `(height, width)`.
        other: That by its copy with random parameters in all layers.
        bins: The number of bins of the histograms.

    Returns:
        -1 or more, the greater the better. NaN where the map has an entropy of 0.
    """
    before, after = map_entropy(heatmap, bins), map_entropy(other, bins)
    return (after - before) / before if before > 0 else math.nan
