"""The maps of every row of a benchmark: methods and controls."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.benchmark.explainers import Backend, Explain
from rap_keras.benchmark.grids import Size
from rap_keras.benchmark.metrics import RowMaps, Scene, View, chosen
from rap_keras.benchmark.metrics.view import Inputs, Pixels, Stack
from rap_keras.benchmark.rows import EDGES, MEAN_SHIFTED, RANDOM, SHIFTED_METHOD, Row
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
        return np.stack([maps.heatmap(one) for one in relevance])


class _MeanShifted(_OfMethod):
    """A method's heat maps minus their means: they have negative values, which mean nothing."""

    def heatmaps(self, relevance: Stack) -> Stack:
        heatmaps = np.asarray(super().heatmaps(relevance), np.float64)
        return np.stack([heatmap - heatmap.mean() for heatmap in heatmaps])


class _Noise:
    """Gaussian noise with standard deviation 1, the same for the same seed and place in the data set."""

    follow_inputs = True

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def of_pixels(self, scenes: Sequence[Scene], pixels: Pixels, targets: Sequence[int]) -> Stack:
        return np.stack([self._drawn(scene, pixels) for scene in scenes])

    def of_inputs(self, scene: Scene, x: Inputs, stage: str | None = None, first: int = 0) -> Stack:
        return np.stack([self._drawn(scene, x)] * len(x))

    def _drawn(self, scene: Scene, images: NDArray[Any]) -> Stack:
        generator = np.random.default_rng([self._seed, scene.position])
        return generator.normal(size=images.shape[1:3])


class _Edges:
    """The gradient magnitude of an image's brightness, by Sobel's filters."""

    follow_inputs = False

    def of_pixels(self, scenes: Sequence[Scene], pixels: Pixels, targets: Sequence[int]) -> Stack:
        from scipy import ndimage

        brightness = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
        return np.stack([np.hypot(ndimage.sobel(b, 0), ndimage.sobel(b, 1)) for b in brightness])

    def of_inputs(self, scene: Scene, x: Inputs, stage: str | None = None, first: int = 0) -> Stack:
        raise NotImplementedError("Edges are computed from pixels.")


def _finite(title: str, relevance: Stack) -> Stack:
    if not np.isfinite(relevance).all():
        raise InputError(
            f"Expected finite relevance from {title}, got infinity or NaN: leave this method out."
        )
    return relevance
