"""Outputs that are maps, inside iNNvestigate."""

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.keras2 import k2

import rap_keras
from rap_keras import InputError
from rap_keras import innvestigate as plugin
from rap_keras.backends.choice import open_network

L = k2.layers
KERAS_3 = keras.__version__.startswith("3")
native = pytest.mark.skipif(not KERAS_3, reason="there are no Keras 3 models without Keras 3")


def maps(head=None, size=8):
    x = inputs = L.Input((size, size, 3))
    x = L.MaxPooling2D()(L.Conv2D(5, 3, activation="relu", padding="same")(x))
    x = L.Conv2D(4, 3, padding="same")(x)
    return inputs, L.Activation(head)(x) if head else x


@pytest.fixture
def models():
    """A model of maps with weights, and the same with its output flattened."""
    rng = np.random.default_rng(0)
    with plugin.new_graph():
        inputs, x = maps()
        whole, flat = k2.Model(inputs, x), k2.Model(inputs, L.Flatten()(x))
        whole.set_weights([rng.normal(0, 0.5, w.shape) for w in whole.weights])
    return whole, flat


def samples():
    return np.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype("float32")


def create(model, mode="index", **options):
    return plugin.create_analyzer("rap", model, neuron_selection_mode=mode, **options)


def test_a_position_is_the_neuron_of_the_flattened_output(models):
    whole, flat = models
    places = [(0, 3, 1), (2, 2, 2), (3, 0, 0)]
    numbers = [int(np.ravel_multi_index(place, (4, 4, 4))) for place in places]
    analyzer, expected = create(whole), create(flat)
    x = samples()
    assert_same(analyzer.analyze(x, places[0]), expected.analyze(x, numbers[0]))
    assert_same(analyzer.analyze(x, places), expected.analyze(x, numbers))
    mask = np.zeros((3, 4, 4, 4), bool)
    for k, place in enumerate(places):
        mask[k][place] = True
    assert_same(analyzer.analyze(x, mask), expected.analyze(x, numbers))
    assert_same(create(whole, "all").analyze(x), create(flat, "all").analyze(x))


def test_saved_analyzers_take_positions(models, tmp_path):
    whole, _ = models
    analyzer = create(whole)
    analyzer.save_npz(tmp_path / "analyzer.npz")
    again = plugin.RAPAnalyzer.load_npz(tmp_path / "analyzer.npz")
    assert_same(again.analyze(samples(), (1, 2, 3)), analyzer.analyze(samples(), (1, 2, 3)))


WRONG = {
    r"select one neuron of each sample, got a region of 2:": np.s_[0:2, 0, 0],
    r"select one neuron of each sample, got a region of 64": np.ones((4, 4, 4), bool),
    r"select neurons of an output of shape \(4, 4, 4\), got 5": 5,
    r"index 4 is out of bounds": (4, 0, 0),
}


@pytest.mark.parametrize("message", WRONG)
def test_targets_of_more_than_one_neuron_are_refused(message, models):
    with pytest.raises(InputError, match=message):
        create(models[0]).analyze(samples(), WRONG[message])


def test_outputs_that_cannot_be_explained_are_refused(models):
    whole, _ = models
    with pytest.raises(InputError, match=r"output of shape \(4, 4, 4\) has no largest logit"):
        create(whole, "max_activation").analyze(samples())
    expected = create(whole).analyze(samples(), (0, 0, 0))
    found = create(whole, "all").analyze(samples(), (0, 0, 0))
    np.testing.assert_array_equal(found, expected)
    with plugin.new_graph():
        any_size = k2.Model(*maps(size=None))
        softmax = k2.Model(*maps("softmax"))
    with pytest.raises(InputError, match="one known size"):
        create(any_size)
    with pytest.raises(Exception, match=r"output is the logits, but layer .* softmax"):
        create(softmax)
    prepared = plugin.prepare(softmax, keep_head=False)
    assert create(prepared).analyze(samples(), (0, 0, 0)).shape == (3, 8, 8, 3)


def test_patterns_of_one_output_of_several():
    with plugin.new_graph():
        inputs, x = maps()
        dense = L.Dense(2, name="classes")(L.GlobalAveragePooling2D()(x))
        several = k2.Model(inputs, [x, dense])
        last = several.layers[-1].name
    assert last == "classes"
    found = rap_keras.patterns.fit(several, samples(), output="classes")
    assert found["classes"].shape == (4, 2)
    assert "classes" not in rap_keras.patterns.fit(several, samples(), output=0)
    with pytest.raises(InputError, match="output=NAME, because the model has 2 outputs"):
        open_network(several)
    with pytest.raises(InputError, match="Expected a model with one output, got 2"):
        create(several)


@native
@pytest.mark.parametrize("output", ["maps", 1])
@pytest.mark.quick("maps")
def test_one_output_of_a_keras_3_model_gives_the_native_maps(output):
    from helpers.networks import biased

    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(5, 3, activation="relu", padding="same")(inputs)
    softmax = layers.Softmax()(layers.Conv2D(3, 1)(x))
    mean = layers.Dense(4)(layers.GlobalAveragePooling2D()(x))
    model = biased(keras.Model(inputs, {"classes": mean, "maps": softmax}))
    rebuilt = plugin.from_keras3(model, keep_head=False, output=output)
    assert rebuilt.output_shape == (None, 8, 8, 3)
    analyzer = rap_keras.create_analyzer("rap", model, output=output, neuron_selection_mode="index")
    x = samples()
    assert_same(create(rebuilt).analyze(x, (7, 2, 1)), analyzer.analyze(x, (7, 2, 1)))
    with pytest.raises(InputError, match="output=NAME"):
        plugin.from_keras3(model)
