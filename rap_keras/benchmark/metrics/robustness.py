"""Whether a map stays where its input hardly changes, and changes where the model forgets."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from rap_keras.benchmark.metrics.metric import Column, Metric, each, one_number
from rap_keras.benchmark.metrics.tables import ROBUSTNESS
from rap_keras.benchmark.metrics.view import Stack, View
from rap_keras.benchmark.seeds import Purpose, seed_of
from rap_keras.benchmark.statistics import Array, Json
from rap_keras.evaluation import randomisation, robustness
from rap_keras.models.randomisation import STAGES

CHANGES = ("radius", "neighbours", "seed", "batch_size")


def _changes(v: View, purpose: Purpose, given: Json) -> tuple[Any, ...]:
    """How the input is changed: radius, number, seed and batch size, as the functions take them."""
    radius = given["radius"] * float(np.ptp(v.scene.x))
    seed = seed_of(given["seed"], v.scene.position, purpose)
    return radius, given["neighbours"], seed, given["batch_size"]


def _near(v: View, given: Json) -> tuple[Array, Array]:
    """How far the maps of neighbours of the input are from its map, and they from the input."""

    def compute() -> tuple[Array, Array]:
        heatmap, x = np.asarray(v.heatmap, np.float64), np.asarray(v.scene.x, np.float64)
        changes, steps, first = [], [], 0
        for inputs in robustness.neighbour_batches(
            v.scene.x, *_changes(v, Purpose.NEIGHBOURS, given)
        ):
            changes.append(
                robustness.distances(heatmap, v.maps.of_inputs(v.scene, inputs, first=first))
            )
            steps.append(robustness.distances(x, inputs))
            first += len(inputs)
        return np.concatenate(changes), np.concatenate(steps)

    return v.once("neighbours", compute)


def _randomised(v: View, stage: str) -> Stack:
    """The map by the randomised model."""
    x = v.scene.x[np.newaxis]
    return v.once(f"randomised {stage}", lambda: v.maps.of_inputs(v.scene, x, stage)[0])


def _smoothed(v: View, stage: str | None, given: Json) -> Stack:
    radius, count, seed, batch_size = _changes(v, Purpose.NOISE, given)
    places = itertools.count(0, batch_size)  # of the first input of each batch

    def explain(inputs: Array) -> Stack:
        return v.maps.of_inputs(v.scene, inputs, stage, next(places))

    return randomisation.smoothed_map(explain, v.scene.x, radius, count, seed, batch_size)


def _follow_inputs(v: View) -> bool:
    return v.maps.follow_inputs


def _by_stage(
    title: str,
    map_at: Callable[[View, str | None, Json], Stack],
    words: str | Callable[[Json], str],
    reference: str,
    **more: Any,
) -> Metric:
    """A metric of how similar the maps of the model and of each of its randomised copies are."""
    name = title.lower()

    def measure(v: View, **given: Any) -> tuple[float, ...]:
        before, *after = (map_at(v, stage, given) for stage in (None, *STAGES))
        return tuple(randomisation.randomisation_similarity(before, after))

    columns = tuple(
        Column(f"{title}, {stage}", f"{name}_{stage}", "lower" if stage == "all" else "")
        for stage in STAGES
    )
    known = columns, ROBUSTNESS, words, reference
    return Metric(name, each(measure), *known, defined=_follow_inputs, stages=STAGES, **more)


def _near_words(protocol: Json) -> str:
    changes = protocol["changes"]
    return (
        f"Over {changes['neighbours']} inputs near the image, whose numbers are changed evenly by at "
        f"most {changes['radius']:g} of their range: max-sensitivity, the largest change of the map "
        "relative to its size; local Lipschitz, the largest change of the map relative to that of the "
        "input, which is in the unit of relevance."
    )


def _smooth_words(protocol: Json) -> str:
    changes = protocol["changes"]
    return (
        f"sMPRT: that of maps averaged over {changes['neighbours']} inputs with Gaussian noise of "
        f"{changes['radius']:g} of their range."
    )


METRICS = (
    one_number(
        "max_sensitivity",
        lambda v, **given: robustness.largest_change(v.heatmap, _near(v, given)[0]),
        "lower",
        ROBUSTNESS,
        _near_words,
        "Yeh et al. 2019",
        label="max-sensitivity",
        settings=CHANGES,
        defined=_follow_inputs,
    ),
    Metric(
        "local_lipschitz",
        each(lambda v, **given: robustness.steepest_change(*_near(v, given))),
        (Column("local Lipschitz, median", "local_lipschitz_median"),),
        ROBUSTNESS,
        _near_words,
        "Alvarez-Melis and Jaakkola 2018",
        settings=CHANGES,
        defined=lambda v: v.maps.follow_inputs and bool(np.ptp(v.scene.x)),
    ),
    _by_stage(
        "MPRT",
        lambda v, stage, given: v.heatmap if stage is None else _randomised(v, stage),
        "MPRT: the rank correlation of the sizes of relevance with those by a copy of the model "
        "whose parameters are shuffled within each array: in the layer of the logits, in the later half "
        "of the layers, in all. Near 0 for a map that depends on what was learned.",
        "Adebayo et al. 2018",
    ),
    _by_stage("sMPRT", _smoothed, _smooth_words, "Hedström et al. 2024", settings=CHANGES),
    one_number(
        "emprt",
        lambda v: randomisation.entropy_rise(v.heatmap, _randomised(v, "all")),
        "higher",
        ROBUSTNESS,
        "eMPRT: how much more complex the map by the copy with all parameters shuffled is, "
        "relative to the map: by the entropy of their histograms (100 bins).",
        "Hedström et al. 2024",
        label="eMPRT",
        defined=_follow_inputs,
        stages=("all",),
    ),
)
