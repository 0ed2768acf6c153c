"""`explain`: maps, logits and neurons from one forward pass."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from compare import assert_same
from keras import layers
from networks import biased, plain

import rap_keras
from rap_keras import InputError, create_analyzer
from rap_keras.analyzers.explanation import Explanation
from rap_keras.rules import gradient

METHODS = {
    "rap": {},
    "gradient": {"postprocess": "abs"},
    "input_t_gradient": {},
    "guided_backprop": {},
    "integrated_gradients": {"steps": 3},
    "smoothgrad": {"augment_by_n": 2},
    "lrp": {"composite": rap_keras.Composite({}, default=gradient.gradient)},
    "deep_taylor": {},
    "pattern.net": {"patterns": "fitted"},
    "input": {},
    "random": {"seed": 3},
}
TOLD = {"max_activation": None, "index": [3, 7, 0, 9, 3], "all": None}


@functools.cache
def network():
    return plain(head="softmax")


@functools.cache
def patterns():
    return rap_keras.patterns.fit(network(), samples())


def samples():
    return np.random.default_rng(1).normal(size=(5, 12, 12, 3)).astype("float32")


def made(method, **options):
    options = METHODS[method] | options
    if "patterns" in options:
        options["patterns"] = patterns()
    return create_analyzer(method, network(), batch_size=2, **options)


def logits_of(x):
    """What the softmax at the end of the network takes."""
    bare = plain()
    bare.set_weights(network().get_weights())
    return bare(x).numpy()


@pytest.mark.parametrize("mode", TOLD)
@pytest.mark.parametrize("method", METHODS)
def test_an_explanation_has_the_maps_of_analyze_and_tells_of_what(method, mode):
    x = samples()
    analyzer = made(method, neuron_selection_mode=mode)
    found = analyzer.explain(x, TOLD[mode])
    np.testing.assert_array_equal(found.relevance, analyzer.analyze(x, TOLD[mode]))
    np.testing.assert_allclose(found.logits, logits_of(x), rtol=1e-4, atol=1e-5)
    assert found.method == method
    if mode == "all":
        assert found.neurons is None
    else:
        expected = found.logits.argmax(1) if TOLD[mode] is None else TOLD[mode]
        np.testing.assert_array_equal(found.neurons, expected)
        assert found.neurons.dtype == np.int32


def test_the_neuron_is_the_one_whose_logit_rap_shares():
    x = samples()
    found = made("rap").explain(x)
    sums = found.relevance.sum((1, 2, 3))
    np.testing.assert_allclose(sums, found.logits[np.arange(5), found.neurons], rtol=1e-4)
    again = made("rap", neuron_selection_mode="index").analyze(x, found.neurons)
    assert_same(again, found.relevance)


def test_one_number_stands_for_all_samples():
    found = made("rap", neuron_selection_mode="index").explain(samples(), 4)
    np.testing.assert_array_equal(found.neurons, [4] * 5)


@pytest.mark.parametrize("method", ["rap", "input_t_gradient", "input"])
def test_there_is_one_forward_pass(method, monkeypatch):
    """A model that counts its calls: one a batch, beside the one that checks the graph."""
    monkeypatch.setattr(rap_keras.composites.composite, "_registered", {})
    calls = []

    class Counting(layers.Layer):
        def call(self, x):
            tf.py_function(lambda: calls.append(1), [], [])
            return x

    inputs = keras.Input((4,))
    counted = Counting()(inputs)
    model = biased(keras.Model(inputs, layers.Dense(3)(counted)))
    rap_keras.register_rule(Counting, lambda layer, inputs, outputs, relevances: relevances)
    analyzer = create_analyzer(method, model)
    x = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    analyzer.explain(x)
    calls.clear()
    analyzer.explain(x)
    assert len(calls) == 1


@pytest.mark.parametrize("method", METHODS)
def test_no_samples_have_an_explanation_without_samples(method):
    found = made(method).explain(samples()[:0])
    assert found.relevance.shape == (0, 12, 12, 3)
    assert found.logits.shape == (0, 10)
    assert found.neurons.shape == (0,)


@pytest.mark.parametrize("method", ["rap", "integrated_gradients", "random"])
def test_a_dataset_gives_an_explanation_a_batch(method):
    x = samples()
    analyzer = made(method)
    parts = list(analyzer.explain(tf.data.Dataset.from_tensor_slices(x).batch(3)))
    assert all(isinstance(part, Explanation) for part in parts)
    whole = analyzer.explain(x)
    assert_same(np.concatenate([part.logits for part in parts]), whole.logits)
    np.testing.assert_array_equal(np.concatenate([part.neurons for part in parts]), whole.neurons)
    assert_same(parts[0].relevance, analyzer.analyze(x[:3]))


@pytest.mark.parametrize("call", ["analyze", "explain"])
def test_a_dataset_of_single_samples_is_told_to_be_batched(call):
    data = tf.data.Dataset.from_tensor_slices((samples(), np.arange(5)))
    with pytest.raises(InputError, match=r"\(12, 12, 3\): batch it, dataset\.batch\(32\)"):
        list(getattr(made("rap"), call)(data))


def test_several_inputs_and_outputs_that_are_no_vector():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    both = biased(keras.Model({"a": a, "b": b}, layers.Dense(3)(layers.Add()([a, b]))))
    x = {"a": np.ones((2, 4), "float32"), "b": np.zeros((2, 4), "float32")}
    found = create_analyzer("rap", both).explain(x)
    assert set(found.relevance) == {"a", "b"}
    np.testing.assert_allclose(found.logits, both(x).numpy(), rtol=1e-5)
    image = keras.Input((8, 8, 1))
    model = biased(keras.Model(image, layers.Conv2D(2, 3)(image)))
    y = np.random.default_rng(2).normal(size=(2, 8, 8, 1)).astype("float32")
    every = create_analyzer("gradient", model, neuron_selection_mode="all").explain(y)
    np.testing.assert_allclose(every.logits, model(y).numpy(), rtol=1e-4, atol=1e-6)
    assert every.neurons is None


@pytest.mark.parametrize("dtype", ["mixed_float16", "float64"])
def test_logits_are_in_at_least_single_precision(dtype):
    found = create_analyzer("rap", plain(dtype)).explain(samples())
    assert found.logits.dtype == (np.float64 if dtype == "float64" else np.float32)


def test_random_maps_are_of_a_neuron_that_there_is():
    index = made("random", neuron_selection_mode="index")
    for wrong, message in ((None, "pass an integer"), (10, "from 0 to 9, got 10")):
        with pytest.raises(InputError, match=message):
            index.analyze(samples(), wrong)
    with pytest.raises(InputError, match="Expected no neuron_selection"):
        made("random").analyze(samples(), 3)
