"""The maps of every row of a benchmark: of methods, and of controls, which explain nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.benchmark.controls import (
    EDGES,
    MEAN_SHIFTED,
    RANDOM,
    SHIFTED_METHOD,
    edges,
    mean_shifted,
    random_map,
)
from rap_keras.benchmark.explainers import Backend, Explain
from rap_keras.benchmark.grids import Size
from rap_keras.benchmark.metrics import Scene, View, chosen
from rap_keras.benchmark.settings import Settings
from rap_keras.errors import InputError
from rap_keras.evaluation import maps
from rap_keras.pipeline.methods import MethodSpec

Stack = NDArray[np.floating]


class MapMaker:
    """Explains by every method of a benchmark, on the model and on its copies.

    Args:
        settings: What to measure, and how.
        backend: The model.

    Attributes:
        rows: The methods and controls.
        explainers: Of each method by its title, on the model (under None), on copies for images of
            another size, and on copies with random parameters (under their stage).

    Raises:
        InputError: A method is not available, or a copy of the model.
    """

    def __init__(self, settings: Settings, backend: Backend) -> None:
        self.rows = settings.rows()
        self._settings = settings
        self.backend = backend
        self._methods: dict[str, MethodSpec] = {
            row.title: row for row in self.rows if not row.is_control
        }
        if settings.controls:
            self._methods.setdefault(SHIFTED_METHOD, MethodSpec(SHIFTED_METHOD, SHIFTED_METHOD))
        self.explainers: dict[Size | str | None, dict[str, Explain]] = {None: self._made(backend)}
        for stage in sorted({stage for m in chosen(settings.metrics) for stage in m.stages}):
            self.explainers[stage] = self._made(backend.randomised(stage))

    def _made(self, backend: Backend) -> dict[str, Explain]:
        return {title: backend.explainer(method) for title, method in self._methods.items()}

    def at(self, size: Size) -> dict[str, Explain]:
        """The explainers of images of a size, which may be larger than the model's own."""
        if self.backend.loaded.input_size in (None, size):
            return self.explainers[None]
        if size not in self.explainers:
            self.explainers[size] = self._made(self.backend.enlarged(size))
        return self.explainers[size]

    def views(self, scenes: Sequence[Scene]) -> dict[str, list[View]]:
        """The maps of each row, as metrics see them.

        Args:
            scenes: Images of one size.

        Raises:
            InputError: A method gives numbers that are not finite.
        """
        x, targets = np.stack([s.x for s in scenes]), [s.target for s in scenes]
        relevances = {
            title: _finite(title, explain(x, targets))
            for title, explain in self.explainers[None].items()
        }
        views = {}
        for row in self.rows:
            found = _RowMaps(self, row.title, self._settings.seed)
            relevance = relevances.get(row.title)
            if row.title in (RANDOM, EDGES):
                images = np.stack([s.sample.image for s in scenes])
                heatmaps = found.of_pixels(scenes, images, targets)
            else:
                heatmaps = found.shown(relevances[found.method])
            views[row.title] = [
                View(
                    scene,
                    None if relevance is None else relevance[k],
                    heatmaps[k],
                    row.threshold,
                    row.is_contrasted,
                    found,
                )
                for k, scene in enumerate(scenes)
            ]
        return views


@dataclass(frozen=True)
class _RowMaps:
    """The maps of one row, see `metrics.RowMaps`."""

    maker: MapMaker
    title: str
    seed: int

    @property
    def follow_inputs(self) -> bool:
        return self.title != EDGES

    @property
    def method(self) -> str:
        """The title of the method whose maps these are, or are made of."""
        return SHIFTED_METHOD if self.title == MEAN_SHIFTED else self.title

    def of_pixels(
        self, scenes: Sequence[Scene], pixels: NDArray[np.uint8], targets: Sequence[int]
    ) -> Stack:
        if self.title == EDGES:
            return _stacked(edges, pixels)
        size = pixels.shape[1], pixels.shape[2]
        if self.title == RANDOM:
            return _stacked(lambda scene: random_map(size, self.seed, scene.position), scenes)
        x = self.maker.backend.loaded.preprocess(pixels)
        return self._explained(self.maker.at(size), x, targets)

    def of_inputs(
        self, scene: Scene, x: NDArray[np.float32], stage: str | None = None, first: int = 0
    ) -> Stack:
        if self.title == RANDOM:
            noise = random_map((x.shape[1], x.shape[2]), self.seed, scene.position)
            return np.stack([noise] * len(x))
        return self._explained(self.maker.explainers[stage], x, [scene.target] * len(x), first)

    def _explained(
        self,
        explainers: Mapping[str, Explain],
        x: NDArray[np.float32],
        targets: Sequence[int],
        first: int = 0,
    ) -> Stack:
        explain = explainers[self.method]
        return self.shown(_finite(self.method, explain(x, targets, first)))

    def shown(self, relevance: Stack) -> Stack:
        """The heat maps of relevance of the method."""
        heatmaps = _stacked(maps.heatmap, relevance)
        return _stacked(mean_shifted, heatmaps) if self.title == MEAN_SHIFTED else heatmaps


def _finite(title: str, relevance: Stack) -> Stack:
    if not np.isfinite(relevance).all():
        raise InputError(f"{title} gave relevance that is not finite; leave that method out.")
    return relevance


def _stacked(function: Callable[[Any], NDArray[Any]], items: Iterable[Any]) -> NDArray[Any]:
    return np.stack([function(item) for item in items])
