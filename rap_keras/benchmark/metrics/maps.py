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
)
