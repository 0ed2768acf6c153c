"""The arguments of a metric: an image and the map of one row of the benchmark."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rap_keras.benchmark.grids import Grid
from rap_keras.datasets import Sample
from rap_keras.evaluation.heads import Head
from rap_keras.evaluation.perturbation import Impute

T = TypeVar("T")
Sharing = TypeVar("Sharing", "Scene", "View")
Pixels = NDArray[np.uint8]
Inputs = NDArray[np.float32]
Stack = NDArray[np.floating]
Replacement = Inputs | float | Impute


@dataclass(frozen=True, kw_only=True)
class Reading:
    """An image that was read.

    Attributes:
        position: Its place in the data set.
        sample: The image with its objects, at the model's input size.
        x: The model's input `(height, width, channels)`.
    """

    position: int
    sample: Sample
    x: Inputs


@dataclass(frozen=True, kw_only=True)
class Scene(Reading):
    """A measured image, the same for all methods.

    Attributes:
        label: The data set's name of the object's class; None if it is not known.
        mask: The object.
        target: The explained class.
        logits: The logits of all classes; for a single sigmoid those of classes 0 and 1.
        head: The model's head.
        predict: A function from batches of inputs to logits.
        replacements: The replacements of perturbed pixels by their names in the settings.
        grid: For the metric grid: the grid of this image and images of other classes; None if there are
            not enough.
        effects: For the metric removal: the drop of each logit without each removable class,
            `(removable classes, classes)`; None if no object can be removed.
        truth: For mechanism tests: the relevance of each cell, `(rows, columns)`.
        shared: Values of the image that all rows of the benchmark use; see `together`.
    """

    label: str | None
    mask: NDArray[np.bool_]
    target: int
    logits: Stack
    head: Head
    predict: Callable[[Inputs], Stack]
    replacements: Mapping[str, Replacement]
    grid: Grid | None = None
    effects: Stack | None = None
    truth: Stack | None = None
    shared: dict[str, Any] = field(default_factory=dict)

    @property
    def replacement(self) -> Replacement:
        """The first of the replacements, which metrics with a single one use."""
        return next(iter(self.replacements.values()))

    @property
    def logit(self) -> float:
        """The logit of the target."""
        return float(self.logits[self.target])

    @property
    def void(self) -> NDArray[np.bool_]:
        """Pixels that are ignored."""
        return self.sample.void


class RowMaps(Protocol):
    """More maps of a row of the benchmark."""

    @property
    def follow_inputs(self) -> bool:
        """Whether its maps depend on the model's inputs; otherwise only on pixels."""
        ...

    def of_pixels(self, scenes: Sequence[Scene], pixels: Pixels, targets: Sequence[int]) -> Stack:
        """The heat maps of pixels `(n, height, width, 3)` or targets that may not be the scenes'."""
        ...

    def of_inputs(self, scene: Scene, x: Inputs, stage: str | None = None, first: int = 0) -> Stack:
        """The heat maps of inputs `(n, height, width, channels)` that may not be the scene's.

        `stage` is that of a randomised copy of the model, and `first` the index of the first input, if
        these are one of several parts.
        """
        ...


@dataclass(frozen=True)
class View:
    """One row's map of one image, for metrics.

    Attributes:
        scene: The image.
        relevance: The relevance `(height, width, channels)`; None for controls.
        heatmap: Its sum over channels `(height, width)`.
        threshold: The threshold of the heat map's foreground.
        contrasted: Whether the target is explained against other classes.
        maps: More maps of the row.
        shared: Values of the map that several metrics use; see `once` and `together`.
    """

    scene: Scene
    relevance: Stack | None
    heatmap: Stack
    threshold: str | float
    contrasted: bool
    maps: RowMaps
    shared: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """A value that the first metric computes and the others reuse."""
        return together([self], name, lambda _: [compute()])[0]


def together(
    items: Sequence[Sharing], name: str, compute: Callable[[Sequence[Sharing]], Iterable[T]]
) -> list[T]:
    """Values of a chunk's maps, or images, that are computed together once and then reused."""
    if any(name not in item.shared for item in items):
        for item, found in zip(items, compute(items), strict=True):
            item.shared[name] = found
    return [item.shared[name] for item in items]
