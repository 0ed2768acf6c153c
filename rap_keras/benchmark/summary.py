"""From the records of a benchmark to its numbers: means over the images, with standard errors.

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

from rap_keras.errors import InputError

REFERENCE = "rap"
"""The title of the method that the others are compared to."""

CURVES = ("lerf", "morf")
"""The metrics that give a curve for each image."""

MEDIANS = ("ratio_all", "ratio_positive", "conservation_error")
"""The quantities with heavy tails, whose median over the images is given as well."""

DIFFERENCES = (
    "ratio_all",
    "ratio_positive",
    "pixel_accuracy",
    "mean_iou",
    "average_precision",
    "pointing_game",
    "lerf_area",
)
"""The quantities of which the difference to the reference is given."""

# A spread below this part of the value is the rounding of sums.
ROUNDING = 1e-12
# What follows hangs on the order in which a machine's BLAS adds.
DIGITS = 10

Array = NDArray[Any]
Row = Mapping[str, Any]


def summarize(
    protocol: Mapping[str, Any], images: Sequence[Mapping[str, Any]], resamples: int = 1000
) -> dict[str, Any]:
    """Summarizes the records of a benchmark over its kept images.

    The quantities are those of RAP (Nam et al., AAAI 2020, arXiv 1904.00605) and some more:

    - `ratio_all`, `ratio_positive`: the outside-inside ratio (eq. 11, Table 1), mean over the images;
      `..._median` is the median, since a ratio has heavy tails.
    - `pixel_accuracy`, `iou_background`, `iou_foreground`, `mean_iou` (Table 2), 0 to 1: of the pixels
      of all images together or, if `protocol["pooled"]` is false, the mean of each image's own. The
      mean IOU is over the classes of which there is any pixel, on the mask or on the map.
    - `average_precision`, `pointing_game` (both 0 to 1), `sparsity`, `conservation_error` (with its
      median): means over the images.
    - `lerf_area`, `morf_area`: the area under the accuracy (0 to 1) over the share of replaced pixels
      (Fig. 7), by trapezoids: 0 to 1 if all pixels are replaced in the end.
    - `..._accuracy_aopc`, `..._logit_aopc`: the mean over the steps k = 0..L of f_0 - f_k, where f is
      the accuracy or the logit (in its own units).

    Args:
        protocol: What was run: `methods`, `metrics`, `seed`, `pooled`, `perturbation`.
        images: The record of every image; in whatever order, they count by their `position`.
        resamples: The number of bootstrap resamples of the images.

    Returns:
        What `json.dump` takes: `kept`, `misclassified` and `skipped` (numbers of images), `resamples`,
        and `methods`: for each title `control`, `quantities` (each a `value`, its `standard_error` and
        the number of `images` where it is defined), `curves` (lists over the steps of `accuracy` and
        `logit`, each with `value` and `standard_error`), and `differences` to "rap" (if it is there):
        over the images where both are defined. `None` is an undefined value, or the standard error
        of a single image.

    Raises:
        InputError: If no image was kept, or there are fewer than two resamples.
    """
    if resamples < 2:
        raise InputError(f"A standard error needs at least 2 resamples, not {resamples}.")
    counts = {
        status: sum(record["status"] == status for record in images)
        for status in ("kept", "misclassified", "skipped")
    }
    if counts["kept"] == 0:
        raise InputError(
            f"There is nothing to summarize: no image was kept, {counts['misclassified']} "
            f"misclassified and {counts['skipped']} skipped."
        )
    kept = sorted(
        (record for record in images if record["status"] == "kept"),
        key=lambda record: record["position"],
    )
    weights = _resample(len(kept), resamples, protocol["seed"])
    rows = {
        method["title"]: [record["results"][method["title"]] for record in kept]
        for method in protocol["methods"]
    }
    ratios = {title: _ratios(protocol, of_method) for title, of_method in rows.items()}
    methods = {}
    for method in protocol["methods"]:
        title = method["title"]
        methods[title] = {
            "control": bool(method.get("control")),
            "quantities": _quantities(ratios[title], weights),
            "curves": _curves(protocol, rows[title], weights),
        }
        if REFERENCE in ratios and title != REFERENCE:
            methods[title]["differences"] = {
                name: _difference(ratios[title][name], ratios[REFERENCE][name], weights)
                for name in DIFFERENCES
                if name in ratios[title]
            }
    return {**counts, "resamples": resamples, "methods": methods}


@dataclass(frozen=True)
class _Ratio:
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

    def among(self, chosen: Array) -> "_Ratio":
        """The same of some of the images only."""
        return _Ratio(self.numerators * chosen[:, None], self.denominators * chosen[:, None])

    def __call__(self, weights: Array) -> Array:
        """The estimate for each row of weights (any number, images); NaN where undefined."""
        return _mean_of_defined(_divide(weights @ self.numerators, weights @ self.denominators))


def _resample(images: int, resamples: int, seed: int) -> Array:
    """How often each image is drawn in each resample of as many images, (resamples, images)."""
    drawn = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), resamples)
    return drawn.astype(np.float64)


def _ratios(protocol: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, _Ratio]:
    """The quantities of one method, as far as the metrics were chosen."""
    metrics = protocol["metrics"]
    ratios = {}
    if "ratio" in metrics:
        for name in ("ratio_all", "ratio_positive"):
            ratios[name] = _mean(_column(rows, name))
    if "segmentation" in metrics:
        ratios |= _segmentation(rows, protocol["pooled"])
    for name in ("average_precision", "pointing_game", "sparsity"):
        if name in metrics:
            ratios[name] = _mean(_column(rows, name))
    if "conservation" in metrics:
        ratios["conservation_error"] = _mean(_column(rows, "conservation_error"))
    for name in CURVES:
        if name in metrics:
            fractions = np.asarray(protocol["perturbation"]["fractions"], dtype=np.float64)
            accuracy, logit = _curve(rows, name, "correct"), _curve(rows, name, "logit")
            ratios[f"{name}_area"] = _mean(_area(accuracy, fractions))
            ratios[f"{name}_accuracy_aopc"] = _mean(_mean_drop(accuracy))
            ratios[f"{name}_logit_aopc"] = _mean(_mean_drop(logit))
    return ratios


def _segmentation(rows: Sequence[Row], pooled: bool) -> dict[str, _Ratio]:
    correct, labelled = _column(rows, "correct"), _column(rows, "labelled")
    intersection = np.array([row["intersection"] for row in rows], dtype=np.float64)
    union = np.array([row["union"] for row in rows], dtype=np.float64)
    if pooled:
        return {
            "pixel_accuracy": _Ratio(correct[:, None], labelled[:, None]),
            "iou_background": _Ratio(intersection[:, :1], union[:, :1]),
            "iou_foreground": _Ratio(intersection[:, 1:], union[:, 1:]),
            "mean_iou": _Ratio(intersection, union),
        }
    ious = _divide(intersection, union)
    return {
        "pixel_accuracy": _mean(_divide(correct, labelled)),
        "iou_background": _mean(ious[:, 0]),
        "iou_foreground": _mean(ious[:, 1]),
        "mean_iou": _mean(_mean_of_defined(ious)),
    }


def _column(rows: Sequence[Row], name: str) -> Array:
    """A number of each image, NaN where it is undefined."""
    return np.array([row[name] for row in rows], dtype=np.float64)


def _curve(rows: Sequence[Row], name: str, part: str) -> Array:
    """A curve of each image, (images, steps + 1)."""
    return np.array([row[name][part] for row in rows], dtype=np.float64)


def _mean(values: Array) -> _Ratio:
    """The mean over the images where a value is finite."""
    finite = np.isfinite(values)
    return _Ratio(np.where(finite, values, 0.0)[:, None], finite.astype(np.float64)[:, None])


def _area(curves: Array, fractions: Array) -> Array:
    """The area under the curve of each image by trapezoids."""
    return (curves[:, 1:] + curves[:, :-1]) @ np.diff(fractions) / 2


def _mean_drop(curves: Array) -> Array:
    """AOPC of each image: the mean of f_0 - f_k over all steps, k = 0 among them."""
    return (curves[:, :1] - curves).mean(axis=1)


def _divide(numerators: Array, denominators: Array) -> Array:
    """The quotients, NaN where the denominator is zero."""
    undefined = np.full(numerators.shape, np.nan)
    return np.divide(numerators, denominators, out=undefined, where=denominators > 0)


def _mean_of_defined(values: Array) -> Array:
    """The mean of each row's entries that are not NaN; NaN where all are."""
    defined = ~np.isnan(values)
    return _divide(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1))


def _quantities(ratios: Mapping[str, _Ratio], weights: Array) -> dict[str, Any]:
    quantities = {}
    for name, ratio in ratios.items():
        quantities[name] = _entry(ratio, ratio.defined, weights)
        if name in MEDIANS:
            values = np.where(ratio.defined, ratio.numerators[:, 0], np.nan)
            quantities[f"{name}_median"] = _entry(_Median(values), ratio.defined, weights)
    return quantities


def _difference(ratio: _Ratio, reference: _Ratio, weights: Array) -> dict[str, Any]:
    """The paired difference, over the images where both are defined."""
    both = ratio.defined & reference.defined
    left, right = ratio.among(both), reference.among(both)
    return _entry(lambda of: left(of) - right(of), both, weights)


@dataclass(frozen=True)
class _Median:
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


def _entry(
    estimate: Callable[[Array], Array], defined: Array, weights: Array
) -> dict[str, float | int | None]:
    """An estimate with the standard deviation of its resamples, where there are two images."""
    images = int(np.count_nonzero(defined))
    (value,) = estimate(np.ones((1, len(defined))))
    spread = _spread(estimate(weights)[:, None])[0] if images > 1 else np.nan
    return {
        "value": _number(value),
        "standard_error": _number(0.0 if spread < ROUNDING * abs(value) else spread),
        "images": images,
    }


def _curves(
    protocol: Mapping[str, Any], rows: Sequence[Row], weights: Array
) -> dict[str, dict[str, Any]]:
    """The mean curves, with a standard error at each step."""
    return {
        name: {
            label: _mean_curve(_curve(rows, name, part), weights)
            for label, part in (("accuracy", "correct"), ("logit", "logit"))
        }
        for name in CURVES
        if name in protocol["metrics"]
    }


def _mean_curve(curves: Array, weights: Array) -> dict[str, list[float | None]]:
    images, points = curves.shape
    spread = _spread(weights @ curves / images) if images > 1 else np.full(points, np.nan)
    return {
        "value": [_number(value) for value in curves.mean(axis=0)],
        "standard_error": [_number(error) for error in spread],
    }


def _spread(samples: Array) -> Array:
    """The standard deviation of each column of resamples, over those where it is defined."""
    samples = samples[np.isfinite(samples).all(axis=1)]
    if len(samples) < 2:
        return np.full(samples.shape[1], np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        return samples.std(axis=0, ddof=1)


def _number(value: float) -> float | None:
    """A number for JSON; None if it is not finite."""
    return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None
