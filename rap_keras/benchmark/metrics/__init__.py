"""The metrics of a benchmark, each one `Metric`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rap_keras.benchmark.metrics import classes, localization, maps, perturbation, robustness, units
from rap_keras.benchmark.metrics.metric import Column, Curve, Metric, each, means_of, one_number
from rap_keras.benchmark.metrics.tables import (
    CLASSES,
    FAITHFULNESS,
    FURTHER,
    IMPUTERS,
    RATIO,
    ROBUSTNESS,
    SEGMENTATION,
    TABLES,
    UNITS,
)
from rap_keras.benchmark.metrics.view import Reading, RowMaps, Scene, View
from rap_keras.benchmark.statistics import Json

METRICS: dict[str, Metric] = {
    metric.name: metric
    for family in (localization, maps, perturbation, classes, robustness, units)
    for metric in family.METRICS
}
"""All metrics by name, in the order of the report. Add a new metric here or to its family."""


def default_metrics() -> tuple[str, ...]:
    """The metrics that are measured by default."""
    return tuple(name for name, metric in METRICS.items() if metric.default)


def unit_metrics() -> tuple[str, ...]:
    """The metrics of mechanism tests, which no data set of images has."""
    return tuple(name for name, metric in METRICS.items() if metric.table == UNITS)


def chosen(names: Iterable[str], imputers: Iterable[str] = ()) -> list[Metric]:
    """The metrics of these names, in the order of the report.

    Those that replace pixels step by step are repeated with each of further replacements.
    """
    names = set(names)
    found = [metric for metric in METRICS.values() if metric.name in names]
    return found + [m.with_imputer(imputer) for imputer in imputers for m in found if m.by_imputer]


def of_protocol(protocol: Json) -> list[Metric]:
    """The metrics that a protocol measures, in the order of the report."""
    return chosen(protocol["metrics"], imputers_of(protocol)[1:])


def is_of_units(protocol: Json) -> bool:
    """Whether these are mechanism tests."""
    return str(protocol.get("data")).partition(":")[0] == "units"


def imputers_of(protocol: Json) -> list[str]:
    """The replacements of pixels of a protocol; none if no metric replaces pixels."""
    given = protocol.get("perturbation") or {}
    return given.get("replacements") or [given[name] for name in ("replacement",) if name in given]


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
    "IMPUTERS",
    "METRICS",
    "RATIO",
    "ROBUSTNESS",
    "SEGMENTATION",
    "TABLES",
    "UNITS",
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
    "imputers_of",
    "is_of_units",
    "means_of",
    "of_protocol",
    "one_number",
    "unit_metrics",
]
