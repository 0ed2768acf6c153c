"""Whether a map is stable under small changes of the input, and depends on the model's parameters."""

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
    """Radius, number, seed and batch size of the changes of the input."""
    radius = given["radius"] * float(np.ptp(v.scene.x))
    seed = seed_of(given["seed"], v.scene.position, purpose)
    return radius, given["neighbours"], seed, given["batch_size"]


def _near(v: View, given: Json) -> tuple[Array, Array]:
    """The distances of neighbours of the input: of their maps to its map, and of the inputs."""

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
    **more: Any,
) -> Metric:
    """A metric of the similarity between the maps of the model and of its randomised copies."""
    name = title.lower()

    def measure(v: View, **given: Any) -> tuple[float, ...]:
        before, *after = (map_at(v, stage, given) for stage in (None, *STAGES))
        return tuple(randomisation.randomisation_similarity(before, after))

    columns = tuple(
        Column(f"{title}, {stage}", f"{name}_{stage}", "lower" if stage == "all" else "")
        for stage in STAGES
    )
    known = columns, ROBUSTNESS, words
    return Metric(name, each(measure), *known, defined=_follow_inputs, stages=STAGES, **more)


def _near_words(protocol: Json) -> str:
    changes = protocol["changes"]
    return (
        f"Over {changes['neighbours']} inputs near the image, with uniform changes of up to "
        f"{changes['radius']:g} of the input's range. Max-sensitivity: the largest change of the map "
        "relative to its size. Local Lipschitz: the largest change of the map relative to the change of "
        "the input, in units of relevance."
    )


METRICS = (
    one_number(
        "max_sensitivity",
        lambda v, **given: robustness.largest_change(v.heatmap, _near(v, given)[0]),
        "lower",
        ROBUSTNESS,
        _near_words,
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
        settings=CHANGES,
        defined=lambda v: v.maps.follow_inputs and bool(np.ptp(v.scene.x)),
    ),
    _by_stage(
        "MPRT",
        lambda v, stage, given: v.heatmap if stage is None else _randomised(v, stage),
        "MPRT: the rank correlation between the absolute relevance of the model and of a copy whose "
        "parameters are shuffled within each array: in the layer of the logits, in the later half of "
        "the layers, or in all layers. It is near 0 for a map that depends on the learned parameters.",
    ),
    _by_stage(
        "sMPRT",
        _smoothed,
        lambda protocol: (
            f"sMPRT: the same for maps averaged over {protocol['changes']['neighbours']} inputs with "
            f"Gaussian noise of {protocol['changes']['radius']:g} of the input's range."
        ),
        settings=CHANGES,
    ),
    one_number(
        "emprt",
        lambda v: randomisation.entropy_rise(v.heatmap, _randomised(v, "all")),
        "higher",
        ROBUSTNESS,
        "eMPRT: the increase in complexity from the model's map to the map of a copy with all "
        "parameters shuffled, relative to the first: the entropy of their histograms (100 bins).",
        label="eMPRT",
        defined=_follow_inputs,
        stages=("all",),
    ),
)
