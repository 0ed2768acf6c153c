"""What a metric is: one record, which the settings, the summary, the report and the command read."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rap_keras.benchmark.grids import Grid
from rap_keras.benchmark.seeds import Purpose, seed_of
from rap_keras.benchmark.statistics import Ratio, Row, column, mean
from rap_keras.datasets import Sample
from rap_keras.evaluation.heads import Head
from rap_keras.evaluation.replacement import Impute

Record = dict[str, Any]
T = TypeVar("T")
Summarize = Callable[[Mapping[str, Any], Sequence[Row]], dict[str, Ratio]]


class ExplainInputs(Protocol):
    """See `View`."""

    def __call__(  # noqa: D102
        self, x: NDArray[np.float32], stage: str | None = None, first: int = 0
    ) -> NDArray[np.floating]: ...


class Options(Protocol):
    """The settings that single metrics have, see `Settings`."""

    @property
    def tolerance(self) -> int: ...  # noqa: D102
    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def pixels_per_step(self) -> int | None: ...  # noqa: D102
    @property
    def patch(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def top_k(self) -> int: ...  # noqa: D102
    @property
    def draws(self) -> int: ...  # noqa: D102
    @property
    def neighbours(self) -> int: ...  # noqa: D102
    @property
    def radius(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class Scene:
    """An image that is measured, the same for all methods.

    Attributes:
        settings: The benchmark's settings.
        position: Its place in the data set.
        sample: The image with its objects, at the model's input size.
        label: What the data set calls the object; None where that is not known.
        mask: The object.
        x: The model's input `(height, width, channels)`.
        neuron: The neuron that is explained.
        logits: The logits of all neurons; for one output with a sigmoid those of classes 0 and 1.
        head: The model's head.
        other: Another neuron, drawn by chance; None where there is none.
        replacement: What perturbed pixels become.
        predict: From batches of inputs to logits.
        preprocess: From batches of pixels to inputs.
        make_grid: Puts the image between others of other classes; None where these are missing.
    """

    settings: Options
    position: int
    sample: Sample
    label: str | None
    mask: NDArray[np.bool_]
    x: NDArray[np.float32]
    neuron: int
    logits: NDArray[np.floating]
    head: Head
    other: int | None
    replacement: NDArray[np.float32] | float | Impute
    predict: Callable[[NDArray[np.float32]], NDArray[np.floating]]
    preprocess: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    make_grid: Callable[[], Grid | None]

    @property
    def logit(self) -> float:
        """That of the neuron that is explained."""
        return float(self.logits[self.neuron])

    def seed(self, purpose: Purpose) -> list[int]:
        """What random numbers of the image are drawn by."""
        return seed_of(self.settings.seed, self.position, purpose)

    @property
    def void(self) -> NDArray[np.bool_]:
        """Pixels that do not count."""
        return self.sample.void

    @functools.cached_property
    def grid(self) -> Grid | None:
        """The image between others of other classes; None where these are missing."""
        return self.make_grid()

    @property
    def removable(self) -> list[str]:
        """The classes on the image whose objects can be taken away."""
        return [label for label in self.sample.objects if label in self.sample.without]

    @functools.cached_property
    def effects(self) -> NDArray[np.floating] | None:
        """What each logit loses without each removable class, `(classes, neurons)`; None without any."""
        if not self.removable:
            return None
        images = np.stack([self.sample.without[label] for label in self.removable])
        return self.logits - self.predict(self.preprocess(images))


@dataclass(frozen=True)
class View:
    """What measures see of one method's map of one image.

    Attributes:
        scene: The image.
        relevance: The relevance `(height, width, channels)`; None for controls.
        heatmap: Its sum over channels `(height, width)`.
        threshold: Where the heat map's foreground begins.
        contrasted: Whether the neuron is explained against others.
        explain: The method's heat maps `(n, height, width)` of other pixels, uint8
            `(n, height, width, 3)`, or other neurons, of as many views of the method.
        explain_inputs: The method's heat maps `(n, height, width)` of other inputs of the model
            `(n, height, width, channels)`, by the model or, at a stage, by its randomised copy; the
            first of them is the input number `first` of several parts. None where a map is made of
            pixels alone.
        shared: What several metrics take of the map, see `once`.
    """

    scene: Scene
    relevance: NDArray[np.floating] | None
    heatmap: NDArray[np.floating]
    threshold: str | float
    contrasted: bool
    explain: Callable[[Sequence["View"], NDArray[np.uint8], Sequence[int]], NDArray[np.floating]]
    explain_inputs: ExplainInputs | None = None
    shared: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """What is computed for the first metric that asks, and kept for the others."""
        if name not in self.shared:
            self.shared[name] = compute()
        found: T = self.shared[name]
        return found


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


Measure = Callable[[Sequence[View]], list[Record]]


def each(measure: Callable[[View], Record]) -> Measure:
    """Measures the maps of a chunk one by one."""
    return lambda views: [measure(view) for view in views]


def together(
    views: Sequence[View], name: str, compute: Callable[[Sequence[View]], Sequence[T]]
) -> list[T]:
    """What is computed of a chunk's maps for the first metric that asks, and kept for the others."""
    if any(name not in view.shared for view in views):
        for view, found in zip(views, compute(views), strict=True):
            view.shared[name] = found
    return [view.shared[name] for view in views]


def where(
    views: Sequence[View],
    possible: Callable[[View], bool],
    measure: Measure,
    otherwise: Record,
) -> list[Record]:
    """Measures the maps that can be measured together, and says the same of the others."""
    able = [view for view in views if possible(view)]
    found = iter(measure(able) if able else [])
    return [next(found) if possible(view) else dict(otherwise) for view in views]


def _any_sample(sample: Sample) -> None:
    """Most metrics can be measured on every data set."""


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: As it is asked for.
        measure: From one method's maps of the images of a chunk, all of one size, to the numbers of
            each by their names, as JSON knows them; None is an undefined one. `each` makes it of a
            function of a single map.
        summarize: From the protocol and these numbers of every image to quantities by their names.
        columns: The columns of the report.
        table: The title of the report's table that they are in.
        words: What is said above that table: text, or a function from the protocol to it; metrics that
            say the same say it once.
        reference: Where it comes from, as docs/benchmark.md says it.
        medians: The quantities with heavy tails, whose median over the images, NAME_median, is given
            as well.
        curve: Its curve, if it has one; its numbers are then lists over the steps,
            `{name: {"correct": [...], "logit": [...], "probability": [...]}}`.
        beside: A metric with columns of the same labels, and what tells this one's columns from those
            where both are measured.
        check: Refuses a data set that it cannot be measured on, by a sample of it.
        default: Whether it is measured if nothing is said.
        perturbs: Whether it replaces pixels, as the settings say.
        draws: Whether it draws changes of the input by chance, as the settings say.
        stages: The stages of randomised models that it needs.
    """

    name: str
    measure: Measure
    summarize: Summarize
    columns: tuple[Column, ...]
    table: str
    words: str | Callable[[Mapping[str, Any]], str] = ""
    reference: str = ""
    medians: tuple[str, ...] = ()
    curve: Curve | None = None
    beside: tuple[str, str] = ("", "")
    check: Callable[[Sample], None] = _any_sample
    default: bool = True
    perturbs: bool = False
    draws: bool = False
    stages: tuple[str, ...] = ()

    def text(self, protocol: Mapping[str, Any]) -> str:
        """The words for a protocol."""
        return self.words if isinstance(self.words, str) else self.words(protocol)


def means_of(*names: str) -> Summarize:
    """The mean over the images of each number, as a quantity of the same name."""
    return lambda protocol, rows: {name: mean(column(rows, name)) for name in names}


def defined(value: float) -> float | None:
    """A number as JSON knows it; None if it is undefined."""
    return float(value) if np.isfinite(value) else None
