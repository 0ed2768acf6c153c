"""Does a thresholded heatmap cut out the object? Pixel accuracy and intersection over union."""

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
    """
    _, _, correct, labelled = _sums(counts, pooled)
    return _mean(_share(correct, labelled))


def intersection_over_union(counts: Iterable[SegmentationCounts], pooled: bool = True) -> Array:
    """Intersection over union of each class; pooled as in `pixel_accuracy`.

    Not pooled, an image in which a class is absent from both the mask and the heatmap (an empty union)
    has no value for it and is left out of this class' mean.

    Returns:
        The values of background and foreground, `(2,)`, 0 to 1; NaN for a class that is nowhere
        (the script has 0).
    """
    intersection, union, _, _ = _sums(counts, pooled)
    shares = _share(intersection, union)
    return np.array([_mean(shares[:, 0]), _mean(shares[:, 1])])


def mean_iou(counts: Iterable[SegmentationCounts], pooled: bool = True) -> float:
    """Intersection over union, as the mean of the two classes; pooled as in `pixel_accuracy`.

    Not pooled, it is the mean of the images' values, each the mean of its classes.

    Returns:
        The mean, 0 to 1, over the classes with a value, see `intersection_over_union`; NaN without
        any labelled pixel.
    """
    intersection, union, _, _ = _sums(counts, pooled)
    return _mean(np.array([_mean(classes) for classes in _share(intersection, union)]))


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


def level_of_area(values: Array, count: int) -> float:
    """The largest of the values that the `count` largest leave; below all if they leave none."""
    left = len(values) - count
    return float(np.partition(values, left - 1)[left - 1]) if left > 0 else -math.inf
