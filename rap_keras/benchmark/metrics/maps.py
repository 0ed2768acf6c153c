"""Whether the sum of relevance is right, and how relevance is distributed."""

from rap_keras.benchmark.metrics.metric import Column, Metric, each, one_number
from rap_keras.benchmark.metrics.tables import FURTHER, FURTHER_WORDS
from rap_keras.benchmark.metrics.view import View
from rap_keras.evaluation import maps


def _is_explained(v: View) -> bool:
    return v.relevance is not None


METRICS = (
    Metric(
        "conservation",
        each(lambda v: maps.conservation_error(v.relevance, v.scene.logit, v.contrasted)),
        (
            Column("conservation error", "conservation_error", "lower"),
            Column("conservation error, median", "conservation_error_median", "lower"),
        ),
        FURTHER,
        FURTHER_WORDS,
        defined=_is_explained,
        default=True,
    ),
    one_number(
        "sparsity", lambda v: maps.sparsity(v.heatmap), "", FURTHER, FURTHER_WORDS, default=True
    ),
    Metric(
        "completeness",
        each(
            lambda v: maps.completeness_error(v.relevance, 0.0 if v.contrasted else v.scene.logit)
        ),
        (
            Column("completeness error", "completeness", "lower"),
            Column("completeness error, median", "completeness_median", "lower"),
        ),
        FURTHER,
        "Completeness error: the same distance in units of the logit.",
        defined=_is_explained,
    ),
    Metric(
        "complexity",
        each(lambda v: (maps.complexity(v.heatmap), maps.effective_pixels(v.heatmap))),
        (Column("complexity", "complexity"), Column("effective pixels", "effective_pixels")),
        FURTHER,
        "Complexity: the entropy of the pixels' shares of the absolute relevance, in nats. Effective "
        "pixels: the pixels with more than a hundredth of the largest absolute relevance.",
    ),
)
