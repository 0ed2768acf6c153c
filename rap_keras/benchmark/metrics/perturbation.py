"""What replacing pixels does to the decision."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rap_keras.benchmark.metrics.record import Column, Curve, Metric, Record, Summarize, View, each
from rap_keras.benchmark.metrics.tables import FURTHER, FURTHER_WORDS
from rap_keras.benchmark.statistics import Array, Ratio, Row, mean
from rap_keras.evaluation import perturbation


def _measure(order: str) -> Callable[[View], Record]:
    def measure(v: View) -> Record:
        s = v.scene.settings
        curve = perturbation.perturbation_curve(
            v.scene.predict,
            v.scene.x,
            v.heatmap,
            v.scene.neuron,
            steps=s.steps,
            pixels_per_step=s.pixels_per_step,
            order=order,
            replacement=v.scene.replacement,
            batch_size=s.batch_size,
        )
        return {order: {"correct": [int(c) for c in curve.correct], "logit": curve.logits.tolist()}}

    return measure


def _summarize(order: str) -> Summarize:
    def summarize(protocol: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Ratio]:
        fractions = np.asarray(protocol["perturbation"]["fractions"], dtype=np.float64)
        accuracy, logit = curves(rows, order, "correct"), curves(rows, order, "logit")
        return {
            f"{order}_area": mean(_area(accuracy, fractions)),
            f"{order}_accuracy_aopc": mean(_mean_drop(accuracy)),
            f"{order}_logit_aopc": mean(_mean_drop(logit)),
        }

    return summarize


def curves(rows: Sequence[Row], name: str, part: str) -> Array:
    """A curve of each image, (images, steps + 1)."""
    return np.array([row[name][part] for row in rows], dtype=np.float64)


def _area(curves: Array, fractions: Array) -> Array:
    """The area under the curve of each image by trapezoids."""
    return (curves[:, 1:] + curves[:, :-1]) @ np.diff(fractions) / 2


def _mean_drop(curves: Array) -> Array:
    """AOPC of each image: the mean of f_0 - f_k over all steps, k = 0 among them."""
    return (curves[:, :1] - curves).mean(axis=1)


METRICS = (
    Metric(
        name="lerf",
        measure=each(_measure("lerf")),
        summarize=_summarize("lerf"),
        columns=(
            Column(
                "LeRF area", "lerf_area", "higher", difference="LeRF area", terminal="LeRF area"
            ),
            Column("LeRF AOPC", "lerf_logit_aopc", "lower", place=1),
        ),
        table=FURTHER,
        words=FURTHER_WORDS,
        reference="Fig. 7",
        curve=Curve("LeRF", "least", "high"),
    ),
    Metric(
        name="morf",
        measure=each(_measure("morf")),
        summarize=_summarize("morf"),
        columns=(
            Column("MoRF area", "morf_area", "lower"),
            Column("MoRF AOPC", "morf_logit_aopc", "higher", place=1),
        ),
        table=FURTHER,
        words=FURTHER_WORDS,
        reference="Samek et al. 2017",
        curve=Curve("MoRF", "most", "low"),
        default=False,
    ),
)
