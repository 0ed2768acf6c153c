"""Occlusion against its definition, pixel by pixel."""

import itertools

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


def slow(model, x, neurons, window, corners, value):
    """For each pixel the mean of the drops of all windows that it lies in."""
    logits = array(model(x)).astype(np.float64)
    maps = np.zeros(x.shape[:3])
    for k, neuron in enumerate(neurons):
        copies = np.stack([x[k]] * len(corners))
        for copy, (y, u) in zip(copies, corners, strict=True):
            copy[y : y + window[0], u : u + window[1]] = value
        seen = array(model(copies)).astype(np.float64)[:, neuron]
        drops = dict(zip(corners, logits[k, neuron] - seen, strict=True))
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


def network(*shapes, tokens=False):
    """A model of several inputs; the last may be of tokens."""
    inputs = [keras.Input(shape) for shape in shapes]
    parts = [layers.Flatten()(x) for x in inputs]
    if tokens:
        inputs.append(keras.Input((6,), dtype="int32", name="ids"))
        parts.append(layers.Flatten()(layers.Embedding(11, 3)(inputs[-1])))
    x = layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    x = layers.Dense(8, activation="relu")(x)
    return biased(keras.Model(inputs if len(inputs) > 1 else inputs[0], layers.Dense(3)(x)))


def one_by_one(model, x, place, neurons, window, corners, value):
    """For each position of one input the mean of the drops of all windows that it lies in."""
    one = x if len(x) > 1 else x[0]
    whole = array(model(one)).astype(np.float64)
    size = x[place].shape[1 : 1 + len(window)]
    drops, covered = np.zeros((len(neurons), *size)), np.zeros(size)
    for corner in corners:
        copies = [part.copy() for part in x]
        hidden = tuple(slice(a, a + w) for a, w in zip(corner, window, strict=True))
        copies[place][(slice(None), *hidden)] = value
        seen = array(model(copies if len(x) > 1 else copies[0])).astype(np.float64)
        for k, neuron in enumerate(neurons):
            drops[(k, *hidden)] += whole[k, neuron] - seen[k, neuron]
        covered[hidden] += 1
    return drops / covered


def floats(rng, *shape):
    return rng.normal(size=(2, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "window", "stride", "starts"),
    [
        ((10, 2), [4], [3], [(0, 3, 6)]),
        ((4, 6, 5, 2), [2, 3, 5], [2, 2, 5], [(0, 2), (0, 2, 3), (0,)]),
        ((5,), [1], [1], [range(5)]),
    ],
)
def test_series_volumes_and_rows(shape, window, stride, starts, rng):
    model, x = network(shape), floats(rng, *shape)
    options = {} if len(shape) == 1 else {"window": window, "stride": stride, "value": -1}
    found = create_analyzer("occlusion", model, **options).analyze(x, [2, 0])
    value = -1 if options else 0
    corners = [*itertools.product(*starts)]
    expected = one_by_one(model, [x], 0, [2, 0], window, corners, value)
    assert_same(found.sum(-1) if len(shape) > 1 else found, expected, 1e-4)


def test_of_several_inputs_one_at_a_time_is_occluded(rng):
    model = network((8, 6, 3), (4,), tokens=True)
    x = [floats(rng, 8, 6, 3), floats(rng, 4), rng.integers(0, 11, (2, 6))]
    options = {"window": [(4, 3), None, 2], "stride": [(4, 3), None, 1], "value": [0.5, -2, 7]}
    analyzer = create_analyzer("occlusion", model, batch_size=3, **options)
    image, row, ids = analyzer.analyze(x, [1, 2])
    parts = [
        ([4, 3], [(0, 0), (0, 3), (4, 0), (4, 3)], 0.5),
        ([1], [(k,) for k in range(4)], -2),
        ([2], [(k,) for k in range(5)], 7),
    ]
    expected = [one_by_one(model, x, place, [1, 2], *part) for place, part in enumerate(parts)]
    for found, one in zip((image.sum(-1), row, ids), expected, strict=True):
        assert_same(found, one, 1e-4)
    again = create_analyzer("occlusion", model, **analyzer.options())
    assert_same(again.analyze(x, [1, 2])[0], image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": [2]}, "Expected window to be one value for all inputs, or a list with one for"),
        ({"window": [9, 1, 1]}, r"got window .9, 9. .* for an image of 8 x 6 of input"),
        ({"value": [0, [1, 2], 0]}, "Expected value to be a finite number, got .1, 2."),
        ({"value": [0, 0, 11]}, "Expected tokens from 0 to 10 for input 'ids'.* got 11"),
        ({"value": {"ids": 1}}, "Expected value for inputs named .*, got .'ids'."),
        ({"value": 0.5}, "Expected whole numbers that fit into int32 for value, got 0.5"),
    ],
)
def test_wrong_options_of_several_inputs(options, message):
    with pytest.raises(InputError, match=message) as error:
        create_analyzer("occlusion", network((8, 6, 3), (4,), tokens=True), **options)
    assert "\n" not in str(error.value)


def test_images_of_integers_take_whole_numbers(rng):
    inputs = keras.Input((4, 4, 1), dtype="uint8")
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Rescaling(0.1)(inputs))))
    with pytest.raises(InputError, match=r"whole numbers that fit into uint8 for value, got 0.5"):
        create_analyzer("occlusion", model, value=0.5)
    x = rng.integers(0, 256, (2, 4, 4, 1)).astype("uint8")
    found = create_analyzer("occlusion", model, window=1, value=128).analyze(x, 1)
    weights = array(model.layers[-1].kernel)[:, 1].reshape(4, 4, 1)
    assert_same(found, (x.astype(float) - 128) * 0.1 * weights, 1e-4)


def test_masks_stay_and_get_zeros(rng):
    row, mask = keras.Input((4,), name="row"), keras.Input((4,), dtype="bool", name="mask")
    kept = keras.ops.where(mask, row, 0.0)
    model = keras.Model([row, mask], layers.Dense(2)(kept))
    shown = np.array([[True, False, True, True], [True] * 4])
    analyzer = create_analyzer("occlusion", model)
    with pytest.warns(UserWarning, match="'occlusion' gives zeros to 'mask', which ha"):
        found, nothing = analyzer.analyze([floats(rng, 4), shown])
    assert not nothing.any()
    np.testing.assert_array_equal(found != 0, shown)


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
        (
            {"window": (1, 2, 3)},
            "Expected window to be one number of pixels, or one for each of the 2 axes",
        ),
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


@pytest.mark.parametrize("method", ["occlusion", "rise"])
def test_channels_first_are_refused(method):
    def model(inputs, x):
        pool = layers.GlobalAveragePooling2D(data_format="channels_first")
        return keras.Model(inputs, layers.Dense(2)(pool(layers.ReLU()(x))))

    first, last = keras.Input((3, 8, 6)), keras.Input((8, 6, 3))
    with pytest.raises(InputError, match=r"channels last for .* takes with channels first: use"):
        create_analyzer(method, model(first, first))
    create_analyzer(method, model(last, layers.Permute((3, 1, 2))(last)))
