"""Whether relevance lies on the object."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rap_keras.benchmark.metrics.record import Column, Metric, Record, View, defined, each, means_of
from rap_keras.benchmark.metrics.tables import FURTHER, FURTHER_WORDS, RATIO, SEGMENTATION
from rap_keras.benchmark.statistics import Ratio, Row, column, divide, mean, mean_of_defined
from rap_keras.evaluation import localization, segmentation


def _ratio(v: View) -> Record:
    ratio = localization.outside_inside_ratio
    return {
        "ratio_all": defined(ratio(v.heatmap, v.scene.mask, "all", v.scene.void)),
        "ratio_positive": defined(ratio(v.heatmap, v.scene.mask, "positive", v.scene.void)),
    }


def _counts(v: View, threshold: str | float) -> Record:
    counts = segmentation.segmentation_counts(v.heatmap, v.scene.mask, threshold, v.scene.void)
    return {
        "correct": int(counts.correct),
        "labelled": int(counts.labelled),
        "intersection": [int(n) for n in counts.intersection],
        "union": [int(n) for n in counts.union],
    }


def _segmented(rows: Sequence[Row], pooled: bool) -> dict[str, Ratio]:
    correct, labelled = column(rows, "correct"), column(rows, "labelled")
    intersection = np.array([row["intersection"] for row in rows], dtype=np.float64)
    union = np.array([row["union"] for row in rows], dtype=np.float64)
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


def _equal_area(protocol: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Ratio]:
    found = _segmented([row["equal_area"] for row in rows], protocol["pooled"])
    return {f"{name}_equal_area": ratio for name, ratio in found.items()}


def _by_sign_words(protocol: Mapping[str, Any]) -> str:
    if "equal_area" not in protocol["metrics"]:
        return (
            "The pixels above each method's threshold against the object, in percent (Table 2 of arXiv "
            "1904.00605). Higher is better."
        )
    return (
        "By sign (Table 2 of arXiv 1904.00605): the pixels above each method's threshold, which is 0, "
        "or the map's mean where a method gives no negative relevance, if nothing else was asked for. "
        "There the cut decides as much as the map: on small objects 0 also takes weak relevance in the "
        "background, on large ones the mean cuts off much of the object."
    )


def _average_precision(v: View) -> Record:
    return {
        "average_precision": defined(
            localization.average_precision(v.heatmap, v.scene.mask, v.scene.void)
        )
    }


def _pointing_game(v: View) -> Record:
    hit = localization.pointing_game(
        v.heatmap, v.scene.mask, v.scene.void, v.scene.settings.tolerance
    )
    return {"pointing_game": int(hit)}


def _mass(v: View) -> Record:
    share = localization.relevance_mass_accuracy(v.heatmap, v.scene.mask, v.scene.void)
    return {"mass_accuracy": defined(share)}


def _rank(v: View) -> Record:
    share = localization.relevance_rank_accuracy(v.heatmap, v.scene.mask, v.scene.void)
    return {"rank_accuracy": defined(share)}


def _top_k(v: View) -> Record:
    top = localization.top_k_intersection
    scene = v.scene
    k = scene.settings.top_k
    return {
        "top_k": defined(top(v.heatmap, scene.mask, k, void=scene.void)),
        "top_k_weighted": defined(top(v.heatmap, scene.mask, k, weighted=True, void=scene.void)),
    }


def _top_k_words(protocol: Mapping[str, Any]) -> str:
    return (
        f"Top-k: the share of the {protocol['top_k']} most relevant pixels that lie on the object; "
        "weighted: in relation to the object's share of the pixels, 1 by chance."
    )


def _segmentation_columns(suffix: str) -> tuple[Column, ...]:
    def of(label: str, name: str, terminal: str = "") -> Column:
        return Column(
            label,
            f"{name}{suffix}",
            "higher",
            unit="%",
            scale=100,
            difference=label,
            terminal=terminal,
        )

    return of("pixel accuracy", "pixel_accuracy"), of("mIOU", "mean_iou", "mIOU")


METRICS = (
    Metric(
        name="ratio",
        measure=each(_ratio),
        summarize=means_of("ratio_all", "ratio_positive"),
        medians=("ratio_all", "ratio_positive"),
        columns=(
            Column("ALL", "ratio_all", "lower", difference="ratio ALL", terminal="ratio ALL"),
            Column("POS", "ratio_positive", "lower", difference="ratio POS", terminal="POS"),
            Column("ALL, median", "ratio_all_median", "lower"),
            Column("POS, median", "ratio_positive_median", "lower"),
        ),
        table=RATIO,
        words="The mean relevance outside of the object over that inside of it (eq. 11 of arXiv "
        "1904.00605, whose Table 1 this follows). ALL: negative relevance is in the right place "
        "outside, in the wrong place inside; POS: it is left out. Means over the images, and medians, "
        "since ratios have heavy tails. Lower is better.",
        reference="eq. 11, Table 1",
    ),
    Metric(
        name="equal_area",
        measure=each(lambda v: {"equal_area": _counts(v, "area")}),
        summarize=_equal_area,
        columns=_segmentation_columns("_equal_area"),
        table=SEGMENTATION,
        words="What a map takes for the object against the object, in percent. Higher is better. Equal "
        "area: as many of each map's most relevant pixels as the object has, the same for every method. "
        "The size is given away, so noise gets its share: this measures a ranking.",
        reference="this project",
        beside=("segmentation", "equal area"),
    ),
    Metric(
        name="segmentation",
        measure=each(lambda v: _counts(v, v.threshold)),
        summarize=lambda protocol, rows: _segmented(rows, protocol["pooled"]),
        columns=_segmentation_columns(""),
        table=SEGMENTATION,
        words=_by_sign_words,
        reference="Table 2",
        beside=("equal_area", "by sign"),
    ),
    Metric(
        name="average_precision",
        measure=each(_average_precision),
        summarize=means_of("average_precision"),
        columns=(
            Column(
                "average precision",
                "average_precision",
                "higher",
                difference="average precision",
            ),
        ),
        table=FURTHER,
        words=FURTHER_WORDS,
        reference="precision over recall",
    ),
    Metric(
        name="pointing_game",
        measure=each(_pointing_game),
        summarize=means_of("pointing_game"),
        columns=(Column("pointing game", "pointing_game", "higher", difference="pointing game"),),
        table=FURTHER,
        words=FURTHER_WORDS,
        reference="Zhang et al. 2016",
    ),
    Metric(
        name="mass_accuracy",
        measure=each(_mass),
        summarize=means_of("mass_accuracy"),
        columns=(Column("mass accuracy", "mass_accuracy", "higher", difference="mass accuracy"),),
        table=FURTHER,
        words="Mass accuracy: the share of the positive relevance that lies on the object, which is "
        "what the metric energy gives as well.",
        reference="Arras et al. 2022",
        default=False,
    ),
    Metric(
        name="rank_accuracy",
        measure=each(_rank),
        summarize=means_of("rank_accuracy"),
        columns=(Column("rank accuracy", "rank_accuracy", "higher", difference="rank accuracy"),),
        table=FURTHER,
        words="Rank accuracy: of the most relevant pixels, as many as the object has, the share that "
        "lie on it.",
        reference="Arras et al. 2022",
        default=False,
    ),
    Metric(
        name="top_k",
        measure=each(_top_k),
        summarize=means_of("top_k", "top_k_weighted"),
        columns=(
            Column("top-k", "top_k", "higher", difference="top-k"),
            Column("top-k, weighted", "top_k_weighted", "higher"),
        ),
        table=FURTHER,
        words=_top_k_words,
        reference="Theiner et al. 2022",
        default=False,
    ),
)
