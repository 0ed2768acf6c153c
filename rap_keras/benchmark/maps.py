"""The maps of every row of a benchmark: methods and controls."""

from collections.abc import Callable, Iterable, Sequence
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
from rap_keras.benchmark.metrics import RowMaps, Scene, View, chosen
from rap_keras.benchmark.metrics.view import Inputs, Pixels, Stack
from rap_keras.benchmark.rows import Row
from rap_keras.benchmark.settings import Settings
from rap_keras.errors import InputError
from rap_keras.evaluation import maps
from rap_keras.pipeline.methods import MethodSpec

Explainers = dict[str, Explain]


class MapMaker:
    """Explains with the rows of a benchmark, by default all, on the model and on its copies.

    `explainers` has those of the methods by title: on the model (under None), on copies for images of
    another size, and on copies with random parameters (under their stage).
    """

    def __init__(
        self, settings: Settings, backend: Backend, rows: Sequence[Row] | None = None
    ) -> None:
        self.rows = settings.rows() if rows is None else rows
        self.backend = backend
        self._methods: dict[str, MethodSpec] = {
            row.title: row for row in self.rows if not row.is_control
        }
        if any(row.name == MEAN_SHIFTED for row in self.rows):
            self._methods.setdefault(SHIFTED_METHOD, MethodSpec(SHIFTED_METHOD, SHIFTED_METHOD))
        self.explainers: dict[Size | str | None, Explainers] = {None: self._made(backend)}
        for stage in sorted({stage for m in chosen(settings.metrics) for stage in m.stages}):
            self.explainers[stage] = self._made(backend.randomised(stage))
        self._maps: dict[str, RowMaps] = {title: _OfMethod(self, title) for title in self._methods}
        self._maps[MEAN_SHIFTED] = _MeanShifted(self, SHIFTED_METHOD)
        self._maps |= {RANDOM: _Noise(settings.seed), EDGES: _Edges()}

    def _made(self, backend: Backend) -> Explainers:
        return {title: backend.explainer(method) for title, method in self._methods.items()}

    def at(self, size: Size) -> Explainers:
        """The explainers for images of a size, which may be larger than the model's input size."""
        if self.backend.loaded.input_size in (None, size):
            return self.explainers[None]
        if size not in self.explainers:
            self.explainers[size] = self._made(self.backend.enlarged(size))
        return self.explainers[size]

    def views(self, scenes: Sequence[Scene]) -> dict[str, list[View]]:
        """The views of the maps of each row, for images of one size."""
        x, targets = np.stack([s.x for s in scenes]), [s.target for s in scenes]
        relevances = {
            title: _finite(title, explain(x, targets))
            for title, explain in self.explainers[None].items()
        }
        images = np.stack([s.sample.image for s in scenes])
        views = {}
        for row in self.rows:
            more, relevance = self._maps[row.title], relevances.get(row.title)
            if isinstance(more, _OfMethod):
                heatmaps = more.heatmaps(relevances[more.title])
            else:
                heatmaps = more.of_pixels(scenes, images, targets)
            views[row.title] = [
                View(
                    scene,
                    None if relevance is None else relevance[k],
                    heatmaps[k],
                    row.threshold,
                    row.is_contrasted,
                    more,
                )
                for k, scene in enumerate(scenes)
            ]
        return views


class _OfMethod:
    """The maps of a method."""

    follow_inputs = True

    def __init__(self, maker: MapMaker, title: str) -> None:
        self._maker = maker
        self.title = title

    def of_pixels(self, scenes: Sequence[Scene], pixels: Pixels, targets: Sequence[int]) -> Stack:
        explainers = self._maker.at((pixels.shape[1], pixels.shape[2]))
        return self._explained(explainers, self._maker.backend.loaded.preprocess(pixels), targets)

    def of_inputs(self, scene: Scene, x: Inputs, stage: str | None = None, first: int = 0) -> Stack:
        targets = [scene.target] * len(x)
        return self._explained(self._maker.explainers[stage], x, targets, first)

    def _explained(self, explainers: Explainers, *given: Any) -> Stack:
        return self.heatmaps(_finite(self.title, explainers[self.title](*given)))

    def heatmaps(self, relevance: Stack) -> Stack:
        return _stacked(maps.heatmap, relevance)


class _MeanShifted(_OfMethod):
    """The control that is computed from a method's maps."""

    def heatmaps(self, relevance: Stack) -> Stack:
        return _stacked(mean_shifted, super().heatmaps(relevance))


class _Noise:
    """The control that depends only on the place in the data set."""

    follow_inputs = True

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def of_pixels(self, scenes: Sequence[Scene], pixels: Pixels, targets: Sequence[int]) -> Stack:
        size = pixels.shape[1], pixels.shape[2]
        return _stacked(lambda scene: random_map(size, self._seed, scene.position), scenes)

    def of_inputs(self, scene: Scene, x: Inputs, stage: str | None = None, first: int = 0) -> Stack:
        return np.stack([random_map((x.shape[1], x.shape[2]), self._seed, scene.position)] * len(x))


class _Edges:
    """The control that depends only on the pixels."""

    follow_inputs = False

    def of_pixels(self, scenes: Sequence[Scene], pixels: Pixels, targets: Sequence[int]) -> Stack:
        return _stacked(edges, pixels)

    def of_inputs(self, scene: Scene, x: Inputs, stage: str | None = None, first: int = 0) -> Stack:
        raise NotImplementedError("Edges are computed from pixels.")


def _finite(title: str, relevance: Stack) -> Stack:
    if not np.isfinite(relevance).all():
        raise InputError(
            f"Expected finite relevance from {title}, got infinity or NaN: leave this method out."
        )
    return relevance


def _stacked(function: Callable[[Any], NDArray[Any]], items: Iterable[Any]) -> NDArray[Any]:
    return np.stack([function(item) for item in items])
