"""The metrics of a benchmark, each one `Metric`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rap_keras.benchmark.metrics import classes, localization, maps, perturbation, robustness
from rap_keras.benchmark.metrics.metric import Column, Curve, Metric, each, means_of, one_number
from rap_keras.benchmark.metrics.tables import (
    CLASSES,
    FAITHFULNESS,
    FURTHER,
    RATIO,
    ROBUSTNESS,
    SEGMENTATION,
    TABLES,
)
from rap_keras.benchmark.metrics.view import Reading, RowMaps, Scene, View

METRICS: dict[str, Metric] = {
    metric.name: metric
    for family in (localization, maps, perturbation, classes, robustness)
    for metric in family.METRICS
}
"""All metrics by name, in the order of the report. Add a new metric here or to its family."""


def default_metrics() -> tuple[str, ...]:
    """The metrics that are measured by default."""
    return tuple(name for name, metric in METRICS.items() if metric.default)


def chosen(names: Iterable[str]) -> list[Metric]:
    """The metrics of these names, in the order of the report."""
    names = set(names)
    return [metric for metric in METRICS.values() if metric.name in names]


def columns(metrics: Sequence[Metric]) -> list[Column]:
    """The columns of these metrics, with qualifiers for columns of the same label."""
    names = {metric.name for metric in metrics}
    return [
        replace(column, qualifier=metric.same_labels[1])
        if metric.same_labels[0] in names
        else column
        for metric in metrics
        for column in metric.columns
    ]


__all__ = [
    "CLASSES",
    "FAITHFULNESS",
    "FURTHER",
    "METRICS",
    "RATIO",
    "ROBUSTNESS",
    "SEGMENTATION",
    "TABLES",
    "Column",
    "Curve",
    "Metric",
    "Reading",
    "RowMaps",
    "Scene",
    "View",
    "chosen",
    "columns",
    "default_metrics",
    "each",
    "means_of",
    "one_number",
]
