"""What a metric is: one record, which the settings, the summary, the report and the command read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rap_keras.benchmark.statistics import Ratio, Row, column, mean

Record = dict[str, Any]
Summarize = Callable[[Mapping[str, Any], Sequence[Row]], dict[str, Ratio]]


class Options(Protocol):
    """The settings that single metrics have, see `Settings`."""

    @property
    def tolerance(self) -> int: ...  # noqa: D102
    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def pixels_per_step(self) -> int | None: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class View:
    """What measures see of one method's map of one image.

    Attributes:
        settings: The benchmark's settings.
        relevance: The relevance `(height, width, channels)`; None for controls.
        heatmap: Its sum over channels `(height, width)`.
        mask: The object.
        void: Pixels that do not count.
        threshold: Where the heat map's foreground begins.
        x: The model's input `(height, width, channels)`.
        neuron: The neuron that is explained.
        logit: Its logit.
        contrasted: Whether it is explained against other neurons.
        replacement: What perturbed pixels become.
        predict: From batches of inputs to logits.
    """

    settings: Options
    relevance: NDArray[np.floating] | None
    heatmap: NDArray[np.floating]
    mask: NDArray[np.bool_]
    void: NDArray[np.bool_]
    threshold: str | float
    x: NDArray[np.float32]
    neuron: int
    logit: float
    contrasted: bool
    replacement: NDArray[np.float32] | float
    predict: Callable[[NDArray[np.float32]], NDArray[np.floating]]


@dataclass(frozen=True)
class Column:
    """A quantity as a column of the report's tables.

    Attributes:
        label: Its head.
        quantity: Its name in the summary.
        better: "lower", "higher", or "" where neither is.
        unit: Its unit, "" without one.
        scale: What it is multiplied by: 100 for percent.
        place: Columns of a table stand in the order of this, and then of the metrics.
        difference: Its head in the table of differences to the reference; "": it has none.
        terminal: Its head on the terminal; "": it is not there.
        qualifier: What tells it from a column of the same label.
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
        measure: From one method's map of one image to numbers by their names, as JSON knows them;
            None is an undefined one.
        summarize: From the protocol and these numbers of every image to quantities by their names.
        columns: The columns of the report.
        table: The title of the report's table that they are in.
        words: What is said above that table: text, or a function from the protocol to it; metrics that
            say the same say it once.
        reference: Where it comes from, as docs/benchmark.md says it.
        medians: The quantities with heavy tails, whose median over the images, NAME_median, is given
            as well.
        curve: Its curve, if it has one; its numbers are then lists over the steps,
            `{name: {"correct": [...], "logit": [...]}}`.
        beside: A metric with columns of the same labels, and what tells this one's columns from those
            where both are measured.
        default: Whether it is measured if nothing is said.
    """

    name: str
    measure: Callable[[View], Record]
    summarize: Summarize
    columns: tuple[Column, ...]
    table: str
    words: str | Callable[[Mapping[str, Any]], str] = ""
    reference: str = ""
    medians: tuple[str, ...] = ()
    curve: Curve | None = None
    beside: tuple[str, str] = ("", "")
    default: bool = True

    def text(self, protocol: Mapping[str, Any]) -> str:
        """The words for a protocol."""
        return self.words if isinstance(self.words, str) else self.words(protocol)


def means_of(*names: str) -> Summarize:
    """The mean over the images of each number, as a quantity of the same name."""
    return lambda protocol, rows: {name: mean(column(rows, name)) for name in names}


def defined(value: float) -> float | None:
    """A number as JSON knows it; None if it is undefined."""
    return float(value) if np.isfinite(value) else None
