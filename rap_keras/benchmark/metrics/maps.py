"""Whether relevance adds up, and how it is spread."""

import numpy as np

from rap_keras.benchmark.metrics.metric import Column, Metric, each, one_number
from rap_keras.benchmark.metrics.tables import FURTHER, FURTHER_WORDS
from rap_keras.benchmark.metrics.view import View
from rap_keras.benchmark.statistics import Numbers
from rap_keras.evaluation import maps


def _is_explained(v: View) -> bool:
    return v.relevance is not None


def _conservation(v: View) -> Numbers:
    error = maps.conservation_error(np.asarray(v.relevance), v.scene.logit, v.contrasted)
    return {"conservation_error": error}


def _completeness(v: View) -> Numbers:
    total = 0.0 if v.contrasted else v.scene.logit
    return {"completeness": maps.completeness_error(np.asarray(v.relevance), total)}


def _complexity(v: View) -> Numbers:
    return {
        "complexity": maps.complexity(v.heatmap),
        "effective_pixels": maps.effective_pixels(v.heatmap),
    }


METRICS = (
    Metric(
        "conservation",
        each(_conservation),
        (
            Column("conservation error", "conservation_error", "lower"),
            Column("its median", "conservation_error_median", "lower"),
        ),
        FURTHER,
        FURTHER_WORDS,
        "Bach et al. 2015",
        defined=_is_explained,
        default=True,
    ),
    one_number(
        "sparsity",
        lambda v: maps.sparsity(v.heatmap),
        "",
        FURTHER,
        FURTHER_WORDS,
        "Chalasani et al. 2020",
        default=True,
    ),
    Metric(
        "completeness",
        each(_completeness),
        (
            Column("completeness error", "completeness", "lower"),
            Column("completeness error, median", "completeness_median", "lower"),
        ),
        FURTHER,
        "Completeness error: that distance in the unit of the logit.",
        "Sundararajan et al. 2017",
        defined=_is_explained,
    ),
    Metric(
        "complexity",
        each(_complexity),
        (Column("complexity", "complexity"), Column("effective pixels", "effective_pixels")),
        FURTHER,
        "Complexity: the entropy of the pixels' shares of the absolute relevance, in nats; "
        "effective pixels: those with more than a hundredth of the largest.",
        "Bhatt et al. 2020",
    ),
)
