"""Checks that every metric of the benchmark must pass, on images that need no model."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from rap_keras.benchmark.grids import Grid
from rap_keras.benchmark.metrics import METRICS, TABLES, Metric, Scene, View
from rap_keras.benchmark.settings import Settings, described
from rap_keras.datasets import Sample
from rap_keras.errors import InputError

SIZE, CLASSES = (8, 8), 4
FEW = {"steps": 4, "top_k": 10, "draws": 6, "neighbours": 3, "batch_size": 5, "tolerance": 1}
FEW["deletion_grid"] = "3x4"
PROTOCOL = {
    "metrics": list(METRICS),
    "pooled": True,
    "perturbation": {"fractions": [0, 0.25, 0.5, 0.75, 1]},
    "grid": {"shape": "2x2", "count": 4, "cells": "shrunk", "confidence": 0.9},
    "top_k": 10,
    "deletion_grid": "3x4",
    "changes": {"draws": 6, "neighbours": 3, "radius": 0.05},
}
# Every other quantity only has to be finite.
POSITIVE = (0, math.inf)
RANGES = {
    **dict.fromkeys(
        ("ratio_positive", "conservation_error", "completeness", "complexity"), POSITIVE
    ),
    **dict.fromkeys(("effective_pixels", "max_sensitivity", "local_lipschitz"), POSITIVE),
    **dict.fromkeys(("infidelity", "infidelity_scaled", "top_k_weighted"), POSITIVE),
    **dict.fromkeys(("average_precision", "pointing_game", "mass_accuracy", "top_k"), (0, 1)),
    **dict.fromkeys(("rank_accuracy", "sparsity", "lerf_area", "morf_area"), (0, 1)),
    "single_deletion": (-1, 1),
    **dict.fromkeys(("insertion", "deletion", "energy", "energy_all", "own_object"), (0, 1)),
    **dict.fromkeys(("grid", "grid_all", "pixel_accuracy", "mean_iou"), (0, 1)),
    **dict.fromkeys(("pixel_accuracy_equal_area", "mean_iou_equal_area"), (0, 1)),
    **dict.fromkeys(("random_logit", "random_logit_signed", "removal", "removal_margin"), (-1, 1)),
    **dict.fromkeys(("srg_probability", "srg_accuracy", "faithfulness_correlation"), (-1, 1)),
    **{
        f"{name}_{stage}": (-1, 1)
        for name in ("mprt", "smprt")
        for stage in ("logits", "half", "all")
    },
}


class MapsOfInputs:
    """A method whose map is the input's first channel, times what its target and its stage give."""

    follow_inputs = True

    def of_pixels(self, scenes, pixels, targets):
        return np.stack(
            [p[..., t % 3] / (1 + t) - 60 for p, t in zip(pixels, targets, strict=True)]
        )

    def of_inputs(self, scene, x, stage=None, first=0):
        channel = {None: 0, "logits": 0, "half": 1, "all": 2}[stage]
        return np.asarray(x[..., channel], np.float64)


class MapsOfPixels(MapsOfInputs):
    """A control that is made of pixels alone."""

    follow_inputs = False


def views(count=3):
    """The input of a metric: a method on some images."""
    return [_view(position) for position in range(count)]


def _view(position):
    rng = np.random.default_rng(position)
    image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    masks = {"cat": np.zeros(SIZE, bool), "dog": np.zeros(SIZE, bool)}
    masks["cat"][1:5, 1:4], masks["dog"][5:8, 5:8] = True, True
    void = np.zeros(SIZE, bool)
    void[0, position] = True
    without = {name: np.where(mask[..., None], 0, image) for name, mask in masks.items()}
    x = image.astype(np.float32) / 255
    weights = np.random.default_rng(99).normal(size=(*SIZE, 3, CLASSES)).reshape(-1, CLASSES)

    def predict(batch):
        return np.asarray(batch, np.float64).reshape(len(batch), -1) @ weights

    logits = predict(x[None])[0]
    scene = Scene(
        position=position,
        sample=Sample("image", image, masks, void, without),
        x=x,
        label="cat",
        mask=masks["cat"],
        target=int(logits.argmax()),
        logits=logits,
        head="softmax",
        predict=predict,
        replacements={"zero": 0.0},
        grid=Grid(image, (2, 2), (0, 1), (0, 1, 2, 3)),
        effects=logits - predict(np.stack([*without.values()]) / np.float32(255)),
        truth=rng.normal(size=(2, 4)),
    )
    relevance = rng.normal(size=(*SIZE, 3)) + 0.3
    return View(scene, relevance, relevance.sum(-1), "zero", False, MapsOfInputs())


def control(view):
    """The same as a metric sees it of a control, on an image without a grid or removable objects."""
    scene = replace(view.scene, grid=None, effects=None)
    return replace(view, relevance=None, scene=scene, maps=MapsOfPixels(), shared={})


def check_metric(metric: Metric) -> None:
    """Runs all checks on a metric."""
    settings = SimpleNamespace(**{**vars(Settings()), **FEW})

    def measured(seen):
        fresh = [replace(v, shared={}, scene=replace(v.scene, shared={})) for v in seen]
        return metric.measured(fresh, settings)

    _check_description(metric)
    several = views()
    before = [view.heatmap.copy() for view in several]
    numbers = measured(several)
    # The same result alone, in another order and repeated, and the maps do not change.
    for view, found in zip(several, numbers, strict=True):
        _assert_same(measured([view])[0], found)
    for found, again in zip(numbers, reversed(measured(several[::-1])), strict=True):
        _assert_same(again, found)
    for view, heatmap in zip(several, before, strict=True):
        np.testing.assert_array_equal(view.heatmap, heatmap)
    _check_quantities(metric, numbers)
    # Undefined values are reported, and the other maps of the chunk are measured.
    undefined = control(several[0])
    mixed = measured([several[1], undefined])
    _assert_same(mixed[0], numbers[1])
    regression = replace(undefined, scene=replace(undefined.scene, logits=np.ones(1), target=0))
    for view in (undefined, regression):
        if not metric.defined(view):
            assert measured([view]) == [dict.fromkeys(metric.numbers)]
    flat = [replace(several[0], heatmap=np.zeros(SIZE), relevance=np.zeros((*SIZE, 3)))]
    json.dumps([*mixed, *measured(flat)], allow_nan=False)


def _check_description(metric):
    """Each number of the report is one that is measured; each setting refuses what it is not."""
    assert metric.table in TABLES
    assert metric.text(PROTOCOL)
    assert METRICS[metric.name] is metric
    for name in metric.settings:
        assert described()[name].check is not None
        with pytest.raises(InputError, match=name):
            Settings(**{name: -1})


def _check_quantities(metric, numbers):
    json.dumps(numbers, allow_nan=False)
    quantities = metric.quantities(PROTOCOL, numbers)
    assert metric.medians <= set(quantities)
    named = set(quantities) | {f"{name}_median" for name in metric.medians}
    assert {column.quantity for column in metric.columns} <= named
    for name, ratio in quantities.items():
        values = ratio(np.eye(len(numbers)))
        least, most = RANGES.get(name, (-math.inf, math.inf))
        assert np.isfinite(values).all(), name
        assert (least <= values).all(), name
        assert (values <= most).all(), name


def _assert_same(found, expected):
    """Equal except for rounding: products of matrices depend on the size of a batch."""
    assert set(found) == set(expected)
    for name, value in expected.items():
        if isinstance(value, dict):
            _assert_same(found[name], value)
        elif value is None:
            assert found[name] is None
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
