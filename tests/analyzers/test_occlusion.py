"""Occlusion against its definition, pixel by pixel."""

import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import plain, segmenting
from helpers.tensors import array

import rap_keras
from rap_keras import InputError, create_analyzer


@pytest.fixture
def images(rng):
    return rng.normal(size=(3, 12, 12, 3)).astype(np.float32)


def slow(model, x, neurons, window, corners, value):
    """For each pixel the mean of the drops of all windows that it lies in."""
    logits = array(model(x)).astype(np.float64)
    maps = np.zeros(x.shape[:3])
    for k, neuron in enumerate(neurons):
        drops = {}
        for y, u in corners:
            copy = x[k : k + 1].copy()
            copy[:, y : y + window[0], u : u + window[1]] = value
            drops[y, u] = logits[k, neuron] - float(array(model(copy))[0, neuron])
        for y, u in np.ndindex(*x.shape[1:3]):
            inside = [
                drop
                for (top, left), drop in drops.items()
                if top <= y < top + window[0] and left <= u < left + window[1]
            ]
            maps[k, y, u] = np.mean(inside)
    return maps


@pytest.mark.parametrize(
    ("options", "window", "corners", "value"),
    [
        ({"window": 4, "stride": 4}, (4, 4), [(y, x) for y in (0, 4, 8) for x in (0, 4, 8)], 0),
        # The last windows move to the border.
        (
            {"window": [5, 4], "stride": (3, 4), "value": [0.5, -1, 2]},
            (5, 4),
            [(y, x) for y in (0, 3, 6, 7) for x in (0, 4, 8)],
            [0.5, -1, 2],
        ),
        ({"window": 6, "value": 1.5}, (6, 6), [(y, x) for y in (0, 3, 6) for x in (0, 3, 6)], 1.5),
    ],
)
def test_a_pixel_gets_the_mean_drop(options, window, corners, value, images):
    model = plain()
    analyzer = create_analyzer("occlusion", model, batch_size=4, **options)
    found = analyzer.analyze(images, [2, 9, 4])
    expected = slow(model, images, [2, 9, 4], window, corners, value)
    assert_same(found.sum(-1), expected, 1e-4)
    np.testing.assert_array_equal(found[..., 0], found[..., 1])
    whole = create_analyzer("occlusion", model, batch_size=32, **options)
    assert_same(whole.analyze(images[1:2], 9), found[1:2], 1e-4)
    several = whole.analyze(images, [[1, 2], [3, 9], [0, 4]])
    assert_same(several[:, 1], found, 1e-4)


def test_one_window_is_the_whole_drop(images):
    model = plain()
    explained = create_analyzer("occlusion", model, window=12).explain(images)
    at_nothing = array(model(np.zeros_like(images)))[np.arange(3), explained.neurons]
    expected = (explained.explained_logits - at_nothing)[:, None, None] * np.ones((12, 12))
    assert_same(explained.relevance.sum(-1), expected, 1e-4)


def test_all_neurons_and_regions_are_sums():
    model = segmenting()
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    analyzer = create_analyzer("occlusion", model, window=4, neuron_selection_mode="all")
    each = [analyzer.analyze(x, np.s_[..., k]) for k in range(4)]
    assert_same(analyzer.analyze(x), sum(each), 1e-4)


def test_options_are_saved(images, tmp_path):
    made = create_analyzer("occlusion", plain(), window=(6, 4), stride=3, value=(1, 2, 3))
    made.save(tmp_path)
    again = rap_keras.load_analyzer(tmp_path)
    assert again.options() == made.options()
    own = {key: again.options()[key] for key in ("window", "stride", "value")}
    assert own == {"window": [6, 4], "stride": [3, 3], "value": [1, 2, 3]}
    assert_same(again.analyze(images), made.analyze(images))
    assert made.analyze(images[:0]).shape == (0, 12, 12, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 13}, "Expected a window no larger than the image .* got window .13, 13."),
        ({"window": 4, "stride": 5}, "a stride no larger than the window, .* stride .5, 5."),
        ({"window": (1, 2, 3)}, "Expected window to be one number of pixels or two"),
        ({"stride": 0}, "Expected stride to be an integer of at least 1, got 0"),
        (
            {"value": [1, 2]},
            "Expected value to be a finite number, or one for each of the 3 channels",
        ),
        ({"value": "grey"}, "Expected value to be a finite number"),
        ({"value": np.nan}, "Expected value to be a finite number"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        create_analyzer("occlusion", plain(), **options)
