"""The records of metrics: everything that the benchmark needs to know about them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rap_keras.benchmark.metrics.tables import IMPUTERS, IMPUTERS_WORDS
from rap_keras.benchmark.metrics.view import View
from rap_keras.benchmark.statistics import Json, Numbers, Ratio, column, mean
from rap_keras.datasets import Sample
from rap_keras.errors import InputError

Summarize = Callable[[Json, Sequence[Numbers]], dict[str, Ratio]]
Measure = Callable[..., Sequence[Any]]


@dataclass(frozen=True)
class Column:
    """A quantity as a column of the report's tables.

    Attributes:
        label: Its heading.
        quantity: Its name in the summary; NAME_median is the median over the images, for heavy tails.
        better: "lower", "higher", or "" if neither is better.
        unit: Its unit, "" without one.
        scale: The factor of its values: 100 for percent.
        place: The columns of a table are sorted by this, and then by the metrics.
        difference: Its heading in the table of differences; "" leaves it out.
        terminal: Its heading on the terminal; "" leaves it out.
        qualifier: What distinguishes it from a column of the same label.
        failed: Whether it failed its validation; then it is marked with a dagger.
    """

    label: str
    quantity: str
    better: str = ""
    unit: str = ""
    scale: float = 1
    place: int = 0
    difference: str = ""
    terminal: str = ""
    qualifier: str = ""
    failed: bool = False

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
    """A metric that gives a curve over the steps of a perturbation for each image.

    Attributes:
        title: Its name.
        first: The pixels that are replaced first: the "least" or the "most" relevant.
        good: Where the curves of good methods stay: "high" or "low".
    """

    title: str
    first: str
    good: str


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: Its name in the settings.
        measure: A function from one row's maps of the images of a chunk, all of one size, and the
            metric's settings to the number of each map, or to its numbers: a tuple in the order of the
            columns or a dict. NaN and infinity are undefined. `each` wraps a function of a single map.
        columns: The columns of the report.
        table: The title of the report's table with these columns.
        words: The text above that table, or a function from the protocol to it. A text that several
            metrics share is written once.
        summarize: A function from the protocol and the numbers of every image to quantities by name;
            None takes the mean of each number that has a column.
        settings: The names of the benchmark's settings that it needs.
        defined: Whether it is defined for a map; `measure` gets only maps for which it is.
        curve: Its curve, if it has one; its numbers are then lists over the steps,
            `{name: {"correct": [...], "logit": [...], "probability": [...]}}`.
        same_labels: A metric with columns of the same labels, and the qualifier of this metric's columns
            if both are measured.
        check: Rejects data sets that do not support it, from a sample.
        default: Whether it is measured by default.
        perturbs: Whether it replaces pixels as in the settings.
        by_imputer: Whether `measure` takes `imputer`, one of the replacements of pixels; None is the
            first.
        stages: The stages of randomised models that it needs.
    """

    name: str
    measure: Measure
    columns: tuple[Column, ...]
    table: str
    words: str | Callable[[Json], str] = ""
    summarize: Summarize | None = None
    settings: tuple[str, ...] = ()
    defined: Callable[[View], bool] = lambda view: True
    curve: Curve | None = None
    same_labels: tuple[str, str] = ("", "")
    check: Callable[[Sample], None] = lambda sample: None
    default: bool = False
    perturbs: bool = False
    by_imputer: bool = False
    stages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks that methods, and replacements of pixels, are compared by means over the images."""
        for place, head in enumerate(self.columns):
            compares = head.difference or (self.by_imputer and place == 0)
            if head.is_median and compares:
                raise InputError(
                    f"Expected means to compare by, got {head.quantity} of the metric {self.name}: "
                    "leave out its difference, and with by_imputer put it after another column."
                )

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
            return [_marked(self._named(one), mark) for one in found]

        def summarize(protocol: Json, numbers: Sequence[Numbers]) -> dict[str, Ratio]:
            # Where the metric is undefined, only the number of the head is there.
            own = [
                dict.fromkeys(self.numbers)
                | {name.removesuffix(mark): n for name, n in image.items() if name.endswith(mark)}
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

    Args:
        name: Its name in the settings.
        measure: A function from a `View` and the metric's settings to the number.
        better: "lower", "higher", or "" if neither is better; then methods are not compared by it.
        table: The title of the report's table with its column.
        words: The text above that table.
        label: The heading of its column; by default its name.
        terminal: The heading on the terminal; "" leaves it out.
        **more: Other attributes of `Metric`.
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
    plain = number.tolist() if isinstance(number, np.generic | np.ndarray) else number
    return None if isinstance(plain, float) and not np.isfinite(plain) else plain
