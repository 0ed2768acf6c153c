"""Whether a map stays where its input hardly changes, and changes where the model forgets."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.benchmark.metrics.record import (
    Column,
    ExplainInputs,
    Metric,
    Record,
    View,
    defined,
    each,
    means_of,
)
from rap_keras.benchmark.metrics.tables import ROBUSTNESS
from rap_keras.benchmark.seeds import Purpose
from rap_keras.benchmark.statistics import Array
from rap_keras.evaluation import randomisation, robustness
from rap_keras.models.randomisation import STAGES

Stack = NDArray[np.floating]


def _radius(v: View) -> float:
    return v.scene.settings.radius * float(np.ptp(v.scene.x))


def _near(v: View, explain: ExplainInputs) -> tuple[Array, Array]:
    """How far the maps of neighbours of the input are from its map, and they from the input."""

    def compute() -> tuple[Array, Array]:
        scene, s = v.scene, v.scene.settings
        seed = scene.seed(Purpose.NEIGHBOURS)
        batches = robustness.neighbour_batches(
            scene.x, _radius(v), s.neighbours, seed, s.batch_size
        )
        heatmap, x = np.asarray(v.heatmap, np.float64), np.asarray(scene.x, np.float64)
        found = [
            (
                robustness.distances(heatmap, explain(inputs, first=k * s.batch_size)),
                robustness.distances(x, inputs),
            )
            for k, inputs in enumerate(batches)
        ]
        changes, steps = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return changes, steps

    return v.once("neighbours", compute)


def _sensitivity(v: View) -> Record:
    if v.explain_inputs is None:
        return {"max_sensitivity": None}
    changes, _ = _near(v, v.explain_inputs)
    return {"max_sensitivity": defined(robustness.largest_change(v.heatmap, changes))}


def _lipschitz(v: View) -> Record:
    if v.explain_inputs is None or np.ptp(v.scene.x) == 0:
        return {"local_lipschitz": None}
    return {"local_lipschitz": defined(robustness.steepest_change(*_near(v, v.explain_inputs)))}


def _randomised(v: View, explain: ExplainInputs, stage: str) -> Stack:
    """The map by the randomised model."""
    x = v.scene.x[np.newaxis]
    return v.once(f"randomised {stage}", lambda: explain(x, stage)[0])


def _similarities(
    prefix: str, v: View, maps: Callable[[ExplainInputs], tuple[Stack, list[Stack]]]
) -> Record:
    names = [f"{prefix}_{stage}" for stage in STAGES]
    if v.explain_inputs is None:
        return dict.fromkeys(names)
    found = randomisation.randomisation_similarity(*maps(v.explain_inputs))
    return dict(zip(names, map(defined, found), strict=True))


def _mprt(v: View) -> Record:
    return _similarities(
        "mprt",
        v,
        lambda explain: (v.heatmap, [_randomised(v, explain, stage) for stage in STAGES]),
    )


def _smprt(v: View) -> Record:
    def smoothed(explain: ExplainInputs, stage: str | None) -> Stack:
        s = v.scene.settings
        places = itertools.count(0, s.batch_size)  # of the first input of each batch
        return randomisation.smoothed_map(
            lambda inputs: explain(inputs, stage, next(places)),
            v.scene.x,
            _radius(v),
            s.neighbours,
            v.scene.seed(Purpose.NOISE),
            s.batch_size,
        )

    return _similarities(
        "smprt",
        v,
        lambda explain: (smoothed(explain, None), [smoothed(explain, s) for s in STAGES]),
    )


def _emprt(v: View) -> Record:
    if v.explain_inputs is None:
        return {"emprt": None}
    other = _randomised(v, v.explain_inputs, "all")
    return {"emprt": defined(randomisation.entropy_rise(v.heatmap, other))}


def _near_words(protocol: Mapping[str, Any]) -> str:
    changes = protocol["changes"]
    return (
        f"Over {changes['neighbours']} inputs near the image, whose numbers are changed evenly by at "
        f"most {changes['radius']:g} of their range: max-sensitivity, the largest change of the map "
        "relative to its size; local Lipschitz, the largest change of the map relative to that of the "
        "input, which is in the unit of relevance."
    )


def _smooth_words(protocol: Mapping[str, Any]) -> str:
    changes = protocol["changes"]
    return (
        f"sMPRT: that of maps averaged over {changes['neighbours']} inputs with Gaussian noise of "
        f"{changes['radius']:g} of their range."
    )


def _stage_columns(title: str, name: str) -> tuple[Column, ...]:
    return tuple(
        Column(f"{title}, {stage}", f"{name}_{stage}", "lower" if stage == "all" else "")
        for stage in STAGES
    )


METRICS = (
    Metric(
        name="max_sensitivity",
        measure=each(_sensitivity),
        summarize=means_of("max_sensitivity"),
        columns=(
            Column("max-sensitivity", "max_sensitivity", "lower", difference="max-sensitivity"),
        ),
        table=ROBUSTNESS,
        words=_near_words,
        reference="Yeh et al. 2019",
        default=False,
        draws=True,
    ),
    Metric(
        name="local_lipschitz",
        measure=each(_lipschitz),
        summarize=means_of("local_lipschitz"),
        medians=("local_lipschitz",),
        columns=(Column("local Lipschitz, median", "local_lipschitz_median"),),
        table=ROBUSTNESS,
        words=_near_words,
        reference="Alvarez-Melis and Jaakkola 2018",
        default=False,
        draws=True,
    ),
    Metric(
        name="mprt",
        measure=each(_mprt),
        summarize=means_of(*(f"mprt_{stage}" for stage in STAGES)),
        columns=_stage_columns("MPRT", "mprt"),
        table=ROBUSTNESS,
        words="MPRT: the rank correlation of the sizes of relevance with those by a copy of the model "
        "whose parameters are shuffled within each array: in the layer of the logits, in the later half "
        "of the layers, in all. Near 0 for a map that depends on what was learned.",
        reference="Adebayo et al. 2018",
        default=False,
        stages=STAGES,
    ),
    Metric(
        name="smprt",
        measure=each(_smprt),
        summarize=means_of(*(f"smprt_{stage}" for stage in STAGES)),
        columns=_stage_columns("sMPRT", "smprt"),
        table=ROBUSTNESS,
        words=_smooth_words,
        reference="Hedström et al. 2024",
        default=False,
        draws=True,
        stages=STAGES,
    ),
    Metric(
        name="emprt",
        measure=each(_emprt),
        summarize=means_of("emprt"),
        columns=(Column("eMPRT", "emprt", "higher", difference="eMPRT"),),
        table=ROBUSTNESS,
        words="eMPRT: how much more complex the map by the copy with all parameters shuffled is, "
        "relative to the map: by the entropy of their histograms (100 bins).",
        reference="Hedström et al. 2024",
        default=False,
        stages=("all",),
    ),
)
