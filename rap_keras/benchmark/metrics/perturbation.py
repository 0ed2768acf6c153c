"""What replacing pixels does to the decision."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rap_keras.benchmark.metrics.metric import (
    Column,
    Curve,
    Measure,
    Metric,
    compared,
    each,
    one_number,
)
from rap_keras.benchmark.metrics.tables import FAITHFULNESS, FURTHER, FURTHER_WORDS
from rap_keras.benchmark.metrics.view import View, together
from rap_keras.benchmark.seeds import Purpose, seed_of
from rap_keras.benchmark.statistics import Array, Numbers, Ratio, mean
from rap_keras.evaluation import faithfulness, perturbation
from rap_keras.evaluation.curves import (
    PerturbationCurve,
    area_under_curve,
    symmetric_relevance_gain,
)
from rap_keras.evaluation.replacement import blurred

PARTS = {"accuracy": "correct", "logit": "logit", "probability": "probability"}
"""The curves as the summary calls them, and as an image's record does."""

STEPS = ("steps", "pixels_per_step", "patch", "batch_size")
DRAWS = ("draws", "seed", "batch_size")

Curves = list[PerturbationCurve]


def _curves(views: Sequence[View], order: str, given: Mapping[str, Any], **replaced: Any) -> Curves:
    """Those of a method's maps of the images of a chunk, whose steps share batches."""
    scenes = [view.scene for view in views]
    options: dict[str, Any] = {
        "x": [scene.x for scene in scenes],
        "replacements": [scene.replacement for scene in scenes],
        "logits": np.stack([scene.logits for scene in scenes]),
    }
    return perturbation.perturbation_curves(
        scenes[0].predict,
        heatmaps=[view.heatmap for view in views],
        neurons=[scene.target for scene in scenes],
        order=order,
        head=scenes[0].head,
        **given,
        **options | replaced,
    )


def _ordered(views: Sequence[View], order: str, given: Mapping[str, Any]) -> Curves:
    """The curves of an order, computed once for all metrics."""
    return together(views, order, lambda views: _curves(views, order, given))


def _gain(views: Sequence[View], **given: Any) -> list[Numbers]:
    gain = symmetric_relevance_gain
    orders = (_ordered(views, order, given) for order in ("lerf", "morf"))
    return [
        {
            "srg": gain(lerf, morf),
            "srg_probability": gain(lerf, morf, "probabilities"),
            "srg_accuracy": gain(lerf, morf, "correct"),
        }
        for lerf, morf in zip(*orders, strict=True)
    ]


def _deletion(views: Sequence[View], **given: Any) -> list[Numbers]:
    replacement = views[0].scene.replacement
    if isinstance(replacement, float) and replacement == 0:
        return _areas("deletion", _ordered(views, "morf", given))
    return _areas("deletion", _curves(views, "morf", given, replacements=None))


def _insertion(views: Sequence[View], **given: Any) -> list[Numbers]:
    x = [view.scene.x for view in views]
    soft = [blurred(image) for image in x]
    sharp = _curves(views, "morf", given, x=soft, replacements=x, logits=None)
    return _areas("insertion", sharp)


def _areas(name: str, curves: Curves) -> list[Numbers]:
    area = area_under_curve
    return [{name: area(curve.fractions, np.asarray(curve.probabilities))} for curve in curves]


def _faithfulness(v: View, draws: int, seed: int, batch_size: int) -> float:
    return faithfulness.faithfulness_correlation(
        v.scene.predict,
        v.scene.x,
        v.heatmap,
        v.scene.target,
        samples=draws,
        replacement=v.scene.replacement,
        seed=seed_of(seed, v.scene.position, Purpose.SETS_OF_PIXELS),
        batch_size=batch_size,
    )


def _infidelity(v: View, draws: int, seed: int, batch_size: int) -> Numbers:
    told, drops = faithfulness.told_and_lost(
        v.scene.predict,
        v.scene.x,
        v.heatmap,
        v.scene.target,
        samples=draws,
        seed=seed_of(seed, v.scene.position, Purpose.SQUARES),
        batch_size=batch_size,
    )
    error = faithfulness.squared_error
    return {
        "infidelity": error(told, drops),
        "infidelity_scaled": error(told, drops, scaled=True),
    }


def _curve_metric(order: str, columns: tuple[Column, ...], reference: str, **more: Any) -> Metric:
    """LeRF or MoRF."""

    def measure(views: Sequence[View], **given: Any) -> list[Numbers]:
        return [
            {
                order: {
                    "correct": np.asarray(curve.correct, int).tolist(),
                    "logit": curve.logits.tolist(),
                    "probability": np.asarray(curve.probabilities).tolist(),
                }
            }
            for curve in _ordered(views, order, given)
        ]

    def summarize(protocol: Mapping[str, Any], numbers: Sequence[Numbers]) -> dict[str, Ratio]:
        fractions = np.asarray(protocol["perturbation"]["fractions"], dtype=np.float64)
        accuracy, logit = curves(numbers, order, "correct"), curves(numbers, order, "logit")
        return {
            f"{order}_area": mean(_area(accuracy, fractions)),
            f"{order}_accuracy_aopc": mean(_mean_drop(accuracy)),
            f"{order}_logit_aopc": mean(_mean_drop(logit)),
        }

    known = columns, FURTHER, FURTHER_WORDS, reference, summarize, STEPS
    return Metric(order, measure, *known, perturbs=True, **more)


def _areas_metric(
    name: str, measure: Measure, columns: tuple[Column, ...], words: str, reference: str
) -> Metric:
    """A metric of the areas under curves."""
    known = columns, FAITHFULNESS, words, reference, None, STEPS
    return Metric(name, measure, *known, perturbs=True)


def parts_of(numbers: Sequence[Numbers], name: str) -> dict[str, str]:
    """Those of `PARTS` that every image has; the version before had no probabilities."""
    return {
        label: part
        for label, part in PARTS.items()
        if all(part in image[name] for image in numbers)
    }


def curves(numbers: Sequence[Numbers], name: str, part: str) -> Array:
    """A curve of each image, (images, steps + 1)."""
    return np.array([image[name][part] for image in numbers], dtype=np.float64)


def _area(curves: Array, fractions: Array) -> Array:
    """The area under the curve of each image by trapezoids."""
    return (curves[:, 1:] + curves[:, :-1]) @ np.diff(fractions) / 2


def _mean_drop(curves: Array) -> Array:
    """AOPC of each image: the mean of f_0 - f_k over all steps, k = 0 among them."""
    return (curves[:, :1] - curves).mean(axis=1)


METRICS = (
    _curve_metric(
        "lerf",
        (
            compared("LeRF area", "lerf_area", "higher", "LeRF area"),
            Column("LeRF AOPC", "lerf_logit_aopc", "lower", place=1),
        ),
        "Fig. 7",
        curve=Curve("LeRF", "least", "high"),
        default=True,
    ),
    _curve_metric(
        "morf",
        (
            Column("MoRF area", "morf_area", "lower"),
            Column("MoRF AOPC", "morf_logit_aopc", "higher", place=1),
        ),
        "Samek et al. 2017",
        curve=Curve("MoRF", "most", "low"),
    ),
    _areas_metric(
        "srg",
        _gain,
        (
            compared("SRG", "srg", "higher", "SRG"),
            Column("SRG, probability", "srg_probability", "higher"),
            Column("SRG, accuracy", "srg_accuracy", "higher"),
        ),
        "SRG: symmetric relevance gain, the area between the curves of LeRF and MoRF: of the "
        "explained logit, of its probability, of the accuracy. What the replacement does to every order "
        "alike drops out; noise has 0.",
        "Blücher et al. 2024",
    ),
    _areas_metric(
        "insertion",
        _insertion,
        (compared("insertion", "insertion", "higher"),),
        "Insertion: the area under the probability while the pixels of a blurred image (Gaussian "
        "of 5 pixels) become sharp from the most relevant on.",
        "Petsiuk et al. 2018",
    ),
    _areas_metric(
        "deletion",
        _deletion,
        (compared("deletion", "deletion", "lower"),),
        "Deletion: that while pixels become 0 from the most relevant on.",
        "Petsiuk et al. 2018",
    ),
    one_number(
        "faithfulness_correlation",
        _faithfulness,
        "higher",
        FAITHFULNESS,
        "Faithfulness correlation: of the relevance of random sets, each of a tenth of the "
        "pixels, with what the logit loses where they are replaced.",
        "Bhatt et al. 2020",
        settings=DRAWS,
        perturbs=True,
    ),
    Metric(
        "infidelity",
        each(_infidelity),
        (
            Column("infidelity, median", "infidelity_median", "lower"),
            Column("infidelity, scaled, median", "infidelity_scaled_median", "lower"),
        ),
        FAITHFULNESS,
        "Infidelity: the mean square of the relevance on random squares, a quarter of the image's "
        "side, less what the logit loses where they are 0; scaled: after each map is multiplied by the "
        "number that suits it best.",
        "Yeh et al. 2019",
        settings=DRAWS,
    ),
)
