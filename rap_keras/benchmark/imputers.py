"""Whether the order of methods depends on the replacement of pixels, and which replacement to trust."""

from collections.abc import Mapping, Sequence
from typing import Any

from rap_keras.benchmark.comparison import agreement
from rap_keras.benchmark.controls import RANDOM
from rap_keras.benchmark.metrics import chosen, imputers_of
from rap_keras.benchmark.metrics.metric import mark_of
from rap_keras.benchmark.metrics.perturbation import MEAN_AREA
from rap_keras.benchmark.statistics import Array, Json, Numbers, column, estimated, mean


def compare_imputers(
    protocol: Json,
    numbers: Mapping[str, Sequence[Numbers]],
    methods: Json,
    weights: Array,
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
    listed = [method["quantities"] for method in methods.values() if not method["control"]]
    taus = {}
    measured = chosen(protocol["metrics"])  # with the first replacement
    for head in (metric.columns[0] for metric in measured if metric.by_imputer):
        values = {
            imputer: [quantities[head.quantity + mark]["value"] for quantities in listed]
            for imputer, mark in marks.items()
        }
        taus[head.quantity] = agreement(values, dict.fromkeys(imputers, head.better))
    return {
        "r_oms": {
            imputer: estimated(mean(column(random, MEAN_AREA + mark)), weights)
            for imputer, mark in marks.items()
            if random and all(MEAN_AREA + mark in image for image in random)
        },
        "agreement": taus,
    }
