"""Metrics of a relevance map alone. Arguments are not changed."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import entropy

from rap_keras.evaluation.reading import INPUTS, read_array, read_heatmap
from rap_keras.support.options import read_number


def heatmap(relevance: ArrayLike) -> NDArray[np.float64]:
    """The sum of a relevance map over its channels.

    Args:
        relevance: The relevance of one image, `(height, width, channels)`, of a series,
            `(steps, channels)`, or of a vector, `(features,)`, which has no channels.

    Returns:
        The heatmap, `(height, width)`, `(steps,)` or `(features,)`, float64.

    Example:
        >>> rap_keras.evaluation.heatmap(np.ones((2, 2, 3)))
        array([[3., 3.],
               [3., 3.]])
    """
    values = read_array("a relevance map", relevance, INPUTS)
    return values.copy() if values.ndim == 1 else np.asarray(values.sum(axis=-1))


def conservation_error(relevance: ArrayLike, logit: float, contrasted: bool = False) -> float:
    """The relative error of conservation: |sum R - logit| / |logit|.

    Args:
        relevance: The relevance of one image, of any shape.
        logit: The explained logit.
        contrasted: Whether there was a contrast. The relevance should then sum to 0, and the error is
            |sum R| / |logit|.

    Returns:
        The relative error, 0 or more. For a logit of 0: 0 if the relevance sums to exactly 0, otherwise
        infinity.

    Raises:
        InputError: The relevance or the logit is not finite, or not numeric.

    Example:
        >>> rap_keras.evaluation.conservation_error([[1.0, 2.0]], logit=4.0)
        0.25
    """
    total = float(read_array("a relevance map", relevance, None).sum())
    size = abs(float(read_array("the logit", logit, 0)))
    error = abs(total if contrasted else total - logit)
    if size == 0:
        return 0.0 if error == 0 else math.inf
    return error / size


def completeness_error(relevance: ArrayLike, target: float) -> float:
    """The absolute error of completeness: |sum R - target|.

    Args:
        relevance: The relevance of one image, of any shape.
        target: What the relevance should sum to: the explained logit, or its difference from the logit
            of a baseline or of other classes.

    Returns:
        The error, 0 or more, in units of the logit.

    Raises:
        InputError: The relevance or the target is not finite, or not numeric.

    Example:
        >>> rap_keras.evaluation.completeness_error([[1.0, 2.0]], target=4.0)
        1.0
    """
    total = float(read_array("a relevance map", relevance, None).sum())
    return abs(total - float(read_array("the target", target, 0)))


def complexity(heatmap: ArrayLike) -> float:
    """The entropy of the shares of the absolute relevance of the pixels.

    -sum_i p_i log p_i with p_i = |R_i| / sum_j |R_j|. Source: Bhatt, Weller and Moura, "Evaluating and
    aggregating feature-based model explanations", IJCAI 2020, arXiv 2005.00631.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.

    Returns:
        The entropy in nats: 0 if a single pixel has all relevance, up to log n if n pixels have equal
        shares. NaN for a map that is zero everywhere.

    Example:
        >>> rap_keras.evaluation.complexity([[0.0, 3.0]])
        0.0
    """
    return float(entropy(_relative(read_heatmap(heatmap)), axis=None))


def effective_pixels(heatmap: ArrayLike, threshold: float = 0.01) -> int:
    """The number of pixels with more than a share of the largest absolute relevance.

    A count of the important features, after the effective complexity of Nguyen and Martínez, "On
    quantitative aspects of model interpretability", 2020, arXiv 2007.07584. They remove as many of the
    least relevant features as the prediction allows. This function uses only the map.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        threshold: The share of the largest absolute relevance, 0 or more.

    Returns:
        The number of pixels; 0 for a map that is zero everywhere.

    Example:
        >>> rap_keras.evaluation.effective_pixels([[4.0, 3.0], [0.02, 0.0]])
        2
    """
    share = read_number("threshold", threshold, 0)
    return int((_relative(read_heatmap(heatmap)) > share).sum())


def _relative(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Absolute values relative to the largest one, unless that is 0."""
    sizes = np.abs(values)
    return np.asarray(sizes / (sizes.max() or 1))


def sparsity(heatmap: ArrayLike) -> float:
    """The Gini index of the absolute relevance of the pixels.

    With v the n absolute values in ascending order, sum_k (2k - n - 1) v_k / (n sum_k v_k), in the form
    of Chalasani et al., "Concise explanations of neural networks using adversarial training", ICML
    2020, arXiv 1810.06583.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.

    Returns:
        0 if all pixels have the same size, up to 1 - 1/n if one of n pixels has all relevance. 0 for a
        map that is zero everywhere.

    Example:
        >>> rap_keras.evaluation.sparsity([[0.0, 0.0], [0.0, 4.0]])
        0.75
    """
    sizes = np.sort(np.abs(read_heatmap(heatmap)), axis=None)
    if sizes[-1] == 0:
        return 0.0
    # Scaling by a power of two rounds nothing and prevents overflow and underflow of the sums.
    sizes = np.ldexp(sizes, -np.frexp(sizes[-1])[1])
    count = sizes.size
    weights = 2.0 * np.arange(1, count + 1) - count - 1
    # For an even map, rounding may give slightly less than 0.
    return max(0.0, float((weights * sizes).sum() / (count * sizes.sum())))
