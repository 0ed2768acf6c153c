"""Measures of a relevance map alone, and reading maps and masks. Nothing of the caller's is changed."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import entropy

from rap_keras.evaluation.reading import read_array, read_heatmap
from rap_keras.support.options import read_number


def heatmap(relevance: ArrayLike) -> NDArray[np.float64]:
    """The heatmap of a relevance map: the sum over its channels.

    Args:
        relevance: The relevance of one image, `(height, width, channels)`.

    Returns:
        The heatmap, `(height, width)`, float64.
    """
    return np.asarray(read_array("a relevance map", relevance, 3).sum(axis=-1))


def conservation_error(relevance: ArrayLike, logit: float, contrasted: bool = False) -> float:
    """How far the relevance is from adding up to the logit: |sum R - logit| / |logit|.

    Args:
        relevance: The relevance of one image, of any shape.
        logit: The logit that was explained.
        contrasted: Whether it was explained against other classes, so that the relevance is to add up
            to 0: |sum R| / |logit|.

    Returns:
        The relative error, 0 or more. At a logit of 0: 0 where the relevance adds up to exactly 0,
        else infinity.

    Raises:
        InputError: The relevance is no array of finite numbers, or the logit no finite number.
    """
    total = float(read_array("a relevance map", relevance, None).sum())
    size = abs(float(read_array("the logit", logit, 0)))
    error = abs(total if contrasted else total - logit)
    if size == 0:
        return 0.0 if error == 0 else math.inf
    return error / size


def completeness_error(relevance: ArrayLike, target: float) -> float:
    """How far the relevance is from adding up to what it is to add up to: |sum R - target|.

    Args:
        relevance: The relevance of one image, of any shape.
        target: What it is to add up to: the logit that was explained; where it was explained against
            others or against a baseline, the difference.

    Returns:
        The error, 0 or more, in the unit of the logit.

    Raises:
        InputError: The relevance is no array of finite numbers, or the target no finite number.
    """
    total = float(read_array("a relevance map", relevance, None).sum())
    return abs(total - float(read_array("the target", target, 0)))


def complexity(heatmap: ArrayLike) -> float:
    """The entropy of the shares that the pixels have of the absolute relevance.

    -sum_i p_i log p_i with p_i = |R_i| / sum_j |R_j|, of Bhatt, Weller and Moura, "Evaluating and
    aggregating feature-based model explanations", IJCAI 2020, arXiv 2005.00631.

    Returns:
        0 where one pixel has it all, up to log n where it is spread evenly over n pixels; in nats.
        NaN for the map that is zero everywhere.
    """
    return float(entropy(_relative(read_heatmap(heatmap)), axis=None))


def effective_pixels(heatmap: ArrayLike, threshold: float = 0.01) -> int:
    """How many pixels have more than a share of the largest absolute relevance.

    A count of the features that matter, after the effective complexity of Nguyen and Martínez, "On
    quantitative aspects of model interpretability", 2020, arXiv 2007.07584. They leave out as many of
    the least relevant features as the prediction allows; this asks the map alone.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        threshold: The share of the largest absolute relevance, from 0 on.

    Returns:
        The number of pixels; 0 for the map that is zero everywhere.
    """
    share = read_number("threshold", threshold, 0)
    return int((_relative(read_heatmap(heatmap)) > share).sum())


def _relative(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sizes relative to the largest, if it is not 0."""
    sizes = np.abs(values)
    return np.asarray(sizes / (sizes.max() or 1))


def sparsity(heatmap: ArrayLike) -> float:
    """The Gini index of the absolute relevance of the pixels.

    With v the n absolute values in ascending order, sum_k (2k - n - 1) v_k / (n sum_k v_k), which is
    the form of Chalasani et al., "Concise explanations of neural networks using adversarial
    training", ICML 2020, arXiv 1810.06583.

    Returns:
        0 where it is spread evenly, up to 1 - 1/n where one of n pixels has it all; 0 for the map
        that is zero everywhere.
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
