"""PatternNet and PatternAttribution on the native backend."""

import json

import keras
import numpy as np
import pytest
from helpers.tensors import array

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)

from helpers.compare import assert_same
from helpers.networks import biased, plain
from helpers.patterns import (
    ANALYZERS,
    classifier,
    fit,
    images,
    residual_block,
    scale_and_shift,
)
from helpers.shared_data import (
    fixture_files,
    fixture_patterns,
    load,
    pattern_attributions,
    pattern_model,
)
from keras import layers

import rap_keras
from rap_keras import InputError, UnknownLayerError
from rap_keras.analyzers.pattern import PatternAttributionAnalyzer, PatternNetAnalyzer
from rap_keras.backends.keras3.trace import trace
from rap_keras.patterns.patterns import Patterns

FILES = fixture_files("innvestigate/pattern109_*.npz")


@pytest.fixture
def model():
    return plain()


@pytest.fixture
def x(rng):
    return images(rng, 30, (12, 12, 3))


def kernels_of(model):
    return {layer.name: array(layer.kernel) for layer in model.layers if layer.weights}


def gradient_times_logit(model, x):
    gradient = rap_keras.create_analyzer("gradient", model).analyze(x)
    logits = model.predict(x, verbose=0).max(1)
    return gradient * logits.reshape(-1, *[1] * (x.ndim - 1))


def test_the_kernels_as_patterns_give_the_gradient(model, x):
    expected = gradient_times_logit(model, x)
    own = Patterns(kernels_of(model))
    assert_same(PatternNetAnalyzer(model, own, project=False).analyze(x), expected)
    ones = Patterns({name: np.ones_like(kernel) for name, kernel in own.items()})
    analyzer = PatternAttributionAnalyzer(model, ones, project=False)
    assert_same(analyzer.analyze(x), expected)


def test_attribution_is_pattern_net_with_kernel_times_pattern(model, x):
    found = fit(model, x)
    products = Patterns({name: kernel * found[name] for name, kernel in kernels_of(model).items()})
    for mode in ("max_activation", "all"):
        options = {"neuron_selection_mode": mode}
        expected = PatternNetAnalyzer(model, products, **options).analyze(x)
        assert_same(PatternAttributionAnalyzer(model, found, **options).analyze(x), expected)


def test_projected_maps_are_the_others_over_their_largest_size(model, x):
    model.layers[-1].bias.assign_sub(np.full(10, 100.0))  # negative logits turn the sign
    found = fit(model, x, "linear")
    raw = PatternNetAnalyzer(model, found, project=False).analyze(x)
    largest = abs(raw).max((1, 2, 3), keepdims=True)
    assert (largest > 0).sum() > 20
    expected = raw / np.where(largest > 0, largest, 1)
    assert_same(PatternNetAnalyzer(model, found).analyze(x), expected)
    options = {"neuron_selection_mode": "index"}
    by_index = [
        PatternNetAnalyzer(model, found, project, **options).analyze(x, 3)
        for project in (True, False)
    ]
    np.testing.assert_array_equal(*by_index)


def test_projection_keeps_deep_networks_finite(rng):
    """Twelve layers whose patterns grow relevance by 10^5 each."""
    chain = [lambda: layers.Conv2D(3, 1, activation="relu") for _ in range(12)]
    model = classifier(*chain, shape=(3, 3, 3))
    sizes = kernels_of(model)
    grown = Patterns({name: np.full(k.shape, 1e5) for name, k in sizes.items()})
    x = images(rng, 4, (3, 3, 3))
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([abs(w) for w in layer.get_weights()])
    maps = PatternNetAnalyzer(model, grown).analyze(abs(x))
    np.testing.assert_allclose(abs(maps).max((1, 2, 3)), 1, rtol=1e-6)
    with pytest.raises(InputError, match="finite relevance"):
        PatternNetAnalyzer(model, grown, project=False).analyze(abs(x))


def test_bottlenecks_are_tensors_on_every_path():
    graph = trace(residual_block(True))
    names = {graph.producers[slot].name for slot in graph.bottlenecks if slot in graph.producers}
    assert {"add", graph.nodes[-1].name} <= names
    assert not names & {"conv", "bn"}  # the skip goes around them
    assert set(graph.inputs) <= graph.bottlenecks
    assert graph.bottlenecks - set(graph.inputs) == {
        slot for node in graph.nodes[2:] for slot in node.outputs
    }


def test_skip_connections_are_summed(rng):
    """Both branches of a residual block, and the gate of the ReLU after it."""
    model = residual_block(True)
    x = images(rng, 6, (6, 6, 4), "float64")
    found = fit(model, x)
    analyzer = PatternNetAnalyzer(model, found, project=False)
    maps, steps = analyzer.analyze(x), analyzer.analyze_layers(x)
    scale, _ = scale_and_shift(model.get_layer("bn"))
    assert_same(steps["conv"], steps["bn"] / scale, 1e-12)
    through = np.einsum("nhwo,io->nhwi", steps["conv"], found["conv"][0, 0])
    assert_same(maps, through + steps["add"], 1e-12)


def test_limits_by_a_constant_gate_as_activations_do(rng):
    def network(activation):
        inputs = keras.Input((5,))
        x = layers.Dense(6, name="a")(inputs)
        return keras.Model(inputs, layers.Dense(3, name="b")(activation(x)))

    by_layer = biased(network(layers.ReLU(max_value=0.5)))
    by_ops = network(lambda x: keras.ops.minimum(keras.ops.maximum(x, 0.0), 0.5))
    by_ops.set_weights(by_layer.get_weights())
    x = rng.normal(size=(40, 5))
    found = fit(by_layer, x)
    maps = [PatternNetAnalyzer(model, found).analyze(x) for model in (by_ops, by_layer)]
    assert_same(*maps)


def test_saved_analyzers_are_loaded(model, x, tmp_path):
    analyzer = PatternAttributionAnalyzer(model, fit(model, x), project=False)
    analyzer.save(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "analyzer.json").read_text())
    assert saved["options"]["patterns"] == "patterns.npz"
    loaded = rap_keras.load_analyzer(tmp_path / "saved")
    assert isinstance(loaded, PatternAttributionAnalyzer)
    assert_same(loaded.analyze(x), analyzer.analyze(x))


@pytest.mark.parametrize("name", ANALYZERS)
def test_analyzers_are_created_by_name(name, model, x, tmp_path):
    found = fit(model, x)
    found.save(tmp_path / "patterns.npz")
    analyzer = rap_keras.create_analyzer(name, model, patterns=tmp_path / "patterns.npz")
    assert_same(analyzer.analyze(x), ANALYZERS[name](model, found).analyze(x))


def test_the_rules_have_short_names(model, x):
    table = repr(PatternNetAnalyzer(model, fit(model, x)).rules())
    assert "pattern.net(patterns=Patterns(4 layers, 'relu'), project=True)" in table


@pytest.mark.parametrize("file", FILES)
@pytest.mark.quick("pattern109_mlpflat_s2", "pattern109_mlpdropout_s6", "pattern109_vggstride_s2")
def test_maps_equal_those_of_innvestigate(file):
    data = load(file)
    model = pattern_model(data)
    for key, method, pattern_type, options in pattern_attributions(data):
        found = Patterns(fixture_patterns(data, pattern_type), pattern_type)
        selection = data["index"] if options["neuron_selection_mode"] == "index" else None
        maps = ANALYZERS[method](model, found, **options).analyze(data["x"], selection)
        assert_same(maps, data[key], 1e-4)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.quick("pattern109_mlpflat_s2", "pattern109_vggstride_s2")
def test_fitted_maps_equal_those_of_innvestigate(file):
    if "dropout" in file.stem:
        pytest.skip("iNNvestigate left Dropout on while it took the statistics")
    data = load(file)
    model = pattern_model(data)
    analyzer = PatternAttributionAnalyzer(model, fit(model, data["x_train"]))
    assert_same(analyzer.analyze(data["x"]), data["patternattribution/default_fit"], 1e-4)


def test_layers_without_a_rule_are_refused(rng):
    inputs = keras.Input((5,))
    x = layers.Dense(4, "relu", name="a")(inputs)
    gated = layers.Multiply()([x, layers.Dense(4, "sigmoid", name="b")(inputs)])
    model = keras.Model(inputs, layers.Dense(2, name="c")(gated))
    found = fit(model, rng.normal(size=(9, 5)))
    with pytest.raises(UnknownLayerError, match="Multiply"):
        PatternNetAnalyzer(model, found)


def test_a_separate_activation_equals_a_fused_one(rng):
    fused = classifier(lambda: layers.Conv2D(4, 3, activation="relu", name="conv"))
    apart = classifier(
        lambda: layers.Conv2D(4, 3, name="conv"), lambda: layers.Dropout(0.5), layers.ReLU
    )
    apart.set_weights(fused.get_weights())
    x = images(rng)
    for name in ("conv", "dense"):
        assert_same(fit(apart, x)[name], fit(fused, x)[name])
    for cls in ANALYZERS.values():
        maps = [cls(m, fit(fused, x), project=False).analyze(x) for m in (apart, fused)]
        assert_same(*maps)


def with_normalization():
    """BatchNormalization after a convolution, and before another."""
    return classifier(
        lambda: layers.Conv2D(4, 3, name="conv1"),
        lambda: layers.BatchNormalization(name="bn1"),
        layers.ReLU,
        lambda: layers.BatchNormalization(name="bn2"),
        lambda: layers.Conv2D(5, 3, activation="relu", name="conv2"),
        dtype="float64",
    )


def folded_by_hand(model):
    plain_model = classifier(
        lambda: layers.Conv2D(4, 3, activation="relu", name="conv1"),
        lambda: layers.Conv2D(5, 3, activation="relu", name="conv2"),
        dtype="float64",
    )
    kernel, bias = model.get_layer("conv1").get_weights()
    scale, shift = scale_and_shift(model.get_layer("bn1"))
    plain_model.get_layer("conv1").set_weights([kernel * scale, bias * scale + shift])
    kernel, bias = model.get_layer("conv2").get_weights()
    scale, shift = scale_and_shift(model.get_layer("bn2"))
    shifted = bias + (kernel * shift[:, np.newaxis]).sum((0, 1, 2))
    plain_model.get_layer("conv2").set_weights([kernel * scale[:, np.newaxis], shifted])
    plain_model.get_layer("dense").set_weights(model.get_layer("dense").get_weights())
    return plain_model


@pytest.mark.parametrize(
    ("name", "project"),
    [
        ("pattern.net", True),
        ("pattern.attribution", False),
        ("pattern.net", False),
        ("pattern.attribution", True),
    ],
)
@pytest.mark.quick("pattern.net-True")
def test_normalization_is_part_of_the_adjacent_linear_layer(name, project, rng):
    model = with_normalization()
    folded = folded_by_hand(model)
    x = images(rng, dtype="float64")
    assert_same(folded.predict(x, verbose=0), model.predict(x, verbose=0), 1e-9)
    own, expected = fit(model, x), fit(folded, x)
    scale, _ = scale_and_shift(model.get_layer("bn1"))
    assert_same(own["conv1"] / scale, expected["conv1"], 1e-9)
    maps = [
        ANALYZERS[name](m, p, project).analyze(x) for m, p in ((model, own), (folded, expected))
    ]
    assert_same(*maps, 1e-9)
