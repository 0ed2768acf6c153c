"""Metrics of segmentation: pixel accuracy and intersection over union of a thresholded heatmap."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError
from rap_keras.evaluation.reading import Mask, read_heatmap, read_regions
from rap_keras.support.text import shown

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SegmentationCounts:
    """Pixel counts of one image that compare a thresholded heatmap with the object's mask.

    Attributes:
        intersection: Pixels that belong to the class in both; background, foreground.
        union: Pixels that belong to the class in at least one; background, foreground.
        correct: Pixels with the same class in both.
        labelled: Pixels that are not void.

    Example:
        >>> mask = np.array([[True, True, False]])
        >>> rap_keras.evaluation.segmentation_counts([[3.0, 1.0, 1.0]], mask).correct
        2
    """

    intersection: tuple[int, int]
    union: tuple[int, int]
    correct: int
    labelled: int


def foreground(heatmap: ArrayLike, threshold: str | float = "mean") -> Mask:
    """The pixels whose relevance is above a threshold: the object according to the heatmap.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        threshold: "mean": the mean over all pixels, for maps without negative relevance. "zero": 0, for
            signed maps. A number in (0, 100): this percentile of all pixels, interpolated linearly.

    Returns:
        Where the relevance is greater than the threshold, bool `(height, width)`. For "mean" and
        percentiles, a constant map has no foreground.

    Example:
        >>> rap_keras.evaluation.foreground([[3.0, 1.0, 1.0]])
        array([[ True, False, False]])
    """
    values = read_heatmap(heatmap)
    return values > _level(values, threshold)


def segmentation_counts(
    heatmap: ArrayLike,
    mask: ArrayLike,
    threshold: str | float = "mean",
    void: ArrayLike | None = None,
) -> SegmentationCounts:
    """Compares the thresholded heatmap with the mask, as a segmentation into two classes.

    The counts are those of the script that is commonly used for ImageNet-Segmentation (Chefer et al.,
    "Transformer interpretability beyond attention visualization", CVPR 2021). As in that script, "mean"
    and percentiles are taken over all pixels of the heatmap, including void ones.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`.
        threshold: "mean", "zero" or a percentile, see `foreground`. Or "area": as many pixels as the
            object has, k: those above the (k+1)-th largest relevance of the labelled pixels. This does
            not depend on scale and shift of the map. Ties at the cut are left out.
        void: The ignored pixels, bool `(height, width)`; default: none.

    Returns:
        The counts of this image.

    Example:
        >>> mask = np.array([[True, True, False]])
        >>> rap_keras.evaluation.segmentation_counts([[3.0, 1.0, 1.0]], mask)
        SegmentationCounts(intersection=(1, 1), union=(2, 2), correct=2, labelled=3)
    """
    values, inside, outside = read_regions(heatmap, mask, void)
    labelled = inside | outside
    if threshold == "area":
        level = level_of_area(values[labelled], int(inside.sum()))
    else:
        level = _level(values, threshold)
    found = values > level
    intersection = (int((outside & ~found).sum()), int((inside & found).sum()))
    correct, count = sum(intersection), int(labelled.sum())
    # Pixels that are not background in both are foreground in at least one, and vice versa.
    union = (count - intersection[1], count - intersection[0])
    return SegmentationCounts(intersection, union, correct, count)


def pixel_accuracy(counts: Iterable[SegmentationCounts], pooled: bool = True) -> float:
    """The share of the labelled pixels whose class is correct.

    Args:
        counts: The counts of each image.
        pooled: True: add up the counts of all images first, like the script of `segmentation_counts`.
            False: the mean of the images' values; images without a value are left out.

    Returns:
        The accuracy, 0 to 1; NaN if there are no labelled pixels.

    Example:
        >>> mask = np.array([[True, True, False]])
        >>> counts = [rap_keras.evaluation.segmentation_counts([[3.0, 1.0, 1.0]], mask)]
        >>> round(rap_keras.evaluation.pixel_accuracy(counts), 3)
        0.667
    """
    _, _, correct, labelled = _sums(counts, pooled)
    return _mean(_share(correct, labelled))


def intersection_over_union(counts: Iterable[SegmentationCounts], pooled: bool = True) -> Array:
    """Intersection over union of each class.

    Args:
        counts: The counts of each image.
        pooled: As in `pixel_accuracy`. If False, an image in which a class occurs neither in the mask
            nor in the heatmap (an empty union) is left out of the mean of this class.

    Returns:
        The values of background and foreground, `(2,)`, 0 to 1; NaN for a class that does not occur (0
        in the script).

    Example:
        >>> mask = np.array([[True, True, False]])
        >>> counts = [rap_keras.evaluation.segmentation_counts([[3.0, 1.0, 1.0]], mask)]
        >>> rap_keras.evaluation.intersection_over_union(counts)
        array([0.5, 0.5])
    """
    intersection, union, _, _ = _sums(counts, pooled)
    shares = _share(intersection, union)
    return np.array([_mean(shares[:, 0]), _mean(shares[:, 1])])


def mean_iou(counts: Iterable[SegmentationCounts], pooled: bool = True) -> float:
    """Intersection over union, averaged over the two classes.

    Args:
        counts: The counts of each image.
        pooled: As in `pixel_accuracy`. If False, the mean of the images' values, each the mean over its
            classes.

    Returns:
        The mean, 0 to 1, over the classes that have a value, see `intersection_over_union`. NaN if
        there are no labelled pixels.

    Example:
        >>> mask = np.array([[True, True, False]])
        >>> counts = [rap_keras.evaluation.segmentation_counts([[3.0, 1.0, 1.0]], mask)]
        >>> rap_keras.evaluation.mean_iou(counts)
        0.5
    """
    intersection, union, _, _ = _sums(counts, pooled)
    return _mean(np.array([_mean(classes) for classes in _share(intersection, union)]))


def _level(values: Array, threshold: str | float) -> float:
    match threshold:
        case "mean":
            # By rounding, the mean of equal numbers may be less than each of them.
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
    """The mean of the values that are not NaN; NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


def level_of_area(values: Array, count: int) -> float:
    """The largest value below the `count` largest ones; -infinity if there is none."""
    left = len(values) - count
    return float(np.partition(values, left - 1)[left - 1]) if left > 0 else -math.inf
