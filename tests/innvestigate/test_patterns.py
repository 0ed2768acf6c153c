"""PatternNet and PatternAttribution inside iNNvestigate, and their patterns of Keras 2 models."""

import itertools
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.compare import assert_same
from helpers.keras2 import k2
from helpers.shared_data import (
    fixture_files,
    fixture_patterns,
    load,
    pattern_attributions,
    pattern_model,
)
from helpers.thinned import slow_unless

from rap_keras import InputError, patterns
from rap_keras import innvestigate as plugin
from rap_keras.patterns.patterns import Patterns
from rap_keras.patterns.statistics import Statistics

innvestigate = pytest.importorskip("innvestigate")
FILES = fixture_files("innvestigate/pattern109_*.npz")
METHODS = ("pattern.net", "pattern.attribution")
L = k2.layers
needs_keras3 = pytest.mark.skipif(
    not keras.__version__.startswith("3"), reason="the native backend needs Keras 3"
)


def fit(model, x, pattern_type="relu", **options):
    return patterns.fit(model, x, pattern_type, progress=False, **options)


def built(*layers, shape=(8, 8, 3)):
    with plugin.new_graph():
        inputs = x = L.Input(shape)
        for layer in layers:
            x = layer()(x)
        model = k2.Model(inputs, x)
        rng = np.random.default_rng(0)
        for layer in model.layers:
            layer.set_weights([0.5 * abs(w) + rng.uniform(-0.3, 0.3, w.shape) if w.ndim < 2 else w
                               for w in layer.get_weights()])  # fmt: skip
    return model


def network():
    return built(
        lambda: L.Conv2D(5, 3, name="conv1"),
        lambda: L.BatchNormalization(name="bn"),
        L.ReLU,
        L.MaxPooling2D,
        lambda: L.Conv2D(4, 2, activation="relu", name="conv2"),
        L.Flatten,
        lambda: L.Dropout(0.5),
        lambda: L.Dense(3, name="end"),
    )


@pytest.fixture
def x(rng):
    return rng.normal(0.3, 1, (20, 8, 8, 3)).astype("float32")


def keras2_model(data):
    with plugin.new_graph():
        return pattern_model(data, k2)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.quick("pattern109_mlp_s0", "pattern109_vggstride_s2")
def test_patterns_equal_those_of_innvestigate(file):
    if "dropout" in file.stem:
        pytest.skip("iNNvestigate left Dropout on while it took the statistics")
    data = load(file)
    statistics = Statistics(keras2_model(data))
    statistics.feed(data["x_train"], progress=False)
    for pattern_type in ("linear", "relu.positive", "relu.negative"):
        found = statistics.patterns(pattern_type)
        expected = fixture_patterns(data, pattern_type)
        assert set(found) == set(expected)
        for name in expected:
            assert_same(found[name], expected[name], 1e-4)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.quick("pattern109_mlpdropout_s6")
def test_maps_equal_those_of_innvestigate(file):
    data = load(file)
    model = keras2_model(data)
    for key, method, pattern_type, options in pattern_attributions(data):
        found = Patterns(fixture_patterns(data, pattern_type), pattern_type)
        selection = data["index"] if options["neuron_selection_mode"] == "index" else None
        analyzer = plugin.create_analyzer(method, model, patterns=found, **options)
        assert_same(analyzer.analyze(data["x"], selection), data[key], 1e-4)


@needs_keras3
@pytest.mark.parametrize(
    ("kind", "method", "project"),
    list(itertools.product(["plain", "residual"], METHODS, [True, False])),
)
@pytest.mark.quick("plain-pattern.net-True")
def test_both_backends_agree_at_every_layer(kind, method, project, rng):
    from helpers import networks

    from rap_keras.analyzers import pattern as pattern_analyzers

    model = getattr(networks, kind)()
    x = rng.normal(0.3, 1, (20, 12, 12, 3)).astype("float32")
    rebuilt = plugin.from_keras3(model)
    expected = fit(model, x)
    found = fit(rebuilt, x)
    assert list(found) == list(expected)
    for name in expected:
        assert_same(found[name], expected[name], 1e-4)
    classes = {
        "pattern.net": pattern_analyzers.PatternNetAnalyzer,
        "pattern.attribution": pattern_analyzers.PatternAttributionAnalyzer,
    }
    for mode, selection in (("max_activation", None), ("index", 3), ("all", None)):
        options = {"project": project, "neuron_selection_mode": mode}
        maps = classes[method](model, expected, **options).analyze_layers(x, selection)
        analyzer = plugin.create_analyzer(method, rebuilt, patterns=expected, **options)
        own = analyzer.analyze_layers(x, selection)
        assert list(own) == list(maps)
        for name in maps:
            assert_same(own[name], maps[name], 1e-4)
        # Of the model's one input, analyze gives what analyze_layers does.
        assert_same(analyzer.analyze(x, selection), next(iter(own.values())))


@pytest.mark.slow
def test_streams_and_shards_equal_arrays(x):
    model = network()
    expected = fit(model, x, "linear")
    dataset = tf.data.Dataset.from_tensor_slices((x, np.arange(20))).batch(6)
    halves = [Statistics(model), Statistics(model)]
    for part, data in zip(halves, (x[:9], iter([x[9:15], x[15:]])), strict=True):
        part.feed(data, progress=False)
    merged = (halves[0] + halves[1]).patterns("linear")
    for found in (fit(model, dataset, "linear"), merged):
        for name in expected:
            assert_same(found[name], expected[name])


@pytest.mark.parametrize("method", slow_unless(lambda p: p.values[0] != "pattern.net", METHODS))
def test_saved_analyzers_are_loaded(method, x, tmp_path):
    model = network()
    analyzer = plugin.create_analyzer(method, model, patterns=fit(model, x), project=False)
    expected = analyzer.analyze(x)
    class_name, state = analyzer.save()
    analyzer.save_npz(tmp_path / "analyzer.npz")
    with np.load(tmp_path / "analyzer.npz", allow_pickle=False) as file:
        assert all(file[key].dtype.kind in "fU" for key in file.files)
    for loaded in (
        innvestigate.analyzer.base.AnalyzerBase.load(class_name, state),
        type(analyzer).load_npz(tmp_path / "analyzer.npz"),
    ):
        assert type(loaded) is type(analyzer)
        assert_same(plugin.entering(loaded, loaded._model).analyze(x), expected)


@pytest.mark.slow
def test_patterns_of_another_model_are_refused(x, tmp_path):
    model = network()
    found = fit(model, x)
    with pytest.raises(InputError, match="Expected project to be True or False, got 'no'"):
        plugin.create_analyzer("pattern.net", model, patterns=found, project="no")
    other = built(lambda: L.Conv2D(4, 3, name="conv1"), L.Flatten, lambda: L.Dense(3, name="end"))
    with pytest.raises(InputError, match=r"'conv1' has one of shape \(3, 3, 3, 5\)"):
        plugin.create_analyzer("pattern.net", other, patterns=found)
    with pytest.raises(InputError, match=r"got none: fit them"):
        plugin.create_analyzer("pattern.net", model)
    found.save(tmp_path / "patterns.npz")
    analyzer = plugin.create_analyzer("pattern.net", model, patterns=tmp_path / "patterns.npz")
    by_object = plugin.create_analyzer("pattern.net", model, patterns=found)
    assert_same(analyzer.analyze(x), by_object.analyze(x))


GRAPH_MODE = """
import numpy as np
import tensorflow as tf

tf.compat.v1.disable_eager_execution()

import innvestigate
import rap_keras.innvestigate
from rap_keras import patterns

L = tf.keras.layers
inputs = L.Input((5,))
model = tf.keras.Model(inputs, L.Dense(3)(L.Dense(6, "relu")(inputs)))
x = np.random.default_rng(0).normal(size=(30, 5)).astype("float32")
expected = patterns.fit(model, x)
dataset = tf.data.Dataset.from_tensor_slices((x, np.arange(30))).batch(7)
found = patterns.fit(model, dataset)
for name in expected:
    np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
analyzer = innvestigate.create_analyzer("pattern.net", model, patterns=expected, project=False)
(first, bias), (last, end) = (layer.get_weights() for layer in model.layers[1:])
hidden = x @ first + bias
logits = np.maximum(hidden, 0) @ last + end
start = np.where(logits == logits.max(1, keepdims=True), logits, 0)
a, b = expected.values()
by_hand = ((start @ b.T) * (hidden > 0)) @ a.T
np.testing.assert_allclose(analyzer.analyze(x), by_hand, atol=1e-4 * abs(by_hand).max())
print("all is well")
"""


@pytest.mark.slow
def test_graph_mode():
    command = [sys.executable, "-c", GRAPH_MODE]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "all is well" in result.stdout, result.stderr
