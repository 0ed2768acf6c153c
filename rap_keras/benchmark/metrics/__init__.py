"""The metrics of a benchmark, each one record."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rap_keras.benchmark.metrics import classes, localization, maps, perturbation, robustness
from rap_keras.benchmark.metrics.record import (
    Column,
    Curve,
    Metric,
    Record,
    Scene,
    View,
    each,
    means_of,
)
from rap_keras.benchmark.metrics.tables import (
    CLASSES,
    FAITHFULNESS,
    FURTHER,
    RATIO,
    ROBUSTNESS,
    SEGMENTATION,
    TABLES,
)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for family in (localization, maps, perturbation, classes, robustness)
    for metric in family.METRICS
}
"""All metrics by their names, in the order of the report; a new one is added here, or to its family."""


def default_metrics() -> tuple[str, ...]:
    """Those that are measured if nothing is said."""
    return tuple(name for name, metric in METRICS.items() if metric.default)


def chosen(names: Iterable[str]) -> list[Metric]:
    """The metrics of these names, in the order of the report."""
    names = set(names)
    return [metric for metric in METRICS.values() if metric.name in names]


def columns(metrics: Iterable[Metric]) -> list[Column]:
    """The columns of these metrics, with what tells those of the same label apart."""
    metrics = list(metrics)
    names = {metric.name for metric in metrics}
    return [
        replace(column, qualifier=metric.beside[1]) if metric.beside[0] in names else column
        for metric in metrics
        for column in metric.columns
    ]


def measured(views: Sequence[View], names: Iterable[str]) -> list[Record]:
    """The numbers of these metrics, of one method on each image of a chunk."""
    records: list[Record] = [{} for _ in views]
    for name in names:
        for record, numbers in zip(records, METRICS[name].measure(views), strict=True):
            record |= numbers
    return records


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
    "Record",
    "Scene",
    "View",
    "chosen",
    "columns",
    "default_metrics",
    "each",
    "means_of",
    "measured",
]
