"""A method on a model, loaded or as Keras has it."""

import keras
import numpy as np
import pytest
from keras import layers

from rap_keras import InputError, create_analyzer
from rap_keras.models.loading import load_model
from rap_keras.pipeline.explainer import Explainer
from rap_keras.pipeline.methods import read_spec


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6, 6, 3))
    flat = layers.Flatten()(layers.Conv2D(4, 3, activation="relu", name="conv")(inputs))
    heads = {name: layers.Dense(size, name=name)(flat) for name, size in (("a", 3), ("b", 4))}
    return keras.Model(inputs, heads, name="two")


@pytest.fixture
def x(rng):
    return rng.random((2, 6, 6, 3), np.float32)


def test_a_model_as_it_is(model, x):
    explainer = Explainer(model, read_spec("rap:contrast=softmax"), output="b")
    analyzer = create_analyzer("rap", model, output="b", contrast="softmax")
    found, expected = explainer.explain(x, 3), analyzer.explain(x, target=3)
    np.testing.assert_array_equal(found.relevance, expected.relevance)
    assert (found.method, found.model, expected.method) == ("rap:contrast=softmax", None, "rap")
    maps = explainer.layers(x, 3)
    assert list(maps) == list(analyzer.analyze_layers(x, 3))
    with pytest.raises(InputError, match="the model has 2 outputs"):
        Explainer(model, read_spec("rap"))


def test_a_loaded_model_knows_its_name_and_output(model, x):
    loaded = load_model(model, preprocess="none", output="a").with_labels(["x", "y", "z"])
    explainer = Explainer(loaded, read_spec("gradient"), batch_size=1)
    found = explainer.explain(x, "y")
    assert (found.model, found.neurons.tolist()) == ("two", [1, 1])
    assert found.decisions[0].startswith("class 1 (y), logit ")
    assert explainer.analyzer.batch_size == 1
    other = Explainer(
        load_model(model, preprocess="none", output="a"), read_spec("gradient:output=b")
    )
    assert other.explain(x).logits.shape == (2, 4)
