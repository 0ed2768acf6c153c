"""What replacing pixels does to the decision."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rap_keras.benchmark.metrics.record import (
    Column,
    Curve,
    Measure,
    Metric,
    Record,
    Summarize,
    View,
    defined,
    each,
    means_of,
    together,
)
from rap_keras.benchmark.metrics.tables import FAITHFULNESS, FURTHER, FURTHER_WORDS
from rap_keras.benchmark.seeds import Purpose
from rap_keras.benchmark.statistics import Array, Ratio, Row, mean
from rap_keras.evaluation import faithfulness, perturbation, replacement
from rap_keras.evaluation.curves import (
    PerturbationCurve,
    area_under_curve,
    symmetric_relevance_gain,
)

PARTS = {"accuracy": "correct", "logit": "logit", "probability": "probability"}
"""The curves as the summary calls them, and as an image's record does."""


Curves = list[PerturbationCurve]


def _curves(views: Sequence[View], order: str, **replaced: Any) -> Curves:
    """Those of a method's maps of the images of a chunk, whose steps share batches."""
    scenes = [view.scene for view in views]
    options: dict[str, Any] = {
        "x": [scene.x for scene in scenes],
        "replacements": [scene.replacement for scene in scenes],
        "logits": np.stack([scene.logits for scene in scenes]),
    } | replaced
    s = scenes[0].settings
    return perturbation.perturbation_curves(
        scenes[0].predict,
        heatmaps=[view.heatmap for view in views],
        neurons=[scene.neuron for scene in scenes],
        steps=s.steps,
        pixels_per_step=s.pixels_per_step,
        order=order,
        batch_size=s.batch_size,
        patch=s.patch,
        head=scenes[0].head,
        **options,
    )


def _ordered(views: Sequence[View], order: str) -> Curves:
    """The curves of an order, computed once for all metrics."""
    return together(views, order, lambda views: _curves(views, order))


def _measure(order: str) -> Measure:
    def measure(views: Sequence[View]) -> list[Record]:
        return [
            {
                order: {
                    "correct": np.asarray(curve.correct, int).tolist(),
                    "logit": curve.logits.tolist(),
                    "probability": np.asarray(curve.probabilities).tolist(),
                }
            }
            for curve in _ordered(views, order)
        ]

    return measure


def _gain(views: Sequence[View]) -> list[Record]:
    gain = symmetric_relevance_gain
    return [
        {
            "srg": gain(lerf, morf),
            "srg_probability": gain(lerf, morf, "probabilities"),
            "srg_accuracy": gain(lerf, morf, "correct"),
        }
        for lerf, morf in zip(_ordered(views, "lerf"), _ordered(views, "morf"), strict=True)
    ]


def _deletion(views: Sequence[View]) -> list[Record]:
    replacement = views[0].scene.replacement
    zero = isinstance(replacement, float) and replacement == 0
    curves = _ordered(views, "morf") if zero else _curves(views, "morf", replacements=None)
    return _areas("deletion", curves)


def _insertion(views: Sequence[View]) -> list[Record]:
    x = [view.scene.x for view in views]
    blurred = [replacement.blurred(image) for image in x]
    return _areas("insertion", _curves(views, "morf", x=blurred, replacements=x, logits=None))


def _areas(name: str, curves: Curves) -> list[Record]:
    return [
        {name: area_under_curve(curve.fractions, np.asarray(curve.probabilities))}
        for curve in curves
    ]


def _faithfulness(v: View) -> Record:
    scene = v.scene
    correlation = faithfulness.faithfulness_correlation(
        scene.predict,
        scene.x,
        v.heatmap,
        scene.neuron,
        samples=scene.settings.draws,
        replacement=scene.replacement,
        seed=scene.seed(Purpose.SETS_OF_PIXELS),
        batch_size=scene.settings.batch_size,
    )
    return {"faithfulness_correlation": defined(correlation)}


def _infidelity(v: View) -> Record:
    scene = v.scene
    told, drops = faithfulness.told_and_lost(
        scene.predict,
        scene.x,
        v.heatmap,
        scene.neuron,
        samples=scene.settings.draws,
        seed=scene.seed(Purpose.SQUARES),
        batch_size=scene.settings.batch_size,
    )
    error = faithfulness.squared_error
    return {
        "infidelity": error(told, drops),
        "infidelity_scaled": error(told, drops, scaled=True),
    }


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


def parts_of(rows: Sequence[Row], name: str) -> dict[str, str]:
    """Those of `PARTS` that every image has; the version before had no probabilities."""
    return {label: part for label, part in PARTS.items() if all(part in row[name] for row in rows)}


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
        measure=_measure("lerf"),
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
        perturbs=True,
    ),
    Metric(
        name="morf",
        measure=_measure("morf"),
        summarize=_summarize("morf"),
        columns=(
            Column("MoRF area", "morf_area", "lower"),
            Column("MoRF AOPC", "morf_logit_aopc", "higher", place=1),
        ),
        table=FURTHER,
        words=FURTHER_WORDS,
        reference="Samek et al. 2017",
        curve=Curve("MoRF", "most", "low"),
        perturbs=True,
        default=False,
    ),
    Metric(
        name="srg",
        measure=_gain,
        summarize=means_of("srg", "srg_probability", "srg_accuracy"),
        columns=(
            Column("SRG", "srg", "higher", difference="SRG", terminal="SRG"),
            Column("SRG, probability", "srg_probability", "higher"),
            Column("SRG, accuracy", "srg_accuracy", "higher"),
        ),
        table=FAITHFULNESS,
        words="SRG: symmetric relevance gain, the area between the curves of LeRF and MoRF: of the "
        "explained logit, of its probability, of the accuracy. What the replacement does to every order "
        "alike drops out; noise has 0.",
        reference="Blücher et al. 2024",
        default=False,
        perturbs=True,
    ),
    Metric(
        name="insertion",
        measure=_insertion,
        summarize=means_of("insertion"),
        columns=(Column("insertion", "insertion", "higher", difference="insertion"),),
        table=FAITHFULNESS,
        words="Insertion: the area under the probability while the pixels of a blurred image (Gaussian "
        "of 5 pixels) become sharp from the most relevant on.",
        reference="Petsiuk et al. 2018",
        default=False,
        perturbs=True,
    ),
    Metric(
        name="deletion",
        measure=_deletion,
        summarize=means_of("deletion"),
        columns=(Column("deletion", "deletion", "lower", difference="deletion"),),
        table=FAITHFULNESS,
        words="Deletion: that while pixels become 0 from the most relevant on.",
        reference="Petsiuk et al. 2018",
        default=False,
        perturbs=True,
    ),
    Metric(
        name="faithfulness_correlation",
        measure=each(_faithfulness),
        summarize=means_of("faithfulness_correlation"),
        columns=(
            Column(
                "faithfulness correlation",
                "faithfulness_correlation",
                "higher",
                difference="faithfulness correlation",
            ),
        ),
        table=FAITHFULNESS,
        words="Faithfulness correlation: of the relevance of random sets, each of a tenth of the "
        "pixels, with what the logit loses where they are replaced.",
        reference="Bhatt et al. 2020",
        default=False,
        perturbs=True,
        draws=True,
    ),
    Metric(
        name="infidelity",
        measure=each(_infidelity),
        summarize=means_of("infidelity", "infidelity_scaled"),
        medians=("infidelity", "infidelity_scaled"),
        columns=(
            Column("infidelity, median", "infidelity_median", "lower"),
            Column("infidelity, scaled, median", "infidelity_scaled_median", "lower"),
        ),
        table=FAITHFULNESS,
        words="Infidelity: the mean square of the relevance on random squares, a quarter of the image's "
        "side, less what the logit loses where they are 0; scaled: after each map is multiplied by the "
        "number that suits it best.",
        reference="Yeh et al. 2019",
        default=False,
        draws=True,
    ),
)
