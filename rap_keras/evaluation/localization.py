"""Does the relevance lie on the object?

Pixels that are `void` (those on an object's contour, or that nobody labelled) count nowhere, neither as
object nor as background. Sums are in float64.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError
from rap_keras.evaluation.classes import relevance_share
from rap_keras.evaluation.reading import read_heatmap, read_mask
from rap_keras.support.options import choose, read_boolean, read_integer, read_number
from rap_keras.support.text import shown

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SegmentationCounts:
    """Pixels of one image, by which a thresholded heatmap is compared with the object's mask.

    Attributes:
        intersection: Pixels that are of the class in both; background, foreground.
        union: Pixels that are of the class in either; background, foreground.
        correct: Pixels of the same class in both.
        labelled: Pixels that are not void.
    """

    intersection: tuple[int, int]
    union: tuple[int, int]
    correct: int
    labelled: int


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

    Raises:
        InputError: The heatmap, the masks or the option are not as described.
    """
    choose("relevance", relevance, ("all", "positive"))
    values, inside, outside = _read(heatmap, mask, void)
    if not (inside.any() and outside.any()):
        return math.nan
    positive, negative = np.maximum(values, 0), np.maximum(-values, 0)
    wrong, right = positive[outside].mean(), positive[inside].mean()
    if relevance == "all":
        wrong, right = wrong + negative[inside].mean(), right + negative[outside].mean()
    return float(wrong) / float(right) if right > 0 else math.nan


def foreground(heatmap: ArrayLike, threshold: str | float = "mean") -> Mask:
    """The pixels whose relevance is above a threshold: what the heatmap takes for the object.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        threshold: "mean": the mean over all pixels of the map, for maps without negative
            relevance. "zero": 0, for signed maps. A number in (0, 100): this percentile of all
            pixels of the map, interpolated linearly.

    Returns:
        Where the relevance is greater than the threshold, bool `(height, width)`; nowhere, in a map
        that is the same everywhere, for "mean" and percentiles.

    Raises:
        InputError: The heatmap or the threshold are not as described.
    """
    values = read_heatmap(heatmap)
    return values > _level(values, threshold)


def segmentation_counts(
    heatmap: ArrayLike,
    mask: ArrayLike,
    threshold: str | float = "mean",
    void: ArrayLike | None = None,
) -> SegmentationCounts:
    """Compares the thresholded heatmap with the mask, as a segmentation in two classes.

    The counts are those of the script that is commonly used on ImageNet-Segmentation (Chefer et al.,
    "Transformer interpretability beyond attention visualization", CVPR 2021). As there, "mean" is the
    mean over all pixels of the heatmap, the void ones included, and so is a percentile.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`.
        threshold: "mean", "zero" or a percentile, see `foreground`; or "area": the pixels that count
            and are above the (k+1)-th largest of these, where k of them are the object's. So each map
            gives as many pixels as the object has, whatever its scale and shift; ties at the cut are
            left out.
        void: The pixels that are not counted, bool `(height, width)`; default: none.

    Returns:
        The counts, in pixels.

    Raises:
        InputError: The heatmap, the masks or the threshold are not as described.
    """
    values, inside, outside = _read(heatmap, mask, void)
    labelled = inside | outside
    if threshold == "area":
        level = _level_of_area(values[labelled], int(inside.sum()))
    else:
        level = _level(values, threshold)
    found = values > level
    intersection = (int((outside & ~found).sum()), int((inside & found).sum()))
    correct, count = sum(intersection), int(labelled.sum())
    # What is not background in both is foreground in one of them, and the reverse.
    union = (count - intersection[1], count - intersection[0])
    return SegmentationCounts(intersection, union, correct, count)


def pixel_accuracy(counts: Iterable[SegmentationCounts], pooled: bool = True) -> float:
    """The share of the labelled pixels whose class is right.

    Args:
        counts: The counts of each image.
        pooled: Add up the counts of all images first, as the script of `segmentation_counts`
            does; else: the mean of the images' values, without the images that have none.

    Returns:
        The accuracy, 0 to 1; NaN without any labelled pixel.

    Raises:
        InputError: There are no counts.
    """
    _, _, correct, labelled = _sums(counts, pooled)
    return _mean(_share(correct, labelled))


def intersection_over_union(counts: Iterable[SegmentationCounts], pooled: bool = True) -> Array:
    """Intersection over union of each class.

    Args:
        counts: The counts of each image.
        pooled: Add up the counts of all images first, as the script of `segmentation_counts`
            does; else: the mean of the images' values. An image in which a class is absent from
            both the mask and the heatmap (an empty union) has no value for it and is left out of
            this class' mean.

    Returns:
        The values of background and foreground, `(2,)`, 0 to 1; NaN for a class that is nowhere
        (the script has 0).

    Raises:
        InputError: There are no counts.
    """
    intersection, union, _, _ = _sums(counts, pooled)
    shares = _share(intersection, union)
    return np.array([_mean(shares[:, 0]), _mean(shares[:, 1])])


def mean_iou(counts: Iterable[SegmentationCounts], pooled: bool = True) -> float:
    """Intersection over union, as the mean of the two classes.

    Args:
        counts: The counts of each image.
        pooled: Add up the counts of all images first, as the script of `segmentation_counts`
            does; else: the mean of the images' values, each the mean of its classes.

    Returns:
        The mean, 0 to 1, over the classes with a value, see `intersection_over_union`; NaN without
        any labelled pixel.

    Raises:
        InputError: There are no counts.
    """
    intersection, union, _, _ = _sums(counts, pooled)
    return _mean(np.array([_mean(classes) for classes in _share(intersection, union)]))


def average_precision(heatmap: ArrayLike, mask: ArrayLike, void: ArrayLike | None = None) -> float:
    """Average precision of the relevance as a score of the pixels on the object.

    This is `sklearn.metrics.average_precision_score` over the pixels: the mean of the precision over
    the steps of recall, without interpolation.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`.
        void: The pixels that count nowhere, bool `(height, width)`; default: none.

    Returns:
        The average precision, 0 to 1; NaN where the mask is empty.

    Raises:
        InputError: The heatmap or the masks are not as described.
    """
    # Takes a second to import, which not everybody needs.
    from sklearn.metrics import average_precision_score

    values, inside, outside = _read(heatmap, mask, void)
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
    values, inside, outside = _read(heatmap, mask, void)
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

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`.
        void: The pixels that count nowhere, bool `(height, width)`; default: none.

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

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`.
        void: The pixels that count nowhere, bool `(height, width)`; default: none.

    Returns:
        The share, 0 to 1; by chance the object's share of the pixels. NaN where the mask is empty.

    Raises:
        InputError: The heatmap or the masks are not as described.
    """
    values, inside, outside = _read(heatmap, mask, void)
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

    Raises:
        InputError: The heatmap, the masks or the options are not as described.
    """
    count = read_integer("k", k, 1)
    relative = read_boolean("weighted", weighted)
    values, inside, outside = _read(heatmap, mask, void)
    size, pixels = int(inside.sum()), int((inside | outside).sum())
    if size == 0:
        return math.nan
    count = min(count, pixels)
    share = _hits(values, inside, outside, count) / count
    return share * pixels / size if relative else share


def _hits(values: Array, inside: Mask, outside: Mask, count: int) -> float:
    """How many of the `count` largest values lie inside; of those equal to the least, as by chance."""
    level = _level_of_area(values[inside | outside], count - 1)
    tied = (inside | outside) & (values == level)
    above = (inside | outside) & (values > level)
    drawn = (count - above.sum()) / tied.sum()
    return float((above & inside).sum() + drawn * (tied & inside).sum())


def _read(heatmap: ArrayLike, mask: ArrayLike, void: ArrayLike | None) -> tuple[Array, Mask, Mask]:
    """The heatmap, and where there is object and background."""
    values = read_heatmap(heatmap)
    inside = read_mask("mask", mask, values.shape)
    if void is None:
        return values, inside, ~inside
    labelled = ~read_mask("void", void, values.shape)
    return values, inside & labelled, ~inside & labelled


def _level(values: Array, threshold: str | float) -> float:
    match threshold:
        case "mean":
            # Rounded, the mean of equal numbers may be less than each of them.
            return min(max(float(values.mean()), float(values.min())), float(values.max()))
        case "zero":
            return 0.0
        case int() | float() | np.integer() | np.floating() if 0 < threshold < 100 and not (
            isinstance(threshold, bool)
        ):
            return float(np.percentile(values, float(threshold)))
    raise InputError(
        "Expected the threshold to be 'mean', 'zero' or a percentile between 0 and 100, got "
        f"{shown(threshold)}."
    )


def _level_of_area(values: Array, count: int) -> float:
    """The largest of the values that the `count` largest leave; below all if they leave none."""
    left = len(values) - count
    return float(np.partition(values, left - 1)[left - 1]) if left > 0 else -math.inf


def _sums(counts: Iterable[SegmentationCounts], pooled: bool) -> tuple[NDArray[np.int64], ...]:
    """Intersection and union `(n, 2)`, correct and labelled `(n,)`; n is 1 if pooled."""
    images = list(counts)
    if not images:
        raise InputError("Expected the counts of at least one image, got none.")
    table = np.array([[*c.intersection, *c.union, c.correct, c.labelled] for c in images], np.int64)
    if pooled:
        table = table.sum(axis=0, keepdims=True)
    return table[:, :2], table[:, 2:4], table[:, 4], table[:, 5]


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Array:
    return np.divide(part, whole, out=np.full(whole.shape, math.nan), where=whole > 0)


def _mean(values: Array) -> float:
    """The mean of the values that are not NaN; NaN without any."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan
