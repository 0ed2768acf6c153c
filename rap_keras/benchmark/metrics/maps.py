"""Whether relevance adds up, and how it is spread."""

from rap_keras.benchmark.metrics.record import Column, Metric, Record, View, defined, each, means_of
from rap_keras.benchmark.metrics.tables import FURTHER, FURTHER_WORDS
from rap_keras.evaluation import maps


def _conservation(v: View) -> Record:
    if v.relevance is None:
        return {"conservation_error": None}
    error = maps.conservation_error(v.relevance, v.scene.logit, v.contrasted)
    return {"conservation_error": defined(error)}


def _sparsity(v: View) -> Record:
    return {"sparsity": defined(maps.sparsity(v.heatmap))}


def _completeness(v: View) -> Record:
    if v.relevance is None:
        return {"completeness": None}
    target = 0.0 if v.contrasted else v.scene.logit
    return {"completeness": defined(maps.completeness_error(v.relevance, target))}


def _complexity(v: View) -> Record:
    return {
        "complexity": defined(maps.complexity(v.heatmap)),
        "effective_pixels": maps.effective_pixels(v.heatmap),
    }


METRICS = (
    Metric(
        name="conservation",
        measure=each(_conservation),
        summarize=means_of("conservation_error"),
        medians=("conservation_error",),
        columns=(
            Column("conservation error", "conservation_error", "lower"),
            Column("its median", "conservation_error_median", "lower"),
        ),
        table=FURTHER,
        words=FURTHER_WORDS,
        reference="Bach et al. 2015",
    ),
    Metric(
        name="sparsity",
        measure=each(_sparsity),
        summarize=means_of("sparsity"),
        columns=(Column("sparsity", "sparsity"),),
        table=FURTHER,
        words=FURTHER_WORDS,
        reference="Chalasani et al. 2020",
    ),
    Metric(
        name="completeness",
        measure=each(_completeness),
        summarize=means_of("completeness"),
        medians=("completeness",),
        columns=(
            Column("completeness error", "completeness", "lower"),
            Column("completeness error, median", "completeness_median", "lower"),
        ),
        table=FURTHER,
        words="Completeness error: that distance in the unit of the logit.",
        reference="Sundararajan et al. 2017",
        default=False,
    ),
    Metric(
        name="complexity",
        measure=each(_complexity),
        summarize=means_of("complexity", "effective_pixels"),
        columns=(
            Column("complexity", "complexity"),
            Column("effective pixels", "effective_pixels"),
        ),
        table=FURTHER,
        words="Complexity: the entropy of the pixels' shares of the absolute relevance, in nats; "
        "effective pixels: those with more than a hundredth of the largest.",
        reference="Bhatt et al. 2020",
        default=False,
    ),
)
