"""Several neurons of each sample: one program for any number of them, and the maps of single ones."""

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import biased
from helpers.tensors import BACKEND
from keras import layers

from rap_keras import InputError, TopK, create_analyzer

COLUMNS = np.array([[1, 2, 0, 9, 4], [3, 9, 9, 8, 5]])


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((12, 12, 3))
    x = layers.MaxPooling2D()(layers.Conv2D(4, 3, activation="relu")(x))
    return biased(keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x))))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype(np.float32)


def traced(analyzer, monkeypatch):
    """The traces of what makes maps, as they come."""
    traces, explaining = [], analyzer._explaining
    monkeypatch.setattr(
        analyzer, "_explaining", lambda *given: traces.append(1) or explaining(*given)
    )
    return traces


@pytest.mark.programs
@pytest.mark.parametrize(
    "method",
    ["rap", "input_t_gradient", "deep_lift", "grad_cam", "lrp.alpha_2_beta_1"],
)
@pytest.mark.quick("deep_lift")
def test_one_program_for_any_number_of_neurons(method, model, x, monkeypatch):
    analyzer = create_analyzer(method, model)
    traces = traced(analyzer, monkeypatch)
    found = {k: analyzer.explain(x, COLUMNS[:, :k]) for k in (2, 3, 5)}
    batches = analyzer._pairs if method == "deep_lift" else analyzer._batches
    assert len(batches._runs) == 1
    assert len(traces) == 1 or BACKEND != "tensorflow"  # JAX compiles for each number
    single = [analyzer.explain(x, column) for column in COLUMNS.T]
    for k, several in found.items():
        assert_same(several.relevance, np.stack([one.relevance for one in single[:k]], 1))
        assert_same(several.logits, single[0].logits)
        np.testing.assert_array_equal(several.neurons, COLUMNS[:, :k])


@pytest.mark.programs
def test_any_number_of_the_largest(model, x, monkeypatch):
    analyzer = create_analyzer("rap", model, batch_size=1)
    traces = traced(analyzer, monkeypatch)
    found = [analyzer.analyze(x, TopK(k)) for k in (4, 1, 2)]
    assert len(traces) == 1 or BACKEND != "tensorflow"
    assert_same(found[1], found[0][:, :1])
    assert_same(found[2], found[0][:, :2])
    assert_same(found[1][:, 0], create_analyzer("rap", model).analyze(x))


@pytest.mark.tensorflow("its graphs, which are cut in two")
def test_what_does_not_depend_on_the_last_argument_is_computed_once():
    import tensorflow as tf

    from rap_keras.tensors.tensorflow_programs import in_two_parts

    def function(x, factor):
        once = tf.exp(x)
        return {"product": once * factor, "once": once, "factor": factor}

    before, after = in_two_parts(function, [tf.TensorSpec([None]), tf.TensorSpec([])])
    shared = before(tf.constant([0.0, 1.0]))
    found = after(tf.constant(2.0), *shared)
    assert_same(found["product"], [2, 2 * np.e])
    assert_same(found["once"], [1, np.e])
    assert found["factor"] == 2
    # Of other tensors comes another product: nothing is computed again.
    assert_same(after(tf.constant(2.0), *(0 * t for t in shared))["product"] + 1, [1, 1])


def test_several_inputs_one_of_which_has_no_relevance(rng):
    inputs = [keras.Input((3,)), keras.Input((2,))]
    used = layers.Dense(4)(layers.Dense(5, activation="relu")(inputs[0]))
    model = keras.Model(inputs, used + 0 * layers.Dense(4)(inputs[1]))
    x = [rng.normal(size=(2, 3)).astype("f"), rng.normal(size=(2, 2)).astype("f")]
    analyzer = create_analyzer("gradient", model)
    found = analyzer.analyze(x, [[0, 3], [1, 1]])
    for k, column in enumerate(([0, 1], [3, 1])):
        for own, one in zip(found, analyzer.analyze(x, column), strict=True):
            assert_same(own[:, k], one)


def test_images_of_any_size(rng):
    inputs = keras.Input((None, None, 2))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3, activation="relu")(inputs))
    analyzer = create_analyzer("rap", keras.Model(inputs, layers.Dense(4)(x)))
    for size in (6, 8):
        image = rng.normal(size=(1, size, size, 2)).astype("f")
        found = analyzer.analyze(image, [[2, 0]])
        assert_same(found[:, 1], analyzer.analyze(image, 0))


def test_completeness_is_of_one_neuron(model, x):
    analyzer = create_analyzer("deep_lift", model)
    with pytest.raises(InputError, match="Expected one target of each sample here"):
        analyzer.convergence_delta(x, COLUMNS)
