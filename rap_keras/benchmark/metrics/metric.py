"""What a metric is, for the settings, the measuring, the summary, the report and the command."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rap_keras.benchmark.metrics.view import View
from rap_keras.benchmark.statistics import Json, Numbers, Ratio, column, mean
from rap_keras.datasets import Sample

Summarize = Callable[[Json, Sequence[Numbers]], dict[str, Ratio]]
Measure = Callable[..., Sequence[Any]]
_MEDIAN = "_median"


@dataclass(frozen=True)
class Column:
    """A quantity as a column of the report's tables.

    Attributes:
        label: Its head.
        quantity: Its name in the summary; NAME_median is the median over the images, for heavy tails.
        better: "lower", "higher", or "" where neither is.
        unit: Its unit, "" without one.
        scale: What it is multiplied by: 100 for percent.
        place: Columns of a table stand in the order of this, and then of the metrics.
        difference: Its head in the table of differences to the reference; "": it has none.
        terminal: Its head on the terminal; "": it is not there.
        qualifier: What distinguishes it from a column of the same label.
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

    @property
    def title(self) -> str:
        """The label, what qualifies it, and its unit."""
        qualified = f"{self.label}, {self.qualifier}" if self.qualifier else self.label
        return f"{qualified} ({self.unit})" if self.unit else qualified

    @property
    def head(self) -> str:
        """The title with an arrow to where it is better."""
        return self.title + {"lower": " ↓", "higher": " ↑", "": ""}[self.better]

    @property
    def on_terminal(self) -> str:
        """Its head on the terminal."""
        titled = f"{self.terminal} {self.unit}" if self.unit else self.terminal
        return f"{titled}, {self.qualifier}" if self.qualifier else titled


def compared(label: str, quantity: str, better: str, terminal: str = "") -> Column:
    """A column by which methods are compared to the reference, under the same head."""
    return Column(label, quantity, better, difference=label, terminal=terminal)


@dataclass(frozen=True)
class Curve:
    """A metric that gives a curve over the steps of a perturbation for each image.

    Attributes:
        title: What it is called.
        first: Which pixels are replaced first: the "least" or the "most" relevant.
        good: Where the curves of good methods stay: "high" or "low".
    """

    title: str
    first: str
    good: str


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: As it is asked for.
        measure: From one row's maps of the images of a chunk, all of one size, and the settings that the
            metric takes, to the number of each map; or its numbers, a tuple in the order of the columns
            or a dict by their names. NaN and infinity are undefined. `each` makes it of a function of a
            single map.
        columns: The columns of the report.
        table: The title of the report's table that they are in.
        words: What is said above that table: text, or a function from the protocol to it; metrics that
            say the same say it once.
        reference: Where it comes from, as docs/benchmark.md says it.
        summarize: From the protocol and the numbers of every image to quantities by their names; None:
            the mean of each number that has a column.
        settings: The benchmark's settings that it takes, by their names.
        defined: Whether it is defined for a map; `measure` sees only those for which it is.
        curve: Its curve, if it has one; its numbers are then lists over the steps,
            `{name: {"correct": [...], "logit": [...], "probability": [...]}}`.
        beside: A metric with columns of the same labels, and what distinguishes the columns of this one
            where both are measured.
        check: Refuses a data set that it cannot be measured on, by a sample of it.
        default: Whether it is measured if no metrics are named.
        perturbs: Whether it replaces pixels, as the settings say.
        stages: The stages of randomised models that it needs.
    """

    name: str
    measure: Measure
    columns: tuple[Column, ...]
    table: str
    words: str | Callable[[Json], str] = ""
    reference: str = ""
    summarize: Summarize | None = None
    settings: tuple[str, ...] = ()
    defined: Callable[[View], bool] = lambda view: True
    curve: Curve | None = None
    beside: tuple[str, str] = ("", "")
    check: Callable[[Sample], None] = lambda sample: None
    default: bool = False
    perturbs: bool = False
    stages: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """The quantities that have a column, by itself or by their median."""
        return tuple(dict.fromkeys(c.quantity.removesuffix(_MEDIAN) for c in self.columns))

    @property
    def medians(self) -> set[str]:
        """The quantities whose median over the images is given as well."""
        quantities = (column.quantity for column in self.columns)
        return {name.removesuffix(_MEDIAN) for name in quantities if name.endswith(_MEDIAN)}

    def text(self, protocol: Json) -> str:
        """The words for a protocol."""
        return self.words if isinstance(self.words, str) else self.words(protocol)

    def measured(self, views: Sequence[View], settings: object) -> list[Numbers]:
        """The numbers of each map, as JSON knows them; None is an undefined one."""
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
        """The quantities of one row of the benchmark, from its numbers of every image."""
        return (self.summarize or means_of(*self.numbers))(protocol, numbers)


def one_number(
    name: str,
    measure: Callable[..., float],
    better: str,
    table: str,
    words: str | Callable[[Json], str] = "",
    reference: str = "",
    *,
    label: str = "",
    terminal: str = "",
    **more: Any,
) -> Metric:
    """A metric that gives one number of each map, which has one column.

    Args:
        name: As it is asked for.
        measure: From a `View` and the settings that the metric takes to the number.
        better: "lower", "higher", or "" where neither is; then methods are not compared by it.
        table: The title of the report's table that it is in.
        words: What is said above that table.
        reference: Where it comes from.
        label: The head of its column; by default its name.
        terminal: The head on the terminal; "": it is not there.
        **more: Other attributes of `Metric`.
    """
    label = label or name.replace("_", " ")
    head = compared(label, name, better, terminal) if better else Column(label, name)
    return Metric(name, each(measure), (head,), table, words, reference, **more)


def each(measure: Callable[..., Any]) -> Measure:
    """Measures the maps of a chunk one by one."""
    return lambda views, **given: [measure(view, **given) for view in views]


def means_of(*names: str) -> Summarize:
    """The mean over the images of each number, as a quantity of the same name."""
    return lambda protocol, numbers: {name: mean(column(numbers, name)) for name in names}


def _as_json(number: Any) -> Any:
    if isinstance(number, float | np.floating):
        return float(number) if np.isfinite(number) else None
    return number
