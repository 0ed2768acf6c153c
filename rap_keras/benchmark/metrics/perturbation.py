"""The effect of replaced pixels on the decision."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rap_keras.benchmark.grids import shape_of
from rap_keras.benchmark.metrics.metric import Column, Curve, Metric, compared, each, one_number
from rap_keras.benchmark.metrics.tables import FAITHFULNESS, FURTHER, FURTHER_WORDS
from rap_keras.benchmark.metrics.view import Scene, View, together
from rap_keras.benchmark.seeds import Purpose, seed_of
from rap_keras.benchmark.statistics import Array, Json, Numbers, Ratio, mean
from rap_keras.evaluation import deletion, faithfulness, perturbation
from rap_keras.evaluation.curves import (
    PerturbationCurve,
    area_under_curve,
    symmetric_relevance_gain,
)
from rap_keras.evaluation.replacement import blurred

PARTS = {"accuracy": "correct", "logit": "logit", "probability": "probability"}
"""The curves by their names in the summary, with their names in an image's record."""

GAINS = {"srg": "logits", "srg_probability": "probabilities", "srg_accuracy": "correct"}

MEAN_AREA = "mean_area"
"""In an image's record: the mean of the areas under the probabilities of LeRF and MoRF."""

REPLACED = "replaced_share"
"""In an image's record: the share of the image that all steps replace.

It differs between images of different sizes. Older records lack it; then it is that of the protocol.
"""

DRAWS = ("draws", "seed", "batch_size")

Curves = list[PerturbationCurve]


def _curves(views: Sequence[View], order: str, given: Json, **replaced: Any) -> Curves:
    """The curves of a method's maps of the images of a chunk, whose steps share batches."""
    scenes = [view.scene for view in views]
    options: dict[str, Any] = {
        "x": [scene.x for scene in scenes],
        "logits": np.stack([scene.logits for scene in scenes]),
    }
    return perturbation.perturbation_curves(
        scenes[0].predict,
        heatmaps=[view.heatmap for view in views],
        neurons=[scene.target for scene in scenes],
        order=order,
        head=scenes[0].head,
        **dict(given) | _without_gradients(given),
        **options | replaced,
    )


def _without_gradients(given: Json) -> dict[str, Any]:
    """The batch size of forward passes, which keep no values for gradients."""
    return {"batch_size": 2 * given["batch_size"]}


def _ordered(views: Sequence[View], order: str, given: Json, imputer: str | None = None) -> Curves:
    """The curves of an order, computed once for all metrics."""

    def compute(views: Sequence[View]) -> Curves:
        scenes = [view.scene for view in views]
        replacements = [s.replacements[imputer] if imputer else s.replacement for s in scenes]
        return _curves(views, order, given, replacements=replacements)

    first, *_ = views[0].scene.replacements
    return together(views, f"{order} {imputer or first}", compute)


def _gain(views: Sequence[View], imputer: str | None = None, **given: Any) -> list[Numbers]:
    lerf, morf = (_ordered(views, order, given, imputer) for order in ("lerf", "morf"))
    return [
        {name: symmetric_relevance_gain(low, high, part) for name, part in GAINS.items()}
        | {MEAN_AREA: (below + above) / 2, REPLACED: low.fractions[-1]}
        for low, high, below, above in zip(lerf, morf, _areas(lerf), _areas(morf), strict=True)
    ]


def _deletion(views: Sequence[View], **given: Any) -> list[float]:
    if "zero" in views[0].scene.replacements:
        return _areas(_ordered(views, "morf", given, "zero"))
    return _areas(_curves(views, "morf", given, replacements=None))


def _insertion(views: Sequence[View], **given: Any) -> list[float]:
    x = [view.scene.x for view in views]
    soft = [blurred(image) for image in x]
    return _areas(_curves(views, "morf", given, x=soft, replacements=x, logits=None))


def _areas(curves: Curves) -> list[float]:
    return [area_under_curve(c.fractions, np.asarray(c.probabilities)) for c in curves]


def _by_draws(
    function: Callable[..., Any], v: View, purpose: Purpose, given: Json, **more: Any
) -> Any:
    """A function of random changes of an image."""
    scene, seed = v.scene, seed_of(given["seed"], v.scene.position, purpose)
    drawn = {"samples": given["draws"], "seed": seed} | _without_gradients(given)
    return function(scene.predict, scene.x, v.heatmap, scene.target, **drawn, **more)


def _faithfulness(v: View, **given: Any) -> float:
    function, replacement = faithfulness.faithfulness_correlation, v.scene.replacement
    found = _by_draws(function, v, Purpose.SETS_OF_PIXELS, given, replacement=replacement)
    return float(found)


def _infidelity(v: View, **given: Any) -> tuple[float, float]:
    predicted, drops = _by_draws(faithfulness.predicted_and_actual_drops, v, Purpose.SQUARES, given)
    error = faithfulness.squared_error
    return error(predicted, drops), error(predicted, drops, scaled=True)


def _of_order(order: str, columns: tuple[Column, ...], **more: Any) -> Metric:
    """LeRF or MoRF."""

    def measure(views: Sequence[View], imputer: str | None = None, **given: Any) -> list[Numbers]:
        return [
            {
                order: {
                    "correct": np.asarray(curve.correct, int).tolist(),
                    "logit": curve.logits.tolist(),
                    "probability": np.asarray(curve.probabilities).tolist(),
                    REPLACED: float(curve.fractions[-1]),
                }
            }
            for curve in _ordered(views, order, given, imputer)
        ]

    def summarize(protocol: Json, numbers: Sequence[Numbers]) -> dict[str, Ratio]:
        fractions = np.asarray(protocol["perturbation"]["fractions"], dtype=np.float64)
        accuracy, logit = curves(numbers, order, "correct"), curves(numbers, order, "logit")
        share = np.array([image[order].get(REPLACED, fractions[-1]) for image in numbers])
        return {
            f"{order}_area": mean(_area(accuracy, fractions) * (share / fractions[-1])),
            f"{order}_accuracy_aopc": mean(_mean_drop(accuracy)),
            f"{order}_logit_aopc": mean(_mean_drop(logit)),
        }

    return _of_curves(order, measure, columns, FURTHER, FURTHER_WORDS, summarize, **more)


_of_curves = functools.partial(
    Metric, settings=("steps", "pixels_per_step", "patch", "batch_size"), perturbs=True
)


def curves(numbers: Sequence[Numbers], name: str, part: str) -> Array:
    """A curve of each image, (images, steps + 1)."""
    return np.array([image[name][part] for image in numbers], dtype=np.float64)


def _area(curves: Array, fractions: Array) -> Array:
    """The area under the curve of each image by trapezoids."""
    return (curves[:, 1:] + curves[:, :-1]) @ np.diff(fractions) / 2


def _mean_drop(curves: Array) -> Array:
    """AOPC of each image: the mean of f_0 - f_k over all steps, including k = 0."""
    return (curves[:, :1] - curves).mean(axis=1)


def _single_deletion(views: Sequence[View], deletion_grid: str, **given: Any) -> list[float]:
    grid = shape_of(deletion_grid)

    def drops(scenes: Sequence[Scene]) -> Array:
        return deletion.single_deletion_drops(
            scenes[0].predict,
            [scene.x for scene in scenes],
            [scene.target for scene in scenes],
            grid,
            **_without_gradients(given),
            logits=np.stack([scene.logits for scene in scenes]),
        )

    # The drops do not depend on the map: all rows of the benchmark share those of a chunk.
    found = together([view.scene for view in views], f"drops {deletion_grid}", drops)
    return [
        deletion.deletion_correlation(view.heatmap, one, grid)
        for view, one in zip(views, found, strict=True)
    ]


METRICS = (
    _of_order(
        "lerf",
        (
            compared("LeRF area", "lerf_area", "higher", "LeRF area"),
            Column("LeRF AOPC", "lerf_logit_aopc", "lower", place=1),
        ),
        curve=Curve("LeRF", "least", "high"),
        by_imputer=True,
        default=True,
    ),
    _of_order(
        "morf",
        (
            Column("MoRF area", "morf_area", "lower"),
            Column("MoRF AOPC", "morf_logit_aopc", "higher", place=1),
        ),
        curve=Curve("MoRF", "most", "low"),
        by_imputer=True,
    ),
    _of_curves(
        "srg",
        _gain,
        (
            compared("SRG", "srg", "higher", "SRG"),
            Column("SRG, probability", "srg_probability", "higher"),
            Column("SRG, accuracy", "srg_accuracy", "higher"),
        ),
        FAITHFULNESS,
        "SRG: the symmetric relevance gain, which is the area between the curves of LeRF and MoRF. It "
        "is given for the target's logit, its probability and the accuracy. Effects of the "
        "replacement that are the same for every order cancel; noise scores 0.",
        by_imputer=True,
    ),
    _of_curves(
        "insertion",
        _insertion,
        (compared("insertion", "insertion", "higher"),),
        FAITHFULNESS,
        "Insertion: the area under the probability while the pixels of a blurred image (Gaussian of 5 "
        "pixels) are restored, the most relevant first.",
    ),
    _of_curves(
        "deletion",
        _deletion,
        (compared("deletion", "deletion", "lower"),),
        FAITHFULNESS,
        "Deletion: the area under the probability while pixels become 0, the most relevant first.",
    ),
    one_number(
        "faithfulness_correlation",
        _faithfulness,
        "higher",
        FAITHFULNESS,
        "Faithfulness correlation: the correlation between the relevance of random sets, each of a "
        "tenth of the pixels, and the drop of the logit when they are replaced.",
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
        "Infidelity: the mean squared difference between the relevance on random squares, whose side is "
        "a quarter of the image's, and the drop of the logit when they are set to 0. Scaled: after each "
        "map is multiplied by the factor that fits best.",
        settings=DRAWS,
    ),
    Metric(
        "single_deletion",
        _single_deletion,
        (compared("single deletion", "single_deletion", "higher", "single deletion"),),
        FAITHFULNESS,
        lambda protocol: (
            "Single deletion: the rank correlation, on each image, between the relevance of each patch "
            f"of a grid of {protocol['deletion_grid']} and the drop of the target's logit when this "
            "patch alone becomes 0."
        ),
        settings=("deletion_grid", "batch_size"),
    ),
)
