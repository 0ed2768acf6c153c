"""Whether relevance lies on the object."""

from collections.abc import Sequence

import numpy as np

from rap_keras.benchmark.metrics.metric import Column, Metric, compared, each, one_number
from rap_keras.benchmark.metrics.tables import FURTHER, FURTHER_WORDS, RATIO, SEGMENTATION
from rap_keras.benchmark.metrics.view import View
from rap_keras.benchmark.statistics import (
    Array,
    Json,
    Numbers,
    Ratio,
    column,
    divide,
    mean,
    mean_of_defined,
)
from rap_keras.evaluation import localization, segmentation


def _on_object(v: View) -> tuple[Array, Array, Array]:
    """The map, the object and the ignored pixels, as most functions take them."""
    return v.heatmap, v.scene.mask, v.scene.void


def _ratio(v: View) -> tuple[float, float]:
    heatmap, mask, void = _on_object(v)
    ratio = localization.outside_inside_ratio
    return ratio(heatmap, mask, "all", void), ratio(heatmap, mask, "positive", void)


def _counts(v: View, threshold: str | float) -> Numbers:
    heatmap, mask, void = _on_object(v)
    counts = segmentation.segmentation_counts(heatmap, mask, threshold, void)
    return {
        "correct": int(counts.correct),
        "labelled": int(counts.labelled),
        "intersection": [int(n) for n in counts.intersection],
        "union": [int(n) for n in counts.union],
    }


def _segmented(numbers: Sequence[Numbers], pooled: bool) -> dict[str, Ratio]:
    """Ratios of the pixels of all images together (pooled), or means over the images.

    The mean IOU is over the classes with any pixel on the mask or on the map.
    """
    correct, labelled = column(numbers, "correct"), column(numbers, "labelled")
    intersection = np.array([image["intersection"] for image in numbers], dtype=np.float64)
    union = np.array([image["union"] for image in numbers], dtype=np.float64)
    if pooled:
        return {
            "pixel_accuracy": Ratio(correct[:, None], labelled[:, None]),
            "iou_background": Ratio(intersection[:, :1], union[:, :1]),
            "iou_foreground": Ratio(intersection[:, 1:], union[:, 1:]),
            "mean_iou": Ratio(intersection, union),
        }
    ious = divide(intersection, union)
    return {
        "pixel_accuracy": mean(divide(correct, labelled)),
        "iou_background": mean(ious[:, 0]),
        "iou_foreground": mean(ious[:, 1]),
        "mean_iou": mean(mean_of_defined(ious)),
    }


def _equal_area(protocol: Json, numbers: Sequence[Numbers]) -> dict[str, Ratio]:
    found = _segmented([image["equal_area"] for image in numbers], protocol["pooled"])
    return {f"{name}_equal_area": ratio for name, ratio in found.items()}


def _by_sign_words(protocol: Json) -> str:
    if "equal_area" not in protocol["metrics"]:
        return (
            "Agreement of the pixels above each method's threshold with the object, in percent (Table 2 "
            "of arXiv 1904.00605). Higher is better."
        )
    return (
        "By sign (Table 2 of arXiv 1904.00605): the pixels above each method's threshold. By default it "
        "is 0, or the map's mean for methods without negative relevance. This threshold matters as much "
        "as the map: on small objects, 0 includes weak relevance in the background; on large objects, "
        "the mean cuts off much of the object."
    )


def _top_k(v: View, top_k: int) -> tuple[float, float]:
    heatmap, mask, void = _on_object(v)
    top = localization.top_k_intersection
    share = top(heatmap, mask, top_k, void=void)
    return share, top(heatmap, mask, top_k, weighted=True, void=void)


def _segmentation_columns(suffix: str) -> tuple[Column, ...]:
    accuracy, iou = f"pixel_accuracy{suffix}", f"mean_iou{suffix}"
    return (
        Column("pixel accuracy", accuracy, "higher", "%", 100, difference="pixel accuracy"),
        Column("mIOU", iou, "higher", "%", 100, difference="mIOU", terminal="mIOU"),
    )


METRICS = (
    Metric(
        "ratio",
        each(_ratio),
        (
            Column("ALL", "ratio_all", "lower", difference="ratio ALL", terminal="ratio ALL"),
            Column("POS", "ratio_positive", "lower", difference="ratio POS", terminal="POS"),
            Column("ALL, median", "ratio_all_median", "lower"),
            Column("POS, median", "ratio_positive_median", "lower"),
        ),
        RATIO,
        "The mean relevance outside the object divided by the mean relevance inside it (eq. 11 and "
        "Table 1 of arXiv 1904.00605). ALL: negative relevance counts as correct outside the object and "
        "as wrong inside it. POS: only positive relevance counts. Means and medians over the images, "
        "because ratios have heavy tails. Lower is better.",
        default=True,
    ),
    Metric(
        "equal_area",
        each(lambda v: {"equal_area": _counts(v, "area")}),
        _segmentation_columns("_equal_area"),
        SEGMENTATION,
        "Agreement of the pixels that a map selects with the object, in percent. Higher is better. "
        "Equal area: each map's most relevant pixels, with the same number of pixels as the object. "
        "The object's size is given, so even noise finds a part of it: this measures a ranking.",
        _equal_area,
        same_labels=("segmentation", "equal area"),
        default=True,
    ),
    Metric(
        "segmentation",
        each(lambda v: _counts(v, v.threshold)),
        _segmentation_columns(""),
        SEGMENTATION,
        _by_sign_words,
        lambda protocol, numbers: _segmented(numbers, protocol["pooled"]),
        same_labels=("equal_area", "by sign"),
        default=True,
    ),
    one_number(
        "average_precision",
        lambda v: localization.average_precision(*_on_object(v)),
        "higher",
        FURTHER,
        FURTHER_WORDS,
        default=True,
    ),
    one_number(
        "pointing_game",
        lambda v, tolerance: int(localization.pointing_game(*_on_object(v), tolerance)),
        "higher",
        FURTHER,
        FURTHER_WORDS,
        settings=("tolerance",),
        default=True,
    ),
    one_number(
        "mass_accuracy",
        lambda v: localization.relevance_mass_accuracy(*_on_object(v)),
        "higher",
        FURTHER,
        "Mass accuracy: the share of the positive relevance that lies on the object, the same as the "
        "metric energy.",
    ),
    one_number(
        "rank_accuracy",
        lambda v: localization.relevance_rank_accuracy(*_on_object(v)),
        "higher",
        FURTHER,
        "Rank accuracy: the share of the most relevant pixels, as many as the object has, that lie on "
        "the object.",
    ),
    Metric(
        "top_k",
        each(_top_k),
        (
            compared("top-k", "top_k", "higher"),
            Column("top-k, weighted", "top_k_weighted", "higher"),
        ),
        FURTHER,
        lambda protocol: (
            f"Top-k: the share of the {protocol['top_k']} most relevant pixels that lie on the object. "
            "Weighted: the same divided by the object's share of the pixels; 1 by chance."
        ),
        settings=("top_k",),
    ),
)
