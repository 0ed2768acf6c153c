"""Whether a map tells classes apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.benchmark.metrics.record import (
    Column,
    Metric,
    Record,
    View,
    defined,
    each,
    means_of,
    where,
)
from rap_keras.benchmark.metrics.tables import CLASSES
from rap_keras.datasets import Sample
from rap_keras.errors import InputError
from rap_keras.evaluation import classes


def _energy(v: View) -> Record:
    scene, sample = v.scene, v.scene.sample
    everything = np.logical_or.reduce(list(sample.objects.values()))
    others = everything & ~scene.mask
    nothing = scene.void | ~everything
    share = classes.relevance_share
    return {
        "energy": defined(share(v.heatmap, scene.mask, "positive", scene.void)),
        "energy_all": defined(share(v.heatmap, scene.mask, "all", scene.void)),
        "own_object": defined(share(v.heatmap, scene.mask, "positive", nothing))
        if others.any()
        else None,
    }


def _grid(views: Sequence[View]) -> list[Record]:
    def play(views: Sequence[View]) -> list[Record]:
        grids = [view.scene.grid for view in views]
        neurons = [view.scene.neuron for view in views]
        maps = views[0].explain(views, np.stack([grid.pixels for grid in grids if grid]), neurons)
        game = classes.grid_pointing_game
        return [
            {
                "grid": defined(game(heatmap, grid.cell, grid.shape, "positive")),
                "grid_all": defined(game(heatmap, grid.cell, grid.shape, "all")),
            }
            for heatmap, grid in zip(maps, grids, strict=True)
            if grid
        ]

    undefined = {"grid": None, "grid_all": None}
    return where(views, lambda view: view.scene.grid is not None, play, undefined)


def _grid_words(protocol: Mapping[str, Any]) -> str:
    grid = protocol["grid"]
    return (
        f"Grid pointing game: {grid['shape']} images of different classes, of each of which the model "
        f"is sure (right, with a probability of {grid['confidence']:g} at least), in cells of "
        f"{'their own' if grid['cells'] == 'full' else 'a smaller'} size; the share of the positive "
        f"relevance for one of the classes that lies in its cell, by chance {1 / grid['count']:.2g}. "
        "Signed: negative relevance in the other cells counts as right, that in the own as wrong."
    )


def _random_logit(views: Sequence[View]) -> list[Record]:
    def compare(views: Sequence[View]) -> list[Record]:
        images = np.stack([view.scene.sample.image for view in views])
        others = [view.scene.other for view in views if view.scene.other is not None]
        like = classes.map_similarity
        return [
            {
                "random_logit": defined(like(view.heatmap, heatmap, absolute=True)),
                "random_logit_signed": defined(like(view.heatmap, heatmap)),
            }
            for view, heatmap in zip(views, views[0].explain(views, images, others), strict=True)
        ]

    undefined = {"random_logit": None, "random_logit_signed": None}
    return where(views, lambda view: view.scene.other is not None, compare, undefined)


def _removal(v: View) -> Record:
    scene = v.scene
    effects = scene.effects
    if effects is None:
        return {"removal": None, "removal_margin": None}
    neurons = range(effects.shape[1])
    images = np.stack([scene.sample.image] * len(neurons))
    maps = v.explain([v] * len(neurons), images, neurons)
    relevance = [[m[scene.sample.objects[label]].sum() for m in maps] for label in scene.removable]
    correlation = classes.rank_correlation
    return {
        "removal": defined(correlation(relevance, effects)),
        "removal_margin": defined(correlation(relevance, _margins(effects, scene.logits))),
    }


def _margins(effects: NDArray[np.floating], logits: NDArray[np.floating]) -> NDArray[np.floating]:
    """Effects on each logit less its alternatives, weighted as by contrast="softmax"."""
    margins = np.array(effects, np.float64)
    for neuron in range(len(logits)):
        others = np.delete(np.arange(len(logits)), neuron)
        weights = np.exp(logits[others] - logits[others].max())
        margins[:, neuron] -= effects[:, others] @ (weights / weights.sum())
    return margins


def _needs_removal(sample: Sample) -> None:
    if not sample.without:
        raise InputError(
            "Expected a data set whose objects can be taken away for the metric removal, "
            "cluttered-digits or cluttered-digit-pairs: choose one, or leave the metric out.",
            ("metrics", "data"),
        )


METRICS = (
    Metric(
        name="energy",
        measure=each(_energy),
        summarize=means_of("energy", "energy_all", "own_object"),
        columns=(
            Column("energy", "energy", "higher", difference="energy", terminal="energy"),
            Column("energy, signed", "energy_all", "higher"),
            Column("own object", "own_object", "higher", difference="own object"),
        ),
        table=CLASSES,
        words="Energy: the share of the positive relevance that is on the object (energy-based pointing "
        "game); signed: negative relevance outside of it counts as right, that inside as wrong. Own "
        "object: of the positive relevance that is on any object, the share on the explained one, where "
        "there are others.",
        reference="Wang et al. 2020",
        default=False,
    ),
    Metric(
        name="grid",
        measure=_grid,
        summarize=means_of("grid", "grid_all"),
        columns=(
            Column(
                "grid pointing game",
                "grid",
                "higher",
                difference="grid pointing game",
                terminal="grid",
            ),
            Column("grid, signed", "grid_all", "higher"),
        ),
        table=CLASSES,
        words=_grid_words,
        reference="Böhle et al. 2021",
        default=False,
    ),
    Metric(
        name="random_logit",
        measure=_random_logit,
        summarize=means_of("random_logit", "random_logit_signed"),
        columns=(
            Column(
                "random logit",
                "random_logit",
                "lower",
                difference="random logit",
                terminal="random",
            ),
            Column("random logit, signed", "random_logit_signed"),
        ),
        table=CLASSES,
        words="Random logit: the rank correlation of the sizes of relevance with those of the map of "
        "another neuron, drawn for each image; 1 for a map that shows the same places for each class. "
        "Signed: that of the relevance itself, which a logit of the other sign turns round.",
        reference="Sixt et al. 2020",
        default=False,
    ),
    Metric(
        name="removal",
        measure=each(_removal),
        summarize=means_of("removal", "removal_margin"),
        columns=(
            Column("removal", "removal", "higher", difference="removal", terminal="removal"),
            Column("removal, margin", "removal_margin", "higher"),
        ),
        table=CLASSES,
        words="Removal: for each object and each neuron, the relevance on the object and what the "
        "logit loses where the object is not on the image; their rank correlation, image by image. "
        "Margin: what the logit loses less what the others lose, weighted by their probability among "
        "themselves.",
        reference="Hesse et al. 2023",
        check=_needs_removal,
        default=False,
    ),
)
