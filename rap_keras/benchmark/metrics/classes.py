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


def _grid(views: Sequence[View]) -> list[tuple[float, ...]]:
    scenes = [view.scene for view in views]
    grids = [scene.grid for scene in scenes if scene.grid is not None]
    pixels = np.stack([grid.pixels for grid in grids])
    maps = views[0].maps.of_pixels(scenes, pixels, [scene.target for scene in scenes])
    game, signs = classes.grid_pointing_game, ("positive", "all")
    return [
        tuple(game(heatmap, grid.cell, grid.shape, sign) for sign in signs)
        for heatmap, grid in zip(maps, grids, strict=True)
    ]


def _grid_words(protocol: Mapping[str, Any]) -> str:
    grid = protocol["grid"]
    return (
        f"Grid pointing game: a grid of {grid['shape']} images of different classes, "
        f"{'each at full size' if grid['cells'] == 'full' else 'shrunk to the cells'}. The model "
        f"classifies each image correctly with a probability of at least {grid['confidence']:g}. The "
        "value is the share of the positive relevance for one of the classes that lies in the cell "
        f"of that class; {1 / grid['count']:.2g} by chance. Signed: negative relevance counts as "
        "correct in the other cells and as wrong in the cell of the class."
    )


def other_target(scene: Scene, seed: int) -> int:
    """A random other class, the same for the same seed and place in the data set."""
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
    """The classes on the image whose objects can be removed."""
    return [label for label in sample.objects if label in sample.without]


def _margins(effects: Array, logits: Array) -> Array:
    """Effects on each logit minus those on the other logits, weighted as by contrast="softmax"."""
    margins = np.array(effects, np.float64)
    for target in range(len(logits)):
        others = np.delete(np.arange(len(logits)), target)
        weights = np.exp(logits[others] - logits[others].max())
        margins[:, target] -= effects[:, others] @ (weights / weights.sum())
    return margins


def _needs_removal(sample: Sample) -> None:
    if not sample.without:
        raise InputError(
            "Expected a data set whose objects can be removed for the metric removal, "
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
            compared("explained object", "own_object", "higher"),
        ),
        CLASSES,
        "Energy: the share of the positive relevance that lies on the object (energy-based pointing "
        "game). Signed: negative relevance counts as correct outside the object and as wrong inside it. "
        "Explained object: the share of the positive relevance on all objects that lies on the "
        "explained object, for images with other objects.",
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
        "Random logit: the rank correlation between the absolute relevance for the target and for a "
        "random other class; 1 for a map that is the same for every class. Signed: the rank correlation "
        "of the relevance itself, whose sign follows the sign of the logit.",
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
        "Removal: the rank correlation, on each image, between the relevance on each object for each "
        "class and the drop of the logit of that class when the object is removed. Margin: the drop "
        "minus the drops of the other logits, weighted by their probabilities among themselves.",
        defined=lambda v: v.scene.effects is not None,
        check=_needs_removal,
    ),
)
