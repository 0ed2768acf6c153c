"""The baselines against iNNvestigate's results, and conservation on real architectures."""

import json

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import biased, plain
from helpers.shared_data import fixture_files, load
from helpers.thinned import slow_unless

from rap_keras import Composite, InputError, create_analyzer, load_analyzer
from rap_keras.analyzers.registry import METHODS, read_method
from rap_keras.rules import lrp, routing

PRESETS = [method.name for method in METHODS if method.preset]
FILES = fixture_files("innvestigate/innv212_*.npz")


def network(data):
    """The Keras 3 network that a fixture describes."""
    arch = json.loads(str(data["arch"]))
    tensors = {}
    for entry in arch["layers"]:
        name, kind, sources = (entry.pop(key) for key in ("name", "class", "inputs"))
        if kind == "InputLayer":
            tensors[name] = keras.Input(entry["batch_input_shape"][1:], name=name)
            continue
        if kind == "BatchNormalization":
            (entry["axis"],) = entry["axis"]
        layer = getattr(keras.layers, kind)(name=name, **entry)
        inputs = [tensors[source] for source in sources]
        tensors[name] = layer(inputs if len(inputs) > 1 else inputs[0])
        count = sum(key.startswith(f"weights/{name}/") for key in data)
        layer.set_weights([data[f"weights/{name}/{k}"] for k in range(count)])
    return keras.Model(tensors[arch["inputs"][0]], tensors[arch["outputs"][0]])


def options_for(kind, method, data):
    if method == "integrated_gradients":
        return {"integration": "left"}
    options = {}
    if method in PRESETS:
        options["innvestigate_compat"] = True
        if kind == "attr_bnfixed":
            options["batch_norm"] = "rule"
    if method == "deep_taylor.bounded":
        options["low"], options["high"] = data["bounds"].tolist()
    return options


SHARE = 12  # the results of a fixture that run by default; other fixtures cover the rest


def reproduced(file, others):
    """Every result of a fixture, or the selected ones."""
    data = load(file)
    model = network(data)
    assert_same(model.predict(data["x"], verbose=0), data["logits"], 1e-5)
    normalized = any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    tolerance = 1e-3 if normalized else 1e-4
    results = [key.split("/") for key in data if key.startswith("attr")]
    assert len(results) > 20
    turn = [parameter.values[0] for parameter in FILES].index(file)
    for number, (kind, method, mode) in enumerate(results):
        if (number % SHARE == (turn // 2 + turn % 2 * SHARE // 2) % SHARE) == others:
            continue
        options = options_for(kind, method, data)
        analyzer = create_analyzer(method, model, neuron_selection_mode=mode, **options)
        maps = analyzer.analyze(data["x"], data["index"] if mode == "index" else None)
        expected = data[f"{kind}/{method}/{mode}"]
        scale = abs(expected).max()
        message = f"{kind}/{method}/{mode}"
        near = tolerance * scale + 1e-12
        if method == "integrated_gradients":
            # The gradient jumps at a ReLU: by rounding, one of the 64 points may lie on the other side.
            assert (abs(maps - expected) > near).mean() < 0.1, message
            near = scale / 32
        np.testing.assert_allclose(maps, expected, rtol=0, atol=near, err_msg=message)


@pytest.mark.parametrize("file", FILES)
def test_innvestigate_is_reproduced(file):
    """Every method on some network."""
    reproduced(file, others=False)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_innvestigate_is_reproduced_by_every_method_on_every_network(file):
    reproduced(file, others=True)


@pytest.mark.parametrize("file", slow_unless(lambda p: "vgg_v0" in p.id, FILES))
def test_without_batch_normalization_most_methods_need_no_compatibility(file):
    data = load(file)
    if any(key.startswith("attr_bnfixed") for key in data):
        pytest.skip("the network has BatchNormalization")
    model = network(data)
    same = ["lrp.z", "lrp.epsilon", "lrp.w_square", "lrp.flat", "lrp.z_plus", "lrp.z_plus_fast"]
    for method in [*same, "lrp.alpha_1_beta_0_IB", "lrp.alpha_2_beta_1_IB"]:
        maps = create_analyzer(method, model).analyze(data["x"])
        assert_same(maps, data[f"attr/{method}/max_activation"], 1e-3)


def test_epsilon_on_a_relu_net_is_input_times_gradient(rng):
    model = plain()
    x = rng.normal(size=(3, 12, 12, 3)).astype("float32")
    expected = create_analyzer("input_t_gradient", model).analyze(x)
    assert_same(create_analyzer("lrp.z", model).analyze(x), expected, 1e-4)
    assert_same(create_analyzer("lrp.epsilon", model, epsilon=1e-9).analyze(x), expected, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ResNet50", "EfficientNetB0", "DenseNet121"])
def test_alpha_1_beta_0_conserves_on_applications(name, rng):
    keras.utils.set_random_seed(0)
    application = getattr(keras.applications, name)
    model = application(weights=None, classifier_activation=None, input_shape=(64, 64, 3))
    x = rng.uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    maps = create_analyzer("lrp.alpha_1_beta_0", model).analyze(x)
    logits = model.predict(x, verbose=0).max(1)
    np.testing.assert_allclose(maps.sum((1, 2, 3), dtype="float64"), logits, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet", *PRESETS])
@pytest.mark.parametrize("name", ["ResNet50", "EfficientNetB0", "DenseNet121"])
def test_maps_of_applications_are_finite(name, method, rng):
    keras.utils.set_random_seed(0)
    application = getattr(keras.applications, name)
    model = application(weights=None, classifier_activation=None, input_shape=(96, 96, 3))
    options = {"alpha": 1.5} if method == "lrp.alpha_beta" else {}
    x = rng.uniform(-1, 1, (2, 96, 96, 3)).astype("float32")
    assert np.isfinite(create_analyzer(method, model, **options).analyze(x)).all()


def test_a_custom_composite(rng):
    model = plain()
    x = rng.normal(size=(2, 12, 12, 3)).astype("float32")
    rules = {"Conv2D": lrp.alpha_beta, "Dense": lrp.epsilon, "Flatten": routing.follow}
    own = Composite(rules | {"MaxPooling2D": routing.follow}, first=lrp.flat)
    maps = create_analyzer("lrp", model, composite=own).analyze(x)
    preset = create_analyzer("lrp.sequential_preset_a_flat", model, epsilon=1e-7)
    assert_same(maps, preset.analyze(x), 1e-4)
    with pytest.raises(InputError, match="Expected a method that has a name to save"):
        create_analyzer("lrp", model, composite=own).save("nowhere")


SAVED = ("lrp.epsilon", "lrp.alpha_beta", "deep_taylor.bounded", "lrp.sequential_preset_a_flat")


@pytest.mark.parametrize("method", slow_unless(lambda p: p.values[0] in SAVED, PRESETS))
def test_saved_baselines_are_loaded(method, tmp_path, rng):
    own = {"epsilon": 0.2, "bias": False, "gamma": 0.5, "alpha": 3.0}
    options = {key: own[key] for key in read_method(method).preset.options if key in own}
    options |= {"batch_norm": "rule", "add": "absolute"}
    if "bounded" in method:
        options |= {"low": -6.0, "high": [6.0, 7.0, 8.0]}
    else:
        options |= {"input_layer_rule": (-9, 9)}
    analyzer = create_analyzer(method, plain(), **options)
    analyzer.save(tmp_path)
    x = rng.normal(size=(2, 12, 12, 3)).astype("float32")
    loaded = load_analyzer(tmp_path)
    assert loaded.options() == analyzer.options()
    assert_same(loaded.analyze(x), analyzer.analyze(x))


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("lrp.epsilon", {"epsilon": 0}, "Expected epsilon > 0, got 0: for no epsilon, use lrp.z"),
        ("lrp.alpha_beta", {}, "Expected alpha or beta"),
        ("lrp.alpha_beta", {"alpha": 2, "beta": 2}, "alpha - beta = 1, got alpha=2 and beta=2"),
        ("lrp.alpha_beta", {"beta": -1}, "alpha >= 1"),
        ("lrp.z", {"batch_norm": "merge"}, "'fold', 'rule', 'identity', got 'merge'"),
        ("lrp.z", {"epsilon": 1}, "got 'epsilon'"),
        ("lrp.z", {"input_layer_rule": "Round"}, "Expected input_layer_rule to be one of 'Flat'"),
        ("lrp.z", {"input_layer_rule": (0, 1, 2)}, r"Expected input_layer_rule=\(low, high\)"),
        ("lrp.z", {"input_layer_rule": ["Flat"]}, r"Expected input_layer_rule=\(low, high\)"),
        ("lrp.z", {"input_layer_rule": (0, 1), "low": -1, "high": 2}, "without the options low"),
        ("lrp.flat", {"low": 0}, "Expected low and high, got low=0 and high=None"),
        ("lrp.epsilon_gamma_box", {"gamma": -1}, "Expected a finite gamma >= 0, got -1"),
        (
            "lrp",
            {"composite": {}},
            r"Expected composite to be a rap_keras\.Composite, got dict: create",
        ),
        ("lrp", {}, "Expected a composite for the method 'lrp'"),
        (
            "lrp",
            {"composite": Composite({}), "innvestigate_compat": True},
            "Expected innvestigate_compat for a method of iNNvestigate",
        ),
        ("lrp.alpha_2_beta_0", {}, "did you mean"),
    ],
)
def test_wrong_options_are_refused(method, options, message):
    with pytest.raises(InputError, match=message):
        create_analyzer(method, plain(), **options)


@pytest.mark.parametrize("method", ["lrp.z", "lrp.alpha_2_beta_1", "lrp.flat"])
def test_policies_for_batch_normalization_differ_where_they_should(method, rng):
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(6, 3)(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    model = biased(keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x))))
    data = rng.normal(size=(2, 8, 8, 3)).astype("float32")
    maps = {
        policy: create_analyzer(method, model, batch_norm=policy).analyze(data)
        for policy in ("fold", "rule", "identity")
    }
    scale = abs(maps["fold"]).max()
    for policy in ("fold", "rule"):
        if method == "lrp.flat":  # which uses no weights
            assert_same(maps[policy], maps["identity"])
        else:
            assert abs(maps[policy] - maps["identity"]).max() > 1e-2 * scale


@pytest.mark.parametrize("part", ["Dense", "first", "last", "dense", "default", "attention"])
def test_a_composite_of_something_other_than_rules_is_refused(part):
    options = {"rules": {"Dense": "box"}} if part == "Dense" else {"rules": {}, part: "box"}
    with pytest.raises(InputError, match=f"Expected a rule for '{part}', got 'box'"):
        Composite(**options)


@pytest.mark.parametrize("name", ["Dens", "MyDense"])
def test_names_without_effect_in_a_composite_are_told(name, rng):
    class MyDense(keras.layers.Dense):
        pass

    model = keras.Sequential([keras.Input((3,)), MyDense(2)])
    own = Composite({"Dense": lrp.epsilon, "Conv2D": lrp.flat, name: lrp.flat})
    with pytest.warns(UserWarning, match=f"The rule for '{name}' has no effect"):
        create_analyzer("lrp", model, composite=own)
    own.rules[MyDense] = own.rules.pop(name)
    maps = create_analyzer("lrp", model, composite=own).analyze(rng.normal(size=(1, 3)))
    assert np.ptp(maps) == 0  # by the flat rule
