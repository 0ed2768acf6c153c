"""Whether a map distinguishes classes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rap_keras.benchmark.metrics.metric import Column, Metric, compared, each
from rap_keras.benchmark.metrics.tables import CLASSES
from rap_keras.benchmark.metrics.view import Scene, View
from rap_keras.benchmark.seeds import Purpose, seed_of
from rap_keras.benchmark.statistics import Array
from rap_keras.datasets import Sample
from rap_keras.errors import InputError
from rap_keras.evaluation import classes


def _energy(v: View) -> tuple[float, ...]:
    scene, share = v.scene, classes.relevance_share
    everything = np.logical_or.reduce(list(scene.sample.objects.values()))
    has_others = (everything & ~scene.mask).any()
    nothing = scene.void | ~everything
    return (
        share(v.heatmap, scene.mask, "positive", scene.void),
        share(v.heatmap, scene.mask, "all", scene.void),
        share(v.heatmap, scene.mask, "positive", nothing) if has_others else math.nan,
    )


def _grid(views: Sequence[View]) -> list[tuple[float, float]]:
    scenes = [view.scene for view in views]
    grids = [scene.grid for scene in scenes if scene.grid is not None]
    pixels = np.stack([grid.pixels for grid in grids])
    maps = views[0].maps.of_pixels(scenes, pixels, [scene.target for scene in scenes])
    game = classes.grid_pointing_game
    return [
        (
            game(heatmap, grid.cell, grid.shape, "positive"),
            game(heatmap, grid.cell, grid.shape, "all"),
        )
        for heatmap, grid in zip(maps, grids, strict=True)
    ]


def _grid_words(protocol: Mapping[str, Any]) -> str:
    grid = protocol["grid"]
    return (
        f"Grid pointing game: {grid['shape']} images of different classes, of each of which the model "
        f"is sure (right, with a probability of {grid['confidence']:g} at least), in cells of "
        f"{'their own' if grid['cells'] == 'full' else 'a smaller'} size; the share of the positive "
        f"relevance for one of the classes that lies in its cell, by chance {1 / grid['count']:.2g}. "
        "Signed: negative relevance in the other cells counts as right, that in the own as wrong."
    )


def other_target(scene: Scene, seed: int) -> int:
    """Another neuron, the same for the same seed and place in the data set."""
    generator = np.random.default_rng(seed_of(seed, scene.position, Purpose.OTHER_NEURON))
    count = len(scene.logits)
    return int((scene.target + generator.integers(1, count)) % count)


def _random_logit(views: Sequence[View], seed: int) -> list[tuple[float, float]]:
    scenes = [view.scene for view in views]
    images = np.stack([scene.sample.image for scene in scenes])
    others = [other_target(scene, seed) for scene in scenes]
    maps = views[0].maps.of_pixels(scenes, images, others)
    like = classes.map_similarity
    return [
        (like(view.heatmap, heatmap, absolute=True), like(view.heatmap, heatmap))
        for view, heatmap in zip(views, maps, strict=True)
    ]


def _removal(v: View) -> tuple[float, float]:
    scene, effects = v.scene, np.asarray(v.scene.effects)
    targets = range(len(scene.logits))
    images = np.stack([scene.sample.image] * len(targets))
    maps = v.maps.of_pixels([scene] * len(targets), images, targets)
    masks = [scene.sample.objects[label] for label in removable(scene.sample)]
    relevance = [[heatmap[mask].sum() for heatmap in maps] for mask in masks]
    correlation = classes.rank_correlation
    margins = _margins(effects, scene.logits)
    return correlation(relevance, effects), correlation(relevance, margins)


def removable(sample: Sample) -> list[str]:
    """The classes on the image whose objects can be taken away."""
    return [label for label in sample.objects if label in sample.without]


def _margins(effects: Array, logits: Array) -> Array:
    """Effects on each logit less its alternatives, weighted as by contrast="softmax"."""
    margins = np.array(effects, np.float64)
    for target in range(len(logits)):
        others = np.delete(np.arange(len(logits)), target)
        weights = np.exp(logits[others] - logits[others].max())
        margins[:, target] -= effects[:, others] @ (weights / weights.sum())
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
        "energy",
        each(_energy),
        (
            compared("energy", "energy", "higher", "energy"),
            Column("energy, signed", "energy_all", "higher"),
            compared("own object", "own_object", "higher"),
        ),
        CLASSES,
        "Energy: the share of the positive relevance that is on the object (energy-based pointing "
        "game); signed: negative relevance outside of it counts as right, that inside as wrong. Own "
        "object: of the positive relevance that is on any object, the share on the explained one, where "
        "there are others.",
        "Wang et al. 2020",
    ),
    Metric(
        "grid",
        _grid,
        (
            compared("grid pointing game", "grid", "higher", "grid"),
            Column("grid, signed", "grid_all", "higher"),
        ),
        CLASSES,
        _grid_words,
        "Böhle et al. 2021",
        defined=lambda v: v.scene.grid is not None,
    ),
    Metric(
        "random_logit",
        _random_logit,
        (
            compared("random logit", "random_logit", "lower", "random"),
            Column("random logit, signed", "random_logit_signed"),
        ),
        CLASSES,
        "Random logit: the rank correlation of the sizes of relevance with those of the map of "
        "another neuron, drawn for each image; 1 for a map that shows the same places for each class. "
        "Signed: that of the relevance itself, which a logit of the other sign turns round.",
        "Sixt et al. 2020",
        settings=("seed",),
        defined=lambda v: len(v.scene.logits) > 1,
    ),
    Metric(
        "removal",
        each(_removal),
        (
            compared("removal", "removal", "higher", "removal"),
            Column("removal, margin", "removal_margin", "higher"),
        ),
        CLASSES,
        "Removal: for each object and each neuron, the relevance on the object and what the "
        "logit loses where the object is not on the image; their rank correlation, image by image. "
        "Margin: what the logit loses less what the others lose, weighted by their probability among "
        "themselves.",
        "Hesse et al. 2023",
        defined=lambda v: v.scene.effects is not None,
        check=_needs_removal,
    ),
)
