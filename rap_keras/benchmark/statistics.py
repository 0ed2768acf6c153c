"""Estimates over images with standard errors.

Images are resampled, not pixels. One matrix of weights, the number of draws of each image in each
resample, is used for every quantity of every method. So methods stay paired: the standard error of a
difference is that of paired values. A pooled ratio or a whole curve is one matrix product.
`scipy.stats.bootstrap` would draw again for each statistic.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A smaller spread, relative to the value, is a rounding error of sums.
ROUNDING = 1e-12
# Further digits depend on the order in which a machine's BLAS adds.
DIGITS = 10

Array = NDArray[Any]
Json = Mapping[str, Any]  # a protocol, a record or a summary
Numbers = Mapping[str, Any]  # of one row on one image


@dataclass(frozen=True)
class Ratio:
    """A sum over images divided by another sum, averaged over the defined columns.

    A mean over images has numerators x and denominators 1, or 0 and 0 where it is undefined.
    """

    numerators: Array  # of shape (images, columns)
    denominators: Array  # nonnegative, of the same shape

    @property
    def defined(self) -> Array:
        """Which images count, shape (images,)."""
        return np.any(self.denominators > 0, axis=1)

    def among(self, chosen: Array) -> "Ratio":
        """The same for some of the images."""
        return Ratio(self.numerators * chosen[:, None], self.denominators * chosen[:, None])

    def __call__(self, weights: Array) -> Array:
        """The estimate for each row of weights (any number, images); NaN where undefined."""
        return mean_of_defined(divide(weights @ self.numerators, weights @ self.denominators))


@dataclass(frozen=True)
class Median:
    """The median over the images where a value, of shape (images,), is not NaN."""

    values: Array

    def __call__(self, weights: Array) -> Array:
        """The median for each row of weights, which are numbers of draws."""
        order = np.argsort(self.values)[: np.count_nonzero(~np.isnan(self.values))]
        if not len(order):
            return np.full(len(weights), np.nan)
        drawn = np.cumsum(weights[:, order], axis=1)
        total = drawn[:, -1:]
        lower = (drawn > (total - 1) // 2).argmax(axis=1)
        upper = (drawn > total // 2).argmax(axis=1)
        ranked = self.values[order]
        middle = ranked[lower] + (ranked[upper] - ranked[lower]) / 2
        return np.where(total[:, 0] > 0, middle, np.nan)


def mean(values: Array) -> Ratio:
    """The mean over the images where a value is finite."""
    finite = np.isfinite(values)
    return Ratio(np.where(finite, values, 0.0)[:, None], finite.astype(np.float64)[:, None])


def column(numbers: Sequence[Numbers], name: str) -> Array:
    """A number of each image, NaN where it is undefined."""
    return np.array([image[name] for image in numbers], dtype=np.float64)


def divide(numerators: Array, denominators: Array) -> Array:
    """The quotients, NaN where the denominator is zero."""
    undefined = np.full(numerators.shape, np.nan)
    return np.divide(numerators, denominators, out=undefined, where=denominators > 0)


def mean_of_defined(values: Array) -> Array:
    """The mean of each row's entries that are not NaN; NaN where all are."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1))


def resample(images: int, resamples: int, seed: int) -> Array:
    """The number of draws of each image in each resample, (resamples, images)."""
    drawn = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), resamples)
    return drawn.astype(np.float64)


def estimated(ratio: Ratio, weights: Array) -> dict[str, float | int | None]:
    """A ratio with its error, JSON-serialisable."""
    return _entry(ratio, ratio.defined, weights)


def median(ratio: Ratio, weights: Array) -> dict[str, float | int | None]:
    """The median over the images of the values of a mean."""
    values = np.where(ratio.defined, ratio.numerators[:, 0], np.nan)
    return _entry(Median(values), ratio.defined, weights)


def difference(ratio: Ratio, reference: Ratio, weights: Array) -> dict[str, float | int | None]:
    """The paired difference, over the images where both are defined."""
    both = ratio.defined & reference.defined
    left, right = ratio.among(both), reference.among(both)
    return _entry(lambda of: left(of) - right(of), both, weights)


def mean_curve(curves: Array, weights: Array) -> dict[str, list[float | None]]:
    """The mean of curves (images, points), with a standard error at each point."""
    images, points = curves.shape
    spread = _spread(weights @ curves / images) if images > 1 else np.full(points, np.nan)
    return {
        "value": [rounded(value) for value in curves.mean(axis=0)],
        "standard_error": [rounded(error) for error in spread],
    }


def _entry(estimate: Callable[[Array], Array], defined: Array, weights: Array) -> dict[str, Any]:
    """An estimate with the standard deviation of its resamples, if there are at least two images."""
    images = int(np.count_nonzero(defined))
    (value,) = estimate(np.ones((1, len(defined))))
    resampled = estimate(weights) if images > 1 else np.full(1, np.nan)
    spread = _spread(resampled[:, None])[0]
    return {
        "value": rounded(value),
        "standard_error": rounded(0.0 if spread < ROUNDING * abs(value) else spread),
        "interval": _interval(resampled),
        "images": images,
    }


def _interval(samples: Array) -> list[float | None]:
    """The percentile interval: the middle 95 % of the resamples where the estimate is defined."""
    samples = samples[np.isfinite(samples)]
    if len(samples) < 2:
        return [None, None]
    return [rounded(end) for end in np.quantile(samples, [0.025, 0.975])]


def _spread(samples: Array) -> Array:
    """The standard deviation of each column over the resamples where it is defined."""
    samples = samples[np.isfinite(samples).all(axis=1)]
    if len(samples) < 2:
        return np.full(samples.shape[1], np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        return samples.std(axis=0, ddof=1)


def rounded(value: float) -> float | None:
    """A number for JSON, to the digits that are the same on every machine; None if it is not finite."""
    return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None
