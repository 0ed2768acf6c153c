"""Localization metrics: does the relevance lie on the object?

Pixels that are `void` (those on an object's contour, or unlabelled ones) are ignored: they count
neither as object nor as background. Sums are computed in float64.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError
from rap_keras.evaluation.classes import relevance_share
from rap_keras.evaluation.reading import Mask, read_regions
from rap_keras.evaluation.segmentation import level_of_area
from rap_keras.support.options import choose, read_boolean, read_integer, read_number


def outside_inside_ratio(
    heatmap: ArrayLike, mask: ArrayLike, relevance: str = "all", void: ArrayLike | None = None
) -> float:
    """The mean relevance outside the object divided by the mean relevance inside.

    Eq. 11 of RAP (Nam et al., AAAI 2020, arXiv 1904.00605), after Lapuschkin et al., "Analyzing
    classifiers: Fisher vectors and deep neural networks", CVPR 2016. Both use the object's bounding box
    as the mask. R+ and R- are the absolute values of the positive and the negative relevance, and means
    are taken over all pixels of the region:

        "positive"   mean_outside(R+) / mean_inside(R+)
        "all"        (mean_outside(R+) + mean_inside(R-)) / (mean_inside(R+) + mean_outside(R-))

    So "positive" ignores negative relevance. "all" counts it as correct outside the object and as wrong
    inside. The two are equal for a map without negative relevance.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`. For a box, set `mask[y0:y1, x0:x1]`.
        relevance: Which relevance counts, "all" or "positive".
        void: The ignored pixels, bool `(height, width)`; default: none.

    Returns:
        The ratio, 0 or more; 0 means that all relevance is in the correct place. NaN if it is
        undefined: there is no pixel inside or outside, or no relevance in the correct place (a
        denominator of 0).

    Example:
        >>> mask = np.array([[True, False]])
        >>> rap_keras.evaluation.outside_inside_ratio([[4.0, 1.0]], mask)
        0.25
    """
    choose("relevance", relevance, ("all", "positive"))
    values, inside, outside = read_regions(heatmap, mask, void)
    if not (inside.any() and outside.any()):
        return math.nan
    positive, negative = np.maximum(values, 0), np.maximum(-values, 0)
    wrong, right = positive[outside].mean(), positive[inside].mean()
    if relevance == "all":
        wrong, right = wrong + negative[inside].mean(), right + negative[outside].mean()
    return float(wrong) / float(right) if right > 0 else math.nan


def average_precision(heatmap: ArrayLike, mask: ArrayLike, void: ArrayLike | None = None) -> float:
    """The average precision of the relevance as a score for pixels of the object.

    The same as `sklearn.metrics.average_precision_score` over the pixels: the mean of the precision
    over the steps of recall, without interpolation.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`.
        void: The ignored pixels, bool `(height, width)`; default: none.

    Returns:
        The average precision, 0 to 1; NaN if the mask is empty.

    Raises:
        InputError: The heatmap or a mask is invalid.

    Example:
        >>> mask = np.array([[True, False]])
        >>> rap_keras.evaluation.average_precision([[4.0, 1.0]], mask)
        1.0
    """
    # The import takes a second, so it happens only when needed.
    from sklearn.metrics import average_precision_score

    values, inside, outside = read_regions(heatmap, mask, void)
    if not inside.any():
        return math.nan
    labelled = inside | outside
    return float(average_precision_score(inside[labelled].astype(int), values[labelled]))


def pointing_game(
    heatmap: ArrayLike, mask: ArrayLike, void: ArrayLike | None = None, tolerance: float = 0
) -> bool:
    """Whether the most relevant pixel lies on the object.

    The pointing game of Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016,
    arXiv 1608.00507, who allow a tolerance of 15 pixels.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`.
        void: The ignored pixels, bool `(height, width)`; default: none. They are neither candidates for
            the maximum nor part of the object.
        tolerance: The largest distance in pixels, centre to centre, between the maximum and the nearest
            pixel of the object.

    Returns:
        True for a hit. If several pixels have the maximum, all of them must hit. So a constant map is a
        miss unless the object is everywhere.

    Raises:
        InputError: The heatmap, a mask or the tolerance is invalid, or the mask is empty.

    Example:
        >>> mask = np.array([[True, False]])
        >>> rap_keras.evaluation.pointing_game([[4.0, 1.0]], mask)
        True
    """
    reach = read_number("tolerance", tolerance, 0)
    values, inside, outside = read_regions(heatmap, mask, void)
    if not inside.any():
        raise InputError(
            "Expected a mask with a pixel of the object that is not void, got none: leave images "
            "without the object out of the pointing game."
        )
    labelled = inside | outside
    maximal = labelled & (values == values[labelled].max())
    if reach == 0:
        return not (maximal & outside).any()
    places = np.argwhere(inside)
    for place in np.argwhere(maximal & outside):
        if ((places - place) ** 2).sum(axis=1).min() > reach**2:
            return False
    return True


def relevance_mass_accuracy(
    heatmap: ArrayLike, mask: ArrayLike, void: ArrayLike | None = None
) -> float:
    """The share of the positive relevance that lies on the object.

    Source: Arras, Osman and Samek, "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of
    neural network explanations", Information Fusion 2022, arXiv 2003.07258, with their pooling "sum,
    pos". It is the same as the energy-based pointing game: `relevance_share` of the positive relevance.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`.
        void: The ignored pixels, bool `(height, width)`; default: none.

    Returns:
        The share, 0 to 1. NaN if there is no positive relevance.

    Raises:
        InputError: The heatmap or a mask is invalid.

    Example:
        >>> mask = np.array([[True, False]])
        >>> rap_keras.evaluation.relevance_mass_accuracy([[3.0, 1.0]], mask)
        0.75
    """
    return relevance_share(heatmap, mask, "positive", void)


def relevance_rank_accuracy(
    heatmap: ArrayLike, mask: ArrayLike, void: ArrayLike | None = None
) -> float:
    """The share of the K most relevant pixels that lie on the object, where K is the object's size.

    Source: Arras, Osman and Samek, "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of
    neural network explanations", Information Fusion 2022, arXiv 2003.07258. |P_K and S| / |S|, where S
    is the object and P_K are the K = |S| most relevant pixels. Only positive relevance counts, so
    pixels without it are equal. If equal pixels compete for the last places among the K, each counts by
    the probability that it is drawn.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`.
        void: The ignored pixels, bool `(height, width)`; default: none.

    Returns:
        The share, 0 to 1. A random map gets the object's share of the pixels. NaN if the mask is empty.

    Raises:
        InputError: The heatmap or a mask is invalid.

    Example:
        >>> mask = np.array([[True, True, False]])
        >>> rap_keras.evaluation.relevance_rank_accuracy([[3.0, 1.0, 2.0]], mask)
        0.5
    """
    values, inside, outside = read_regions(heatmap, mask, void)
    size = int(inside.sum())
    if size == 0:
        return math.nan
    return _hits(np.maximum(values, 0), inside, outside, size) / size


def top_k_intersection(
    heatmap: ArrayLike,
    mask: ArrayLike,
    k: int = 1000,
    weighted: bool = False,
    void: ArrayLike | None = None,
) -> float:
    """The share of the k most relevant pixels that lie on the object.

    Source: Theiner, Müller-Budack and Ewerth, "Interpretable semantic photo geolocation", WACV 2022,
    arXiv 2104.14995. |P_k and S| / k, where P_k are the k most relevant pixels and S is the object. If
    equal pixels compete for the last places among the k, each counts by the probability that it is
    drawn.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`.
        k: The number of pixels, limited to the number of all pixels.
        weighted: Divide by the object's share of the pixels. This is the paper's concept influence,
            which is 1 by chance for objects of any size.
        void: The ignored pixels, bool `(height, width)`; default: none.

    Returns:
        The share, 0 to 1, or 0 or more if weighted. NaN if the mask is empty.

    Example:
        >>> mask = np.array([[True, True, False]])
        >>> rap_keras.evaluation.top_k_intersection([[3.0, 1.0, 2.0]], mask, k=2)
        0.5
    """
    count = read_integer("k", k, 1)
    relative = read_boolean("weighted", weighted)
    values, inside, outside = read_regions(heatmap, mask, void)
    size, pixels = int(inside.sum()), int((inside | outside).sum())
    if size == 0:
        return math.nan
    count = min(count, pixels)
    share = _hits(values, inside, outside, count) / count
    return share * pixels / size if relative else share


def _hits(values: NDArray[np.float64], inside: Mask, outside: Mask, count: int) -> float:
    """How many of the `count` largest values lie inside; ties for the last places count by chance."""
    level = level_of_area(values[inside | outside], count - 1)
    tied = (inside | outside) & (values == level)
    above = (inside | outside) & (values > level)
    drawn = (count - above.sum()) / tied.sum()
    return float((above & inside).sum() + drawn * (tied & inside).sum())
