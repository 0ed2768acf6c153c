"""Summarizes the records of a benchmark: the quantities of each metric, method by method."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rap_keras.benchmark.comparison import (
    agreement,
    best_method,
    compared,
    holm,
    mean_ranks,
    per_image,
)
from rap_keras.benchmark.metrics import Metric, chosen, columns, imputers_of, of_protocol
from rap_keras.benchmark.metrics.metric import mark_of
from rap_keras.benchmark.metrics.perturbation import MEAN_AREA, PARTS, REPLACED, curves
from rap_keras.benchmark.rows import MEAN_SHIFTED, RANDOM, SHIFTED_METHOD
from rap_keras.benchmark.statistics import (
    Array,
    Json,
    Numbers,
    Ratio,
    column,
    difference,
    estimated,
    mean,
    mean_curve,
    median,
    resample,
)
from rap_keras.benchmark.validation import validation
from rap_keras.errors import InputError
from rap_keras.support.text import did_you_mean

STATUSES = ("kept", "misclassified", "skipped")
REFERENCE = "rap"
"""The title of the method that the others are compared to by default."""


def summarize(
    protocol: Json, images: Sequence[Json], reference: str | None = None
) -> dict[str, Any]:
    """Summarizes the records of a benchmark over its kept images.

    `reference` None is "rap", or the first method if there is none.

    Returns:
        A JSON-serialisable dict: `kept`, `misclassified` and `skipped` (numbers of images), `resamples`,
        `reference`, and `methods`: for each title `control`, `quantities` (each a `value`, its
        `standard_error`, its 95 % `interval` by percentiles and the number of `images` where it is
        defined), `curves` (lists over the steps of `accuracy`, `logit` and `probability`, each with
        `value` and `standard_error`), and `differences` from the reference, over the images where both
        are defined, with `p_value` (with Holm's correction over the methods), `effect_size` and
        `images_needed` of `comparison.compared`. `ranks` has `comparison.mean_ranks` of the compared
        quantities, and `agreement` the similarity of their orders of the methods; both leave out
        controls. `best` has `comparison.best_method` of each of these quantities. With several
        replacements of pixels, `imputers` has the dict of `_imputers`. If the metrics were
        validated, `validation` has the entries of `validation.validation`. `None` is an undefined value,
        or the standard error of a single image.
    """
    resamples = int(protocol.get("resamples", 1000))
    if resamples < 2:
        raise InputError(f"A standard error needs at least 2 resamples, not {resamples}.")
    counts = {s: sum(record["status"] == s for record in images) for s in STATUSES}
    if counts["kept"] == 0:
        raise InputError(
            f"There is nothing to summarize: no image was kept, {counts['misclassified']} "
            f"misclassified and {counts['skipped']} skipped."
        )
    kept = kept_of(images)
    metrics = of_protocol(protocol)
    weights = resample(len(kept), resamples, protocol["seed"])
    numbers = {
        method["title"]: [record["results"][method["title"]] for record in kept]
        for method in protocol["methods"]
    }
    ratios = {
        title: {n: r for m in metrics for n, r in m.quantities(protocol, of_method).items()}
        for title, of_method in numbers.items()
    }
    shown = [column for column in columns(metrics) if column.difference]
    if reference is None:
        reference = REFERENCE if REFERENCE in ratios else next(iter(ratios))
    if reference not in ratios:
        hint = did_you_mean(reference, ratios)
        raise InputError(
            f"Expected the reference among the methods {', '.join(ratios)}, got {reference!r}"
            + (f"; {hint}" if hint else ".")
        )
    values = {
        title: {column.quantity: per_image(of_method[column.quantity]) for column in shown}
        for title, of_method in ratios.items()
    }
    methods: dict[str, dict[str, Any]] = {}
    for method in protocol["methods"]:
        title = method["title"]
        methods[title] = {
            "control": bool(method.get("control")),
            "quantities": _quantities(metrics, ratios[title], weights),
            "curves": _curves(metrics, numbers[title], weights),
        }
        if title != reference:
            methods[title]["differences"] = {
                name: difference(ratios[title][name], ratios[reference][name], weights)
                | compared(values[title][name], of_reference)
                for name, of_reference in values[reference].items()
            }
    for head in shown:
        _correct(methods, head.quantity)
    imputers = _imputers(protocol, numbers, methods, weights)
    validated = validation(metrics, protocol, kept, weights) if protocol.get("validate", 0) else {}
    listed = {title: method for title, method in methods.items() if not method["control"]}
    better = {column.quantity: column.better for column in shown if column.better}
    return {
        **counts,
        "resamples": resamples,
        "reference": reference,
        "methods": methods,
        "ranks": {
            name: mean_ranks({title: values[title][name] for title in listed}, direction)
            for name, direction in better.items()
        },
        "agreement": agreement(
            {n: [m["quantities"][n]["value"] for m in listed.values()] for n in better}, better
        ),
        "best": {name: _best(methods, values, name, better[name]) for name in better},
        **({"imputers": imputers} if imputers else {}),
        **({"validation": validated} if validated else {}),
    }


def kept_of(images: Sequence[Json]) -> list[Json]:
    """The records of the kept images, in the order of the data set."""
    kept = (record for record in images if record["status"] == "kept")
    return sorted(kept, key=lambda record: record["position"])


def _best(
    methods: Json, values: Mapping[str, Mapping[str, Array]], name: str, better: str
) -> dict[str, Any] | None:
    """The best method by a quantity.

    A shifted map with the values of the map that it was made of is no control: the shift does not count.
    """
    rows = list(methods)
    if {MEAN_SHIFTED, SHIFTED_METHOD} <= methods.keys():
        pair = values[MEAN_SHIFTED][name], values[SHIFTED_METHOD][name]
        # Rounding may change the order of pixels that are almost equal.
        if np.allclose(*pair, rtol=1e-3, equal_nan=True):
            rows.remove(MEAN_SHIFTED)
    return best_method(
        {title: methods[title]["quantities"][name]["value"] for title in rows},
        {title: values[title][name] for title in rows},
        [title for title in rows if methods[title]["control"]],
        better,
    )


def _correct(methods: Json, quantity: str) -> None:
    """Corrects the p-values of a quantity over the methods."""
    found = {t: m["differences"][quantity] for t, m in methods.items() if "differences" in m}
    corrected = holm({title: entry["p_value"] for title, entry in found.items()})
    for title, entry in found.items():
        entry["p_value"] = corrected[title]


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
    metrics: Sequence[Metric], numbers: Sequence[Numbers], weights: Array
) -> dict[str, dict[str, Any]]:
    """The mean curves, with a standard error at each step."""
    return {
        metric.name: {
            label: mean_curve(curves(numbers, metric.name, part), weights)
            for label, part in PARTS.items()
        }
        for metric in metrics
        if metric.curve
    }


def _imputers(
    protocol: Json, numbers: Mapping[str, Sequence[Numbers]], methods: Json, weights: Array
) -> dict[str, Any]:
    """Compares several replacements of pixels.

    The R-OMS score (reference-out-of-model-scope, Blücher et al., "Decoupling pixel flipping and
    occlusion strategy for consistent XAI benchmarks", TMLR 2024, arXiv 2401.06654) is the probability of
    the predicted class while pixels are replaced at random, averaged over the share of replaced
    pixels. Here the random order is that of the control map of noise, from both ends.

    Returns:
        `r_oms`: the estimate for each replacement, if noise and SRG were measured; `agreement`: for the
        first quantity of each metric, Kendall's tau-b between the orders of the methods with two
        replacements, without controls. Empty for a single replacement.
    """
    imputers = imputers_of(protocol)
    if len(imputers) < 2:
        return {}
    first, *further = imputers
    marks = {first: ""} | {imputer: mark_of(imputer) for imputer in further}
    random = numbers.get(RANDOM, ())
    whole = protocol["perturbation"]["fractions"][-1]
    listed = [method["quantities"] for method in methods.values() if not method["control"]]
    taus = {}
    measured = chosen(protocol["metrics"])  # with the first replacement
    for head in (metric.columns[0] for metric in measured if metric.by_imputer):
        values = {
            imputer: [quantities[head.quantity + mark]["value"] for quantities in listed]
            for imputer, mark in marks.items()
        }
        taus[head.quantity] = agreement(values, dict.fromkeys(imputers, head.better))

    def probability(mark: str) -> Array:
        replaced = [image.get(REPLACED + mark, whole) for image in random]
        return column(random, MEAN_AREA + mark) / np.array(replaced)

    return {
        "r_oms": {
            imputer: estimated(mean(probability(mark)), weights)
            for imputer, mark in marks.items()
            if random and all(MEAN_AREA + mark in image for image in random)
        },
        "agreement": taus,
    }
