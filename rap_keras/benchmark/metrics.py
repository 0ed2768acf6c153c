"""What is measured of one map of one image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.benchmark.settings import Settings
from rap_keras.evaluation import localization, maps, perturbation

Record = dict[str, Any]


@dataclass(frozen=True)
class View:
    """What measures see of one method's map of one image.

    Attributes:
        settings: The benchmark's settings.
        relevance: The relevance `(height, width, channels)`; None for controls.
        heatmap: Its sum over channels `(height, width)`.
        mask: The object.
        void: Pixels that do not count.
        threshold: Where the heat map's foreground begins.
        x: The model's input `(height, width, channels)`.
        neuron: The neuron that is explained.
        logit: Its logit.
        replacement: What perturbed pixels become.
        predict: From batches of inputs to logits.
    """

    settings: Settings
    relevance: NDArray[np.floating] | None
    heatmap: NDArray[np.floating]
    mask: NDArray[np.bool_]
    void: NDArray[np.bool_]
    threshold: str | float
    x: NDArray[np.float32]
    neuron: int
    logit: float
    replacement: NDArray[np.float32] | float
    predict: Callable[[NDArray[np.float32]], NDArray[np.floating]]


def measured(view: View) -> Record:
    """The metrics that the settings ask for, of one method on one image."""
    record: Record = {}
    for metric in view.settings.metrics:
        record |= _MEASURES[metric](view)
    return record


def _ratio(v: View) -> Record:
    ratio = localization.outside_inside_ratio
    return {
        "ratio_all": defined(ratio(v.heatmap, v.mask, "all", v.void)),
        "ratio_positive": defined(ratio(v.heatmap, v.mask, "positive", v.void)),
    }


def _segmentation(v: View) -> Record:
    counts = localization.segmentation_counts(v.heatmap, v.mask, v.threshold, v.void)
    return {
        "correct": int(counts.correct),
        "labelled": int(counts.labelled),
        "intersection": [int(n) for n in counts.intersection],
        "union": [int(n) for n in counts.union],
    }


def _average_precision(v: View) -> Record:
    return {"average_precision": defined(localization.average_precision(v.heatmap, v.mask, v.void))}


def _pointing_game(v: View) -> Record:
    hit = localization.pointing_game(v.heatmap, v.mask, v.void, v.settings.tolerance)
    return {"pointing_game": int(hit)}


def _conservation(v: View) -> Record:
    error = None if v.relevance is None else maps.conservation_error(v.relevance, v.logit)
    return {"conservation_error": None if error is None else defined(error)}


def _sparsity(v: View) -> Record:
    return {"sparsity": defined(maps.sparsity(v.heatmap))}


def _perturbation(order: str) -> Callable[[View], Record]:
    def measure(v: View) -> Record:
        s = v.settings
        curve = perturbation.perturbation_curve(
            v.predict,
            v.x,
            v.heatmap,
            v.neuron,
            steps=s.steps,
            pixels_per_step=s.pixels_per_step,
            order=order,
            replacement=v.replacement,
            batch_size=s.batch_size,
        )
        return {order: {"correct": [int(c) for c in curve.correct], "logit": curve.logits.tolist()}}

    return measure


_MEASURES: dict[str, Callable[[View], Record]] = {
    "ratio": _ratio,
    "segmentation": _segmentation,
    "average_precision": _average_precision,
    "pointing_game": _pointing_game,
    "conservation": _conservation,
    "sparsity": _sparsity,
    "lerf": _perturbation("lerf"),
    "morf": _perturbation("morf"),
}


def defined(value: float) -> float | None:
    """A number as JSON knows it; None if it is undefined."""
    return float(value) if np.isfinite(value) else None
