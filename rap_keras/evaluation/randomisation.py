"""Metrics of randomisation: does a map change when the model's weights are randomised?

Model parameter randomisation (MPRT) by Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018,
arXiv 1810.03292, and its variants (sMPRT, eMPRT) by Hedström et al., "A fresh look at sanity checks for
saliency maps", 2024, arXiv 2401.06465. `rap_keras.models.randomised` randomises a model.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import entropy

from rap_keras.errors import InputError
from rap_keras.evaluation.batches import in_batches
from rap_keras.evaluation.classes import map_similarity
from rap_keras.evaluation.reading import pixels_of, read_array, read_heatmap, read_input, read_seed
from rap_keras.support.options import read_integer, read_number


def randomisation_similarity(heatmap: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """The similarity between the map of a model and the maps of its randomised copies: MPRT.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        others: The maps of copies with more and more randomised layers, `(stages, height, width)`.

    Returns:
        Spearman's rank correlation of the absolute relevance, `(stages,)`, -1 to 1; closer to 0 is
        better. NaN if a map is constant.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> maps = rng.normal(size=(3, 8, 8))
        >>> rap_keras.evaluation.randomisation_similarity(maps[0], maps[1:]).shape
        (2,)
    """
    maps = read_array("the other maps", others, None)
    shape = read_heatmap(heatmap).shape
    if maps.ndim != len(shape) + 1:
        raise InputError(f"Expected maps of shape {shape}, got {maps.shape[1:]}.")
    return np.array([map_similarity(heatmap, other, absolute=True) for other in maps])


def smoothed_map(
    explain: Callable[[NDArray[np.float32]], ArrayLike],
    x: ArrayLike,
    noise: float,
    samples: int = 50,
    seed: int | Sequence[int] = 0,
    batch_size: int = 32,
) -> NDArray[np.float64]:
    """The mean of the maps of an input with noise, which sMPRT compares instead of single maps.

    The same seed gives the same noise. Maps of a model and of its randomised copies then differ only
    because of the model.

    Args:
        explain: From inputs, float32 `(n, height, width, channels)`, to their maps `(n, height,
            width)`. It is called batch by batch.
        x: The model's preprocessed input, `(height, width, channels)`, or a series or a vector.
        noise: The standard deviation of the Gaussian noise, in units of x.
        samples: The number of noisy inputs.
        seed: The seed of the noise.
        batch_size: The largest number of inputs in a batch.

    Returns:
        The map, `(height, width)`.

    Example:
        >>> explain = lambda inputs: inputs.sum(-1)
        >>> rap_keras.evaluation.smoothed_map(explain, np.ones((4, 4, 3)), noise=0.1).shape
        (4, 4)
    """
    image, deviation = read_input(x), read_number("noise", noise, 0)
    count, generator = read_integer("samples", samples, 1), read_seed(seed)
    rows = (image + generator.normal(scale=deviation, size=image.shape) for _ in range(count))
    total = np.zeros(pixels_of(image.shape))
    for inputs in in_batches(rows, count, image.shape, batch_size):
        maps = read_array("the maps of explain", explain(inputs), None)
        expected = (len(inputs), *total.shape)
        if maps.shape != expected:
            raise InputError(
                f"Expected explain to return maps of shape {expected}, got {maps.shape}."
            )
        for one in maps:
            total += one
    return total / count


def map_entropy(heatmap: ArrayLike, bins: int = 100) -> float:
    """The entropy of the histogram of a map, with equal bins from its smallest to its largest value.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        bins: The number of bins.

    Returns:
        0 (all pixels in one bin) to log(bins), in nats. It does not depend on the map's scale.

    Example:
        >>> round(rap_keras.evaluation.map_entropy([[0.0, 1.0]], bins=2), 4)
        0.6931
    """
    values, number = read_heatmap(heatmap), read_integer("bins", bins, 1)
    # Scaling by a power of two rounds nothing and prevents overflow.
    values = np.ldexp(values, -np.frexp(np.abs(values).max())[1])
    try:
        counts, _ = np.histogram(values, number)
    except ValueError:  # the spread is a rounding error of the values, too small for the bins
        counts, _ = np.histogram(values - values.min(), number)
    return float(entropy(counts))


def entropy_rise(heatmap: ArrayLike, other: ArrayLike, bins: int = 100) -> float:
    """The relative increase in complexity of the map when the model is randomised: eMPRT.

    (H(other) - H(map)) / H(map), with the entropies of their histograms.

    Args:
        heatmap: The relevance of the pixels, by the model, `(height, width)`.
        other: The map by a copy of the model with random weights in all layers.
        bins: The number of bins of the histograms.

    Returns:
        -1 or more; larger is better. NaN if the map has an entropy of 0.

    Example:
        >>> heatmap, other = [[0.0, 0.0, 0.0, 1.0]], [[0.0, 1.0, 2.0, 3.0]]
        >>> round(rap_keras.evaluation.entropy_rise(heatmap, other), 2)
        1.47
    """
    before, after = map_entropy(heatmap, bins), map_entropy(other, bins)
    return (after - before) / before if before > 0 else math.nan
