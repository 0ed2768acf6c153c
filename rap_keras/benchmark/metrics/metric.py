"""The records of metrics: everything that the benchmark needs to know about them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rap_keras.benchmark.metrics.tables import IMPUTERS, IMPUTERS_WORDS
from rap_keras.benchmark.metrics.view import View
from rap_keras.benchmark.statistics import Json, Numbers, Ratio, column, mean
from rap_keras.datasets import Sample

Summarize = Callable[[Json, Sequence[Numbers]], dict[str, Ratio]]
Measure = Callable[..., Sequence[Any]]


@dataclass(frozen=True)
class Column:
    """A quantity as a column of the report's tables."""

    label: str  # its heading
    quantity: str  # its name in the summary; NAME_median is the median over the images
    better: str = ""  # "lower", "higher", or "" if neither is better
    unit: str = ""
    scale: float = 1  # the factor of its values: 100 for percent
    place: int = 0  # the columns of a table are sorted by this, and then by the metrics
    difference: str = ""  # its heading in the table of differences; "" leaves it out
    terminal: str = ""  # its heading on the terminal; "" leaves it out
    qualifier: str = ""  # what distinguishes it from a column of the same label
    failed: bool = False  # whether it failed its validation; then it is marked with a dagger

    @property
    def is_median(self) -> bool:
        """Whether it shows the median over the images."""
        return self.quantity.endswith("_median")

    @property
    def mean(self) -> str:
        """The quantity that is a mean over the same images."""
        return self.quantity.removesuffix("_median")

    @property
    def title(self) -> str:
        """The label with its qualifier, unit and mark."""
        qualified = f"{self.label}, {self.qualifier}" if self.qualifier else self.label
        return (f"{qualified} ({self.unit})" if self.unit else qualified) + self.mark

    @property
    def head(self) -> str:
        """The title with an arrow in the better direction."""
        return self.title + {"lower": " ↓", "higher": " ↑", "": ""}[self.better]

    @property
    def on_terminal(self) -> str:
        """Its heading on the terminal."""
        titled = f"{self.terminal} {self.unit}" if self.unit else self.terminal
        return (f"{titled}, {self.qualifier}" if self.qualifier else titled) + self.mark

    @property
    def mark(self) -> str:
        """The mark of a metric that failed its validation."""
        return " †" if self.failed else ""


def compared(label: str, quantity: str, better: str, terminal: str = "") -> Column:
    """A column that compares methods to the reference, under the same heading."""
    return Column(label, quantity, better, difference=label, terminal=terminal)


@dataclass(frozen=True)
class Curve:
    """A metric that gives a curve over the steps of a perturbation for each image."""

    title: str
    first: str  # the pixels that are replaced first: the "least" or the "most" relevant
    good: str  # where the curves of good methods stay: "high" or "low"


@dataclass(frozen=True)
class Metric:
    """A metric.

    `measure` takes one row's maps of the images of a chunk, all of one size, and the metric's settings.
    It returns the number of each map, or its numbers: a tuple in the order of the columns or a dict. NaN
    and infinity are undefined. `each` wraps a function of a single map. The numbers of a metric with a
    curve are lists over the steps, `{name: {"correct": [...], "logit": [...], "probability": [...]}}`.

    `summarize` takes the protocol and the numbers of every image, and returns quantities by name; None
    takes the mean of each number that has a column.
    """

    name: str  # in the settings
    measure: Measure
    columns: tuple[Column, ...]
    table: str  # the title of the report's table with these columns
    words: str | Callable[[Json], str] = ""  # the text above it, once if several metrics share it
    summarize: Summarize | None = None
    settings: tuple[str, ...] = ()  # the names of the benchmark's settings that it needs
    defined: Callable[[View], bool] = lambda view: True  # `measure` gets only these maps
    curve: Curve | None = None
    # A metric with columns of the same labels, and what distinguishes these if both are measured.
    same_labels: tuple[str, str] = ("", "")
    check: Callable[[Sample], None] = lambda sample: None  # rejects data sets, from a sample
    default: bool = False  # whether it is measured by default
    perturbs: bool = False  # whether it replaces pixels as in the settings
    # Whether `measure` takes `imputer`, one of the replacements of pixels; None is the first.
    by_imputer: bool = False
    stages: tuple[str, ...] = ()  # of the randomised models that it needs

    @property
    def numbers(self) -> tuple[str, ...]:
        """The quantities with a column of their mean or their median."""
        return tuple(dict.fromkeys(column.mean for column in self.columns))

    @property
    def medians(self) -> set[str]:
        """The quantities with a column for their median over the images."""
        return {column.mean for column in self.columns if column.is_median}

    def text(self, protocol: Json) -> str:
        """The words for a protocol."""
        return self.words if isinstance(self.words, str) else self.words(protocol)

    def with_imputer(self, imputer: str) -> "Metric":
        """The same with another replacement of pixels; "@" and its name mark names and quantities."""
        mark = mark_of(imputer)

        def measure(views: Sequence[View], **given: Any) -> list[Any]:
            found = self.measure(views, imputer=imputer, **given)
            return [_marked(one, mark) if isinstance(one, Mapping) else one for one in found]

        def summarize(protocol: Json, numbers: Sequence[Numbers]) -> dict[str, Ratio]:
            own = [
                {name.removesuffix(mark): n for name, n in image.items() if name.endswith(mark)}
                for image in numbers
            ]
            return _marked(self.quantities(protocol, own), mark)

        label, quantity = f"{self.columns[0].label} with {imputer}", self.columns[0].quantity + mark
        head = replace(self.columns[0], label=label, quantity=quantity, difference="", terminal="")
        return replace(
            self,
            name=self.name + mark,
            measure=measure,
            columns=(head,),
            table=IMPUTERS,
            words=IMPUTERS_WORDS,
            summarize=summarize,
            curve=None,
        )

    def measured(self, views: Sequence[View], settings: object) -> list[Numbers]:
        """The numbers of each map, JSON-serialisable; None is undefined."""
        chosen = [view for view in views if self.defined(view)]
        given = {name: getattr(settings, name) for name in self.settings}
        found = iter(self.measure(chosen, **given) if chosen else ())
        return [
            self._named(next(found)) if self.defined(view) else dict.fromkeys(self.numbers)
            for view in views
        ]

    def _named(self, found: Any) -> Numbers:
        if not isinstance(found, Mapping):
            values = found if isinstance(found, tuple) else (found,)
            found = dict(zip(self.numbers, values, strict=True))
        return {name: _as_json(number) for name, number in found.items()}

    def quantities(self, protocol: Json, numbers: Sequence[Numbers]) -> dict[str, Ratio]:
        """The quantities of one row of the benchmark, from its numbers of all images."""
        return (self.summarize or means_of(*self.numbers))(protocol, numbers)


def one_number(
    name: str,
    measure: Callable[..., float],
    better: str,
    table: str,
    words: str | Callable[[Json], str] = "",
    *,
    label: str = "",
    terminal: str = "",
    **more: Any,
) -> Metric:
    """A metric with one number for each map, in one column.

    `measure` is a function from a `View` and the metric's settings to the number. If neither direction
    is `better` (""), methods are not compared by it. The label of the column is by default the name;
    `terminal` is its heading on the terminal, "" leaves it out. `Metric` has further arguments.
    """
    label = label or name.replace("_", " ")
    head = compared(label, name, better, terminal) if better else Column(label, name)
    return Metric(name, each(measure), (head,), table, words, **more)


def mark_of(imputer: str) -> str:
    """What names of metrics and quantities end with, if they are of another replacement of pixels."""
    return f"@{imputer}"


def _marked(entries: Mapping[str, Any], mark: str) -> dict[str, Any]:
    return {name + mark: entry for name, entry in entries.items()}


def measured(
    metrics: Sequence[Metric], views: Sequence[View], settings: object
) -> list[dict[str, Any]]:
    """The numbers of several metrics of each map."""
    found: list[dict[str, Any]] = [{} for _ in views]
    for metric in metrics:
        for numbers, more in zip(found, metric.measured(views, settings), strict=True):
            numbers |= more
    return found


def each(measure: Callable[..., Any]) -> Measure:
    """Measures the maps of a chunk one by one."""
    return lambda views, **given: [measure(view, **given) for view in views]


def means_of(*names: str) -> Summarize:
    """The mean of each number over the images, as a quantity of the same name."""
    return lambda protocol, numbers: {name: mean(column(numbers, name)) for name in names}


def _as_json(number: Any) -> Any:
    if isinstance(number, float | np.floating):
        return float(number) if np.isfinite(number) else None
    return number
