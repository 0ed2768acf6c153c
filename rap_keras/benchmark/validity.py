"""Whether the metrics are valid: whether they order maps by how much these were degraded."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from rap_keras.benchmark.metrics import Metric
from rap_keras.benchmark.statistics import Array, Json, estimated, mean, mean_of_defined, rounded
from rap_keras.benchmark.validation import AGAIN, KINDS, NOISE, SHARES, SHIFT, directions, values_of

LEAST = {NOISE: 0.5, SHIFT: 0.0}
"""A metric is valid if the lower ends of the 95 % intervals of its correlations are above these.

A metric that does not depend on the place of relevance is not judged by shifts.
"""
FEWEST = 6
"""A metric is not judged on fewer images: the ends of their intervals say little."""
_DIGITS = 6  # further digits of a map's values, relative to the largest, are rounding errors


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
    found = {
        title: _series(metrics, protocol, [_of_method(record, title) for record in kept])
        for title in titles
    }
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


def _of_method(record: Json, title: str) -> tuple[Json, Json]:
    """The numbers and the values on degraded maps of a method on an image."""
    return record["results"][title], record.get("validation", {}).get(title, {})


def _series(
    metrics: Sequence[Metric], protocol: Json, of_images: Sequence[tuple[Json, Json]]
) -> dict[str, dict[str, Array]]:
    """For each quantity and kind the values at the shares 0 and `SHARES`, `(images, levels)`.

    They are NaN for images without validation.
    """
    first = values_of(metrics, protocol, [numbers for numbers, _ in of_images])
    nothing = [None] * len(SHARES)
    return {
        name: {
            kind: np.array(
                [
                    [value, *entry[name][kind]] if name in entry else [None, *nothing]
                    for value, (_, entry) in zip(values, of_images, strict=True)
                ],
                dtype=np.float64,
            )
            for kind in KINDS
        }
        for name, values in first.items()
    }


def order_kept(values: Array) -> Array:
    """Spearman's correlation of a metric's values with the known order of the maps.

    Args:
        values: Those of maps that are degraded more and more, `(..., levels)`, turned so that higher is
            better.

    Returns:
        1 if each map is worse than the map before; 0 if all values are equal, up to rounding; NaN if a
        value is undefined.
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
