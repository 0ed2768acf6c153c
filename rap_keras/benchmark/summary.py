"""From the records of a benchmark to its numbers: what each metric sums up, method by method."""

from collections.abc import Mapping, Sequence
from typing import Any

from rap_keras.benchmark.metrics import Metric, chosen
from rap_keras.benchmark.metrics.perturbation import curves, parts_of
from rap_keras.benchmark.statistics import (
    Array,
    Ratio,
    Row,
    difference,
    estimated,
    mean_curve,
    median,
    resample,
)
from rap_keras.errors import InputError

REFERENCE = "rap"
"""The title of the method that the others are compared to."""


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
    - `pixel_accuracy_equal_area`, ... `mean_iou_equal_area`: the same of as many of each map's most
      relevant pixels as the object has.
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
    metrics = chosen(protocol["metrics"])
    weights = resample(len(kept), resamples, protocol["seed"])
    rows = {
        method["title"]: [record["results"][method["title"]] for record in kept]
        for method in protocol["methods"]
    }
    ratios = {title: _ratios(metrics, protocol, of_method) for title, of_method in rows.items()}
    compared = [c.quantity for metric in metrics for c in metric.columns if c.difference]
    methods = {}
    for method in protocol["methods"]:
        title = method["title"]
        methods[title] = {
            "control": bool(method.get("control")),
            "quantities": _quantities(metrics, ratios[title], weights),
            "curves": _curves(metrics, rows[title], weights),
        }
        if REFERENCE in ratios and title != REFERENCE:
            methods[title]["differences"] = {
                name: difference(ratios[title][name], ratios[REFERENCE][name], weights)
                for name in compared
            }
    return {**counts, "resamples": resamples, "methods": methods}


def _ratios(
    metrics: Sequence[Metric], protocol: Mapping[str, Any], rows: Sequence[Row]
) -> dict[str, Ratio]:
    """The quantities of one method."""
    ratios: dict[str, Ratio] = {}
    for metric in metrics:
        ratios |= metric.summarize(protocol, rows)
    return ratios


def _quantities(
    metrics: Sequence[Metric], ratios: Mapping[str, Ratio], weights: Array
) -> dict[str, Any]:
    medians = {name for metric in metrics for name in metric.medians}
    quantities = {}
    for name, ratio in ratios.items():
        quantities[name] = estimated(ratio, weights)
        if name in medians:
            quantities[f"{name}_median"] = median(ratio, weights)
    return quantities


def _curves(
    metrics: Sequence[Metric], rows: Sequence[Row], weights: Array
) -> dict[str, dict[str, Any]]:
    """The mean curves, with a standard error at each step."""
    return {
        metric.name: {
            label: mean_curve(curves(rows, metric.name, part), weights)
            for label, part in parts_of(rows, metric.name).items()
        }
        for metric in metrics
        if metric.curve
    }
