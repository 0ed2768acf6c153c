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
    """An image that was read."""

    position: int  # its place in the data set
    sample: Sample  # the image with its objects, at the model's input size
    x: Inputs  # the model's input `(height, width, channels)`


@dataclass(frozen=True, kw_only=True)
class Scene(Reading):
    """A measured image, the same for all methods."""

    label: str | None  # the data set's name of the object's class, if it is known
    mask: NDArray[np.bool_]  # the object
    target: int  # the explained class
    logits: Stack  # of all classes; for a single sigmoid those of classes 0 and 1
    head: Head
    predict: Callable[[Inputs], Stack]  # from batches of inputs to logits
    replacements: Mapping[str, Replacement]  # of perturbed pixels, by their names in the settings
    # For the metric grid: this image and images of other classes, if there are enough.
    grid: Grid | None = None
    # For the metric removal: the drop of each logit without each removable class, if there are any,
    # `(removable classes, classes)`.
    effects: Stack | None = None
    truth: Stack | None = None  # for mechanism tests: the relevance of each cell, `(rows, columns)`
    shared: dict[str, Any] = field(default_factory=dict)  # see `together`

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
    """One row's map of one image, for metrics."""

    scene: Scene
    relevance: Stack | None  # `(height, width, channels)`; None for controls
    heatmap: Stack  # its sum over channels, `(height, width)`
    threshold: str | float  # of the heat map's foreground
    contrasted: bool  # whether the target is explained against other classes
    maps: RowMaps  # more maps of the row
    shared: dict[str, Any] = field(default_factory=dict)  # see `once` and `together`

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
