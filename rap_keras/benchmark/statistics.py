"""How numbers of single images become one, with its standard error.

The images are resampled, not the pixels: one matrix of weights, how often each image is drawn in each
resample, serves every quantity of every method. That keeps the methods paired, so that the
difference of two has the standard error of the difference, and makes a pooled ratio or a whole curve
one matrix product. `scipy.stats.bootstrap` would draw anew for each statistic.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A spread below this part of the value is the rounding of sums.
ROUNDING = 1e-12
# Further digits depend on the order in which a machine's BLAS adds.
DIGITS = 10

Array = NDArray[Any]
Json = Mapping[str, Any]  # a protocol, a record or a summary
Numbers = Mapping[str, Any]  # of one row on one image


@dataclass(frozen=True)
class Ratio:
    """A sum over the images divided by another, averaged over the columns that are defined.

    A mean over images has the numerators x and the denominators 1, or 0 and 0 where undefined.

    Attributes:
        numerators: Of shape (images, columns).
        denominators: Of the same shape, not negative.
    """

    numerators: Array
    denominators: Array

    @property
    def defined(self) -> Array:
        """Which images count, shape (images,)."""
        return np.any(self.denominators > 0, axis=1)

    def among(self, chosen: Array) -> "Ratio":
        """The same of some of the images only."""
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
    """How often each image is drawn in each resample of as many images, (resamples, images)."""
    drawn = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), resamples)
    return drawn.astype(np.float64)


def estimated(ratio: Ratio, weights: Array) -> dict[str, float | int | None]:
    """A ratio, as JSON knows it, with its error."""
    return _entry(ratio, ratio.defined, weights)


def median(ratio: Ratio, weights: Array) -> dict[str, float | int | None]:
    """The median over the images of what a mean is of."""
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
    """An estimate with the standard deviation of its resamples, where there are two images."""
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
    """The middle 95 % of resamples, over those where it is defined: a percentile interval."""
    samples = samples[np.isfinite(samples)]
    if len(samples) < 2:
        return [None, None]
    return [rounded(end) for end in np.quantile(samples, [0.025, 0.975])]


def _spread(samples: Array) -> Array:
    """The standard deviation of each column of resamples, over those where it is defined."""
    samples = samples[np.isfinite(samples).all(axis=1)]
    if len(samples) < 2:
        return np.full(samples.shape[1], np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        return samples.std(axis=0, ddof=1)


def rounded(value: float) -> float | None:
    """A number for JSON, to the digits that no machine changes; None if it is not finite."""
    return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None
