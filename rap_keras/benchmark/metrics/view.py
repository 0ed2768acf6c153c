"""What a metric sees: an image, and the map of one row of the benchmark."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rap_keras.benchmark.grids import Grid
from rap_keras.datasets import Sample
from rap_keras.evaluation.heads import Head
from rap_keras.evaluation.perturbation import Impute

T = TypeVar("T")
Pixels = NDArray[np.uint8]
Inputs = NDArray[np.float32]
Stack = NDArray[np.floating]


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
    """An image that is measured, the same for all methods.

    Attributes:
        label: What the data set calls the object; None where that is not known.
        mask: The object.
        target: The neuron that is explained.
        logits: The logits of all neurons; for one output with a sigmoid those of classes 0 and 1.
        head: The model's head.
        predict: From batches of inputs to logits.
        replacement: What perturbed pixels become.
        grid: For the metric grid: the image between others of other classes; None where these are
            missing.
        effects: For the metric removal: what each logit loses without each removable class,
            `(classes, neurons)`; None where no object can be removed.
    """

    label: str | None
    mask: NDArray[np.bool_]
    target: int
    logits: Stack
    head: Head
    predict: Callable[[Inputs], Stack]
    replacement: Inputs | float | Impute
    grid: Grid | None = None
    effects: Stack | None = None

    @property
    def logit(self) -> float:
        """The logit of the target."""
        return float(self.logits[self.target])

    @property
    def void(self) -> NDArray[np.bool_]:
        """Pixels that do not count."""
        return self.sample.void


class RowMaps(Protocol):
    """More maps of a row of the benchmark.

    Attributes:
        follow_inputs: Whether its maps depend on the model's inputs; else they are made of pixels alone.
    """

    @property
    def follow_inputs(self) -> bool: ...  # noqa: D102

    def of_pixels(self, scenes: Sequence[Scene], pixels: Pixels, targets: Sequence[int]) -> Stack:
        """The heat maps `(n, height, width)` of other pixels or other targets than the scenes'.

        Args:
            scenes: Where the images come from.
            pixels: uint8 `(n, height, width, 3)`.
            targets: The neuron of each.
        """
        ...

    def of_inputs(self, scene: Scene, x: Inputs, stage: str | None = None, first: int = 0) -> Stack:
        """The heat maps `(n, height, width)` of other inputs of the model than the scene's.

        Args:
            scene: Where the inputs come from; its target is explained.
            x: The inputs `(n, height, width, channels)`.
            stage: That of a randomised copy of the model; None: the model itself.
            first: The number of the first of them, where they are one of several parts.
        """
        ...


@dataclass(frozen=True)
class View:
    """What metrics see of one row's map of one image.

    Attributes:
        scene: The image.
        relevance: The relevance `(height, width, channels)`; None for controls.
        heatmap: Its sum over channels `(height, width)`.
        threshold: Where the heat map's foreground begins.
        contrasted: Whether the target is explained against others.
        maps: More maps of the row.
        shared: What several metrics take of the map, see `once` and `together`.
    """

    scene: Scene
    relevance: Stack | None
    heatmap: Stack
    threshold: str | float
    contrasted: bool
    maps: RowMaps
    shared: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """What is computed for the first metric that asks, and kept for the others."""
        if name not in self.shared:
            self.shared[name] = compute()
        found: T = self.shared[name]
        return found


def together(
    views: Sequence[View], name: str, compute: Callable[[Sequence[View]], Sequence[T]]
) -> list[T]:
    """What is computed of a chunk's maps for the first metric that asks, and kept for the others."""
    if any(name not in view.shared for view in views):
        for view, found in zip(views, compute(views), strict=True):
            view.shared[name] = found
    return [view.shared[name] for view in views]
