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
from scipy import stats

from rap_keras.benchmark.comparison import per_image
from rap_keras.benchmark.metrics import Metric, RowMaps, Scene, View
from rap_keras.benchmark.metrics.metric import measured as measured_by
from rap_keras.benchmark.metrics.view import Inputs, Pixels, Stack
from rap_keras.benchmark.seeds import Purpose, seed_of
from rap_keras.benchmark.settings import Settings
from rap_keras.benchmark.statistics import Array, Json, estimated, mean, mean_of_defined, rounded
from rap_keras.models.randomisation import STAGES

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""The shares of noise, or of the shifted copy, in the degraded maps."""
NOISE, SHIFT, AGAIN = "noise", "shift", "again"
KINDS = (NOISE, SHIFT, AGAIN)
"""Mixed with noise, mixed with a shifted copy, and mixed with other noise (the re-test)."""

LEAST = {NOISE: 0.5, SHIFT: 0.0}
"""A metric is valid if the lower ends of the 95 % intervals of its correlations are above these.

A metric that does not depend on the place of relevance is not judged by shifts.
"""
FEWEST = 6
"""A metric is not judged on fewer images: the ends of their intervals say little."""
_DIGITS = 6  # further digits of a map's values, relative to the largest, are rounding errors

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
        column.mean: column.better
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
            numbers = measured_by(metrics, degraded, given)
            for quantity, values in values_of(metrics, protocol, numbers).items():
                for k, value in zip(spread, values, strict=True):
                    entry = found[k].setdefault(quantity, {name: [] for name in KINDS})
                    entry[kind].append(rounded(value))
    return found


def validation(
    metrics: Sequence[Metric], protocol: Json, kept: Sequence[Json], weights: Array
) -> dict[str, Any]:
    """Summarizes the values on degraded maps in the records, of which some have a `validation`.

    Returns:
        For each quantity `noise` and `shift`: the correlation of `order_kept` of the median method on
        each image, as a mean over images with its error. The order is known only for maps that are
        better than noise; the median allows for some methods whose maps are not. `methods` has the
        correlations with noise of each method. `shift` is undefined, with 0 images, if the shifted
        copy of a map always has the value of the map. `retest`, see `retest_variance`; and `valid`,
        whether the 95 % intervals lie above `LEAST`. `None` is undefined.
    """
    titles = [method["title"] for method in protocol["methods"] if not method.get("control")]
    found = {title: _series(metrics, protocol, kept, title) for title in titles}
    summary = {}
    for name, better in directions(metrics).items():
        series = {kind: np.array([found[title][name][kind] for title in titles]) for kind in KINDS}
        order = {
            kind: order_kept(series[kind] * (-1 if better == "lower" else 1)) for kind in LEAST
        }
        if not sees_place(series[SHIFT]):
            order[SHIFT][:] = np.nan
        entry: dict[str, Any] = {
            kind: estimated(mean(_median_method(of_kind)), weights)
            for kind, of_kind in order.items()
        }
        of_methods = map(rounded, mean_of_defined(order[NOISE]))
        summary[name] = {
            **entry,
            "retest": rounded(retest_variance(series[NOISE][..., 1:], series[AGAIN][..., 1:])),
            "valid": _is_valid(entry),
            "methods": dict(zip(titles, of_methods, strict=True)),
        }
    return summary


def _median_method(values: Array) -> Array:
    """The median over the methods where it is defined, from `(methods, images)` to `(images,)`."""
    defined = np.isfinite(values).any(axis=0)
    found = np.full(values.shape[1], np.nan)
    found[defined] = np.nanmedian(values[:, defined], axis=0)
    return found


def _is_valid(entry: Json) -> bool | None:
    """See `validation`; None with fewer than `FEWEST` images."""
    judged = [kind for kind in LEAST if kind == NOISE or entry[kind]["images"]]
    ends = {kind: entry[kind]["interval"][0] for kind in judged}
    if None in ends.values() or min(entry[kind]["images"] for kind in judged) < FEWEST:
        return None
    return all(end > LEAST[kind] for kind, end in ends.items())


def _series(
    metrics: Sequence[Metric], protocol: Json, kept: Sequence[Json], title: str
) -> dict[str, dict[str, Array]]:
    """For each quantity and kind a method's values at the shares 0 and `SHARES`, `(images, levels)`."""
    found = {}
    degraded = [record.get("validation", {}).get(title, {}) for record in kept]
    first = values_of(metrics, protocol, [record["results"][title] for record in kept])
    for name, values in first.items():
        series = {kind: np.full((len(kept), 1 + len(SHARES)), np.nan) for kind in KINDS}
        for k, of_image in enumerate(degraded):
            for kind in KINDS if name in of_image else ():
                series[kind][k] = np.array([values[k], *of_image[name][kind]], np.float64)
        found[name] = series
    return found


def order_kept(values: Array) -> Array:
    """Spearman's correlation of a metric's values with the known order of the maps.

    The maps are degraded more and more, `(..., levels)`, and higher values are better. 1 if each map is
    worse than the map before; 0 if all values are equal, up to rounding; NaN if a value is undefined.
    """
    defined = np.isfinite(values).all(axis=-1)
    chosen = values[defined]
    largest = np.abs(chosen).max(axis=-1, keepdims=True, initial=0)
    ranks = stats.rankdata(np.round(chosen / np.where(largest, largest, 1), _DIGITS), axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    known = -np.arange(values.shape[-1], dtype=np.float64)
    known -= known.mean()
    spread = np.sqrt((ranks**2).sum(axis=-1) * (known**2).sum())
    found = np.full(values.shape[:-1], np.nan)
    found[defined] = (ranks @ known) / np.where(spread, spread, 1)
    return found


def sees_place(values: Array) -> bool:
    """Whether a shifted map, the last of the levels, has another value than the map, the first."""
    first, last = values[..., 0], values[..., -1]
    largest = np.maximum(np.abs(first), np.abs(last))
    return bool((np.abs(first - last) > 10.0**-_DIGITS * largest).any())


def retest_variance(first: Array, second: Array) -> float:
    """The variance between two draws of the same level, as a share of the variance of all values.

    0 if both draws give the same value, near 1 if a value shows nothing about the other one. NaN without
    values, or if all are equal.
    """
    both = np.isfinite(first) & np.isfinite(second)
    pairs = np.stack([first[both], second[both]])
    if not pairs.size:
        return np.nan
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(pairs.var())
        return float(((pairs[0] - pairs[1]) ** 2).mean() / 2 / total) if total else np.nan
