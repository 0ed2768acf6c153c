"""A running model is traced and checked once for all users."""

import keras
import numpy as np
import pytest
from helpers.tensors import array

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)

from helpers.command_line import succeed
from helpers.networks import residual
from keras import layers
from PIL import Image

from rap_keras import InputError, create_analyzer
from rap_keras.backends.choice import open_network
from rap_keras.backends.keras3 import network as keras3
from rap_keras.backends.keras3.source import Source
from rap_keras.models.loading import load_model
from rap_keras.patterns.statistics import Statistics

METHODS = ("rap", "lrp.alpha_1_beta_0", "integrated_gradients")  # one folds, one is averaged


@pytest.fixture
def count(monkeypatch):
    """How often a model was traced, and its graph compared with it."""
    calls = {"trace": 0, "own_output": 0}

    def counted(name, function):
        def call(*args, **kwargs):
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    for place, name in ((keras3, "trace"), (Source, "own_output")):
        monkeypatch.setattr(place, name, counted(name, getattr(place, name)))
    return calls


@pytest.fixture(scope="module")
def model():
    return residual()


@pytest.fixture
def x(rng):
    return rng.normal(0, 1, (3, 12, 12, 3)).astype("float32")


def test_analyzers_and_statistics_share_a_network(model, x, count):
    alone = [create_analyzer(name, model).analyze(x) for name in METHODS]
    assert count == {"trace": 3, "own_output": 3}
    network = open_network(model)
    assert open_network(network) is network
    for name, expected in zip(METHODS, alone, strict=True):
        np.testing.assert_array_equal(create_analyzer(name, network).analyze(x), expected)
    assert create_analyzer("rap", network).model is model
    found, expected = Statistics(network), Statistics(model)
    for statistics in (found, expected):
        statistics.update(x)
    for name, pattern in expected.patterns().items():
        np.testing.assert_array_equal(found.patterns()[name], pattern)
    assert count == {"trace": 5, "own_output": 5}


def test_comparing_methods_traces_once(tmp_path, count, rng):
    Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype("uint8")).save(tmp_path / "a.png")
    arguments = ["--model", "bundled:residual", "--out", tmp_path / "out"]
    methods = ",".join([*METHODS[:2], "smoothgrad:augment_by_n=2"])
    succeed("compare", tmp_path / "a.png", "--methods", methods, *arguments)
    assert count == {"trace": 1, "own_output": 1}


def test_logits_are_those_of_the_analyzed_graph(tmp_path, x):
    model = keras.Sequential([residual(), layers.Softmax()])
    model.build((None, *x.shape[1:]))  # which Keras 3.3 does not do by itself
    model.save(tmp_path / "model.keras")
    loaded = load_model(str(tmp_path / "model.keras"), preprocess="none")
    sums = create_analyzer("gradient", loaded.network, neuron_selection_mode="all")
    assert sums.model is loaded.model
    logits = loaded.logits(x.astype("float64"))
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, array(model.layers[0](x)), rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match=r"of shape \(batch, 12, 12, 3\), got \(3, 12, 12\)"):
        loaded.logits(x[..., 0])


class Hidden(layers.Layer):
    """Adds 1 where the layer runs outside the nodes of its graph, as in the model."""

    def __init__(self, **options):
        super().__init__(**options)
        self.calls = 0

    def call(self, x):
        self.calls += 1
        return x + self.calls % 2


@pytest.mark.parametrize("use", ["logits", "statistics"])
def test_every_use_refuses_a_graph_that_computes_something_else(use, x):
    inputs = keras.Input((12, 12, 3))
    outputs = layers.Dense(4)(layers.Flatten()(Hidden()(inputs)))
    network = open_network(keras.Model(inputs, outputs))
    with pytest.raises(InputError, match="Expected the graph of the model's layers to compute"):
        network.logits([x]) if use == "logits" else Statistics(network).update(x)


def test_nothing_is_checked_where_values_are_not_finite(model, x, count):
    network = open_network(model)
    network.logits([np.full_like(x, np.nan)])
    assert count["own_output"] == 0
    network.check([x[:0]])
    assert count["own_output"] == 0
    network.logits([x])
    network.logits([x])
    assert count["own_output"] == 1
