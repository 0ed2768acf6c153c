"""Does the relevance lie on the object?

Pixels that are `void` (those on an object's contour, or that nobody labelled) count nowhere, neither as
object nor as background. Sums are in float64.
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
    heatmap: ArrayLike,
    mask: ArrayLike,
    relevance: str = "all",
    void: ArrayLike | None = None,
) -> float:
    """The mean relevance of the pixels outside the object relative to that of the pixels inside.

    Eq. 11 of RAP (Nam et al., AAAI 2020, arXiv 1904.00605), after Lapuschkin et al., "Analyzing
    classifiers: Fisher vectors and deep neural networks", CVPR 2016. Both take the object's bounding
    box for the mask. With R+ and R- the sizes of the positive and of the negative relevance, and
    means over all pixels of the region whatever their sign:

        "positive"   mean_outside(R+) / mean_inside(R+)
        "all"        (mean_outside(R+) + mean_inside(R-)) / (mean_inside(R+) + mean_outside(R-))

    Negative relevance is thus left out, or is in the right place outside the object and in the wrong
    place inside. The two agree for a map without negative relevance.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`; of a box, the pixels
            `mask[y0:y1, x0:x1]`.
        relevance: Which relevance counts, "all" or "positive".
        void: The pixels that count nowhere, bool `(height, width)`; default: none.

    Returns:
        The ratio, 0 (all is in its place) or more, without a unit. NaN where it is undefined: no
        pixel inside, none outside, or no relevance in its place (a denominator of 0).
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
    """Average precision of the relevance as a score of the pixels on the object.

    This is `sklearn.metrics.average_precision_score` over the pixels: the mean of the precision over
    the steps of recall, without interpolation.

    Returns:
        The average precision, 0 to 1; NaN where the mask is empty.

    Raises:
        InputError: The heatmap or the masks are not as described.
    """
    # Takes a second to import, which not everybody needs.
    from sklearn.metrics import average_precision_score

    values, inside, outside = read_regions(heatmap, mask, void)
    if not inside.any():
        return math.nan
    labelled = inside | outside
    return float(average_precision_score(inside[labelled].astype(int), values[labelled]))


def pointing_game(
    heatmap: ArrayLike,
    mask: ArrayLike,
    void: ArrayLike | None = None,
    tolerance: float = 0,
) -> bool:
    """Whether the most relevant pixel lies on the object.

    The pointing game of Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016,
    arXiv 1608.00507, who allow a tolerance of 15 pixels.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`.
        void: The pixels that count nowhere, bool `(height, width)`; default: none. They can neither
            be the maximum nor the object.
        tolerance: The distance in pixels, centre to centre, that the maximum may have from the
            nearest pixel of the object.

    Returns:
        True for a hit. Where several pixels share the maximum, all of them must hit: a map that is
        the same everywhere points nowhere, and misses unless the object is everywhere.

    Raises:
        InputError: The heatmap, the masks or the tolerance are not as described, or the mask is
            empty.
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
    rows, columns = np.nonzero(inside)
    for row, column in np.argwhere(maximal & outside):
        if ((rows - row) ** 2 + (columns - column) ** 2).min() > reach**2:
            return False
    return True


def relevance_mass_accuracy(
    heatmap: ArrayLike, mask: ArrayLike, void: ArrayLike | None = None
) -> float:
    """The share of the positive relevance that lies on the object.

    Of Arras, Osman and Samek, "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural
    network explanations", Information Fusion 2022, arXiv 2003.07258, with their pooling "sum, pos". It
    is the energy-based pointing game by another name: `relevance_share` of the positive relevance.

    Returns:
        The share, 0 to 1. NaN where there is no positive relevance.

    Raises:
        InputError: The heatmap or the masks are not as described.
    """
    return relevance_share(heatmap, mask, "positive", void)


def relevance_rank_accuracy(
    heatmap: ArrayLike, mask: ArrayLike, void: ArrayLike | None = None
) -> float:
    """The share of the most relevant pixels, as many as the object has, that lie on it.

    Of Arras, Osman and Samek, "CLEVR-XAI: A benchmark dataset for the ground truth evaluation of neural
    network explanations", Information Fusion 2022, arXiv 2003.07258: |P_K and S| / |S|, where P_K are
    the K = |S| most relevant pixels and S is the object, and only positive relevance counts, so that
    pixels without it are all equal. Where equal ones lie on the border of the K, each of them counts by
    the chance that it is drawn.

    Returns:
        The share, 0 to 1; by chance the object's share of the pixels. NaN where the mask is empty.

    Raises:
        InputError: The heatmap or the masks are not as described.
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

    Of Theiner, Müller-Budack and Ewerth, "Interpretable semantic photo geolocation", WACV 2022, arXiv
    2104.14995: |P_k and S| / k, where P_k are the k most relevant pixels and S is the object. Where
    equally relevant pixels lie on the border of the k, each of them counts by the chance that it is
    drawn.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`.
        k: The number of pixels; at most all are taken.
        weighted: Divide by the object's share of the pixels: the paper's concept influence, which is 1
            by chance whatever the object's size.
        void: The pixels that count nowhere, bool `(height, width)`; default: none.

    Returns:
        The share, 0 to 1, or, weighted, 0 or more. NaN where the mask is empty.
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
    """How many of the `count` largest values lie inside; of those equal to the least, as by chance."""
    level = level_of_area(values[inside | outside], count - 1)
    tied = (inside | outside) & (values == level)
    above = (inside | outside) & (values > level)
    drawn = (count - above.sum()) / tied.sum()
    return float((above & inside).sum() + drawn * (tied & inside).sum())
