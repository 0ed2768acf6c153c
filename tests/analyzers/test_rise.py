"""RISE against its definition."""

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import biased, plain, segmenting
from helpers.tensors import array
from keras import layers

import rap_keras
from rap_keras import InputError, create_analyzer


@pytest.fixture
def images(rng):
    return rng.normal(size=(3, 12, 12, 3)).astype(np.float32)


def masks_of(analyzer, position, size=(12, 12)):
    return np.concatenate(list(analyzer._masks(size, position)))


def softmax(logits):
    e = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def score_of(logits, score):
    if score == "logit":
        return logits
    return softmax(logits) if score == "probability" else 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("score", ["probability", "sigmoid", "logit"])
def test_a_pixel_gets_the_mean_score_of_the_masks_that_show_it(score, images):
    model = plain()
    options = {"masks": 10, "cells": 3, "p": 0.4, "score": score, "value": [1, 0, -1]}
    analyzer = create_analyzer("rise", model, batch_size=4, **options)
    neurons = [3, 0, 8]
    found = analyzer.analyze(images, neurons)
    for k, neuron in enumerate(neurons):
        expected = np.zeros((12, 12))
        for mask in masks_of(analyzer, k):
            shown = mask[..., None] * images[k] + (1 - mask[..., None]) * np.array([1, 0, -1])
            logits = array(model(shown[None].astype(np.float32)))
            f = score_of(logits, score)[0, neuron]
            expected += f * mask / (0.4 * 10)
        assert_same(found[k].sum(-1), expected, 1e-4)
        np.testing.assert_array_equal(found[k, ..., 0], found[k, ..., 1])


def test_masks_are_grids_shown_with_probability_p_resized_and_shifted():
    analyzer = create_analyzer("rise", plain(), masks=4000, cells=4, p=0.3)
    masks = masks_of(analyzer, 0)
    assert masks.shape == (4000, 12, 12)
    assert 0 <= masks.min() < 0.01
    assert 0.99 < masks.max() <= 1
    # Each pixel has mean p, within 5 standard errors.
    np.testing.assert_allclose(masks.mean(0), 0.3, atol=5 * np.sqrt(0.3 * 0.7 / 4000))
    # Neighbours are correlated, pixels two cells apart are not.
    near = np.corrcoef(masks[:, 5, 5], masks[:, 5, 6])[0, 1]
    far = np.corrcoef(masks[:, 5, 2], masks[:, 5, 9])[0, 1]
    assert near > 0.8
    assert abs(far) < 0.1


@pytest.mark.parametrize("shape", [(9, 2), (4, 6, 5, 1)])
def test_series_and_volumes_next_to_a_row(shape, rng):
    """The map of an input is that of the definition, with the others as they are."""
    first, row = keras.Input(shape, name="first"), keras.Input((3,), name="row")
    x = layers.Dense(8, activation="relu")(layers.Concatenate()([layers.Flatten()(first), row]))
    model = biased(keras.Model([first, row], layers.Dense(4)(x)))
    x = rng.normal(size=(2, *shape)).astype(np.float32)
    rows = rng.normal(size=(2, 3)).astype(np.float32)
    options = {"masks": 6, "cells": 2, "p": 0.4, "score": "logit", "value": [0.5, 0]}
    analyzer = create_analyzer("rise", model, batch_size=4, **options)
    with pytest.warns(UserWarning, match="'rise' gives zeros to 'row', without positions"):
        found, nothing = analyzer.analyze([x, rows], [3, 1])
    assert not nothing.any()
    for k, neuron in enumerate((3, 1)):
        expected = np.zeros(shape[:-1])
        for mask in masks_of(analyzer, k, shape[:-1]):
            shown = mask[..., None] * x[k] + (1 - mask[..., None]) * 0.5
            logits = array(model([shown[None].astype(np.float32), rows[k : k + 1]]))
            expected += logits[0, neuron] * mask / (0.4 * 6)
        assert_same(found[k].sum(-1), expected, 1e-4)


def test_masks_of_a_series_are_grids_shown_with_probability_p():
    analyzer = create_analyzer("rise", plain(), masks=4000, cells=4, p=0.3)
    masks = masks_of(analyzer, 0, (12,))
    assert masks.shape == (4000, 12)
    np.testing.assert_allclose(masks.mean(0), 0.3, atol=5 * np.sqrt(0.3 * 0.7 / 4000))
    assert np.corrcoef(masks[:, 5], masks[:, 6])[0, 1] > 0.8
    assert abs(np.corrcoef(masks[:, 2], masks[:, 9])[0, 1]) < 0.1


def test_rows_and_tokens_cannot_be_masked_in_part():
    row = keras.Input((4,))
    with pytest.raises(InputError, match=r"an input of images.*use .occlusion., which takes rows"):
        create_analyzer("rise", keras.Model(row, layers.Dense(2)(row)))


def test_one_cell_per_side_and_every_cell_shown_is_the_score(images):
    model = plain()
    found = create_analyzer("rise", model, masks=3, p=1).explain(images)
    expected = softmax(found.logits).max(1)[:, None, None] * np.ones((12, 12))
    assert_same(found.relevance.sum(-1), expected, 1e-4)


def test_masks_depend_on_the_seed_and_the_position_of_the_sample(images):
    model = plain()
    made = {s: create_analyzer("rise", model, masks=6, seed=s) for s in (0, 1)}
    first = made[0].analyze(images)
    assert_same(made[0].analyze(images), first)
    assert_same(made[0].analyze(images[:1]), first[:1])
    other = create_analyzer("rise", model, masks=6, batch_size=5)
    assert_same(other.analyze(images), first, 1e-4)
    assert abs(made[1].analyze(images) - first).max() > 0.01 * abs(first).max()
    np.testing.assert_array_equal(masks_of(made[0], 2), masks_of(other, 2))
    assert (masks_of(made[0], 0) != masks_of(made[0], 1)).any()


def test_a_single_logit_has_a_sigmoid(images):
    inputs = keras.Input((12, 12, 3))
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(inputs)))
    with pytest.warns(UserWarning, match='pass score="logit" if it is a regression'):
        analyzer = create_analyzer("rise", model, masks=1, p=1)
    found = analyzer.explain(images)
    expected = 1 / (1 + np.exp(-found.logits.astype(np.float64)))
    assert_same(found.relevance.sum(-1)[:, 0, 0], expected[:, 0], 1e-4)


@pytest.mark.parametrize("score", ["sigmoid", "logit"])
def test_scores_of_a_region_are_summed(score):
    model = segmenting()
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    options = {"masks": 5, "score": score, "neuron_selection_mode": "all"}
    analyzer = create_analyzer("rise", model, **options)
    each = [analyzer.analyze(x, np.s_[..., k]) for k in range(4)]
    assert_same(analyzer.analyze(x), sum(each), 1e-4)


def test_options_are_saved(images, tmp_path):
    own = {"masks": 5, "cells": 3, "p": 0.25, "score": "logit", "value": 2.0, "seed": 3}
    made = create_analyzer("rise", plain(), **own)
    made.save(tmp_path)
    again = rap_keras.load_analyzer(tmp_path)
    assert again.options() == made.options()
    assert {key: again.options()[key] for key in own} == own
    assert_same(again.analyze(images), made.analyze(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": 0}, "Expected masks to be an integer of at least 1, got 0"),
        ({"cells": 1.5}, "Expected cells to be an integer of at least 1, got 1.5"),
        ({"p": 0}, "Expected p to be a probability above 0, got 0"),
        ({"p": 2}, "Expected p to be a probability above 0, got 2"),
        (
            {"score": "odds"},
            "Expected score to be one of 'probability', 'sigmoid', 'logit', got 'odds'",
        ),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        create_analyzer("rise", plain(), **options)


def test_the_probability_of_a_region_is_refused(images):
    analyzer = create_analyzer("rise", plain(), masks=2)
    for target, words in ((np.arange(10) < 3, "a region"), ("all", "all")):
        with pytest.raises(InputError, match=f"to take the probability of, got {words}"):
            analyzer.analyze(images, target)


def test_masked_whole_numbers_are_rounded():
    inputs = keras.Input((6, 6, 1), dtype="uint8")
    summed = layers.Dense(1, kernel_initializer="ones")
    model = keras.Model(inputs, summed(layers.Flatten()(layers.Rescaling(1.0)(inputs))))
    x = np.arange(36, dtype="uint8").reshape(1, 6, 6, 1) + 200
    analyzer = create_analyzer("rise", model, masks=8, cells=3, score="logit", p=0.5)
    masks = masks_of(analyzer, 0, (6, 6))
    scores = np.rint(masks * x[0, ..., 0]).sum((1, 2))
    expected = np.tensordot(scores, masks, 1) / 4
    np.testing.assert_allclose(analyzer.analyze(x)[0, ..., 0], expected, rtol=1e-5)
