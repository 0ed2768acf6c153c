"""Measures metrics on maps that are degraded to known levels, which shows whether the metrics are valid.

A map m becomes (1 - a) m + a s n: n is Gaussian noise with standard deviation 1, and s is the standard
deviation of m. Or it becomes (1 - a) m + a m', where m' is m shifted cyclically by half the height and
width. A valid metric orders the shares a. After Zheng et al., "F-Fidelity", ICLR 2025, arXiv
2410.02970, and Hedström et al., "The meta-evaluation problem in explainable AI: identifying reliable
estimators with MetaQuantus", TMLR 2023, arXiv 2302.07265. The levels, the shift and the mixtures are our
reading.
"""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rap_keras.benchmark.comparison import per_image
from rap_keras.benchmark.metrics import Metric, RowMaps, Scene, View
from rap_keras.benchmark.metrics.view import Inputs, Pixels, Stack
from rap_keras.benchmark.seeds import Purpose, seed_of
from rap_keras.benchmark.settings import Settings
from rap_keras.benchmark.statistics import Array, Json, rounded
from rap_keras.models.randomisation import STAGES

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""The shares of noise, or of the shifted copy, in the degraded maps."""
NOISE, SHIFT, AGAIN = "noise", "shift", "again"
KINDS = (NOISE, SHIFT, AGAIN)
"""Mixed with noise, mixed with a shifted copy, and mixed with other noise (the re-test)."""

Values = dict[str, dict[str, list[float | None]]]


@dataclass(frozen=True)
class Degrade:
    """Degrades maps."""

    kind: str  # one of `KINDS`
    share: float  # a, of noise or of the shifted copy, from 0 to 1
    run: int  # the seed of the run

    def __call__(self, heatmap: Stack, position: int, *key: int) -> Array:
        """A degraded map `(height, width)`; one without any spread gets noise with deviation 1.

        `key` distinguishes this map from other maps of the image. Maps with different keys get
        independent noise, so a noisy method has different maps for different inputs.
        """
        heatmap = np.asarray(heatmap, np.float64)
        if self.kind == SHIFT:
            height, width = heatmap.shape
            other = np.roll(heatmap, (height // 2, width // 2), axis=(0, 1))
        else:
            purpose = Purpose.DEGRADED if self.kind == NOISE else Purpose.DEGRADED_AGAIN
            generator = np.random.default_rng([*seed_of(self.run, position, purpose), *key])
            other = generator.normal(size=heatmap.shape) * (heatmap.std() or 1.0)
        return (1 - self.share) * heatmap + self.share * other

    def view(self, view: View, maps: RowMaps) -> View:
        """The view of a degraded map; `maps`, more maps of its row, are degraded as well.

        What is added to the heat map is divided equally among the channels of the relevance.
        """
        heatmap = self(view.heatmap, view.scene.position, 0)
        relevance = view.relevance
        if relevance is not None:
            kept = (1 - self.share) * np.asarray(relevance, np.float64)
            added = heatmap - (1 - self.share) * np.asarray(view.heatmap, np.float64)
            relevance = kept + added[..., np.newaxis] / relevance.shape[-1]
        degraded = _DegradedMaps(maps, self)
        return replace(view, relevance=relevance, heatmap=heatmap, maps=degraded, shared={})


class _DegradedMaps:
    """More maps of a row, degraded."""

    def __init__(self, maps: RowMaps, degrade: Degrade) -> None:
        self._maps = maps
        self._degrade = degrade

    @property
    def follow_inputs(self) -> bool:
        return self._maps.follow_inputs

    def of_pixels(self, scenes: Sequence[Scene], pixels: Pixels, targets: Sequence[int]) -> Stack:
        heatmaps = self._maps.of_pixels(scenes, pixels, targets)
        size = pixels.shape[1:3]
        maps = zip(heatmaps, scenes, targets, strict=True)
        return np.stack([self._degrade(m, s.position, 1, int(t), *size) for m, s, t in maps])

    def of_inputs(self, scene: Scene, x: Inputs, stage: str | None = None, first: int = 0) -> Stack:
        heatmaps = self._maps.of_inputs(scene, x, stage, first)
        number = 0 if stage is None else 1 + STAGES.index(stage)
        return np.stack(
            [
                self._degrade(heatmap, scene.position, 2, number, first + k)
                for k, heatmap in enumerate(heatmaps)
            ]
        )


class _Remembered:
    """More maps of a row, computed once for all levels."""

    def __init__(self, maps: RowMaps) -> None:
        self._maps = maps
        self._found: dict[Hashable, Stack] = {}

    @property
    def follow_inputs(self) -> bool:
        return self._maps.follow_inputs

    def of_pixels(self, scenes: Sequence[Scene], pixels: Pixels, targets: Sequence[int]) -> Stack:
        key = tuple(s.position for s in scenes), _digest(pixels), tuple(map(int, targets))
        return self._once(key, lambda: self._maps.of_pixels(scenes, pixels, targets))

    def of_inputs(self, scene: Scene, x: Inputs, stage: str | None = None, first: int = 0) -> Stack:
        key = scene.position, _digest(x), stage, first
        return self._once(key, lambda: self._maps.of_inputs(scene, x, stage, first))

    def _once(self, key: Hashable, compute: Callable[[], Stack]) -> Stack:
        if key not in self._found:
            self._found[key] = compute()
        return self._found[key]


def _digest(array: Array) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()


def directions(metrics: Sequence[Metric]) -> dict[str, str]:
    """The quantities that can be validated, each with its better direction, "lower" or "higher".

    A median over the images is validated by the values of its mean.
    """
    return {
        column.quantity.removesuffix("_median"): column.better
        for metric in metrics
        for column in metric.columns
        if column.better
    }


def values_of(
    metrics: Sequence[Metric], protocol: Json, numbers: Sequence[Json]
) -> dict[str, Array]:
    """The value of each image, shape (images,), of every quantity that can be validated."""
    wanted = directions(metrics)
    return {
        name: per_image(ratio)
        for metric in metrics
        for name, ratio in metric.quantities(protocol, numbers).items()
        if name in wanted
    }


def measured(
    views: Sequence[View], metrics: Sequence[Metric], settings: Settings, protocol: Json
) -> list[Values]:
    """Measures the metrics on degraded copies of a method's maps of the images of a chunk.

    For each map, the values of each quantity: for each of `KINDS` a list over `SHARES`; None is
    undefined. A map without any spread has no order to lose, so its entry is empty.
    """
    found: list[Values] = [{} for _ in views]
    spread = [k for k, view in enumerate(views) if np.ptp(view.heatmap) > 0]
    if not spread:
        return found
    maps = _Remembered(views[0].maps)
    # The metrics' own draws differ in the re-test as well.
    other = replace(settings, seed=(settings.seed + 1) % 2**32)
    for kind in KINDS:
        given: Any = other if kind == AGAIN else settings
        for share in SHARES:
            degrade = Degrade(kind, share, settings.seed)
            degraded = [degrade.view(views[k], maps) for k in spread]
            parts = [metric.measured(degraded, given) for metric in metrics]
            numbers = [
                {name: n for part in parts for name, n in part[k].items()}
                for k in range(len(spread))
            ]
            for quantity, values in values_of(metrics, protocol, numbers).items():
                for k, value in zip(spread, values, strict=True):
                    entry = found[k].setdefault(quantity, {name: [] for name in KINDS})
                    entry[kind].append(rounded(value))
    return found
