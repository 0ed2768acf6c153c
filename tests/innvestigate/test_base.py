"""The dry runs of iNNvestigate's analyzers, applied to "rap"."""

import contextlib
import functools
import itertools
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from helpers.compare import FLOAT32, assert_same
from helpers.keras2 import k2
from helpers.thinned import slow_unless

from rap_keras import InputError, UnknownLayerError
from rap_keras import innvestigate as plugin
from rap_keras.composites import composite
from rap_keras.rules import routing

innvestigate = pytest.importorskip("innvestigate")
AnalyzerBase = innvestigate.analyzer.base.AnalyzerBase
NotAnalyzeableModelException = innvestigate.analyzer.base.NotAnalyzeableModelException
wrappers = innvestigate.analyzer.wrapper
L = k2.layers
MODES = ("max_activation", "index", "all")
BATCH = 3
INDEX = [2, 0, 1]


# Networks. The parts of a name before "/" and ":" are the same for layers (or calls of one layer) that
# are on parallel branches: together they have all the relevance.


def chain(x, *layers):
    for layer in layers:
        x = layer(x)
    return x


def network(shape, *layers):
    inputs = L.Input(shape)
    return k2.Model(inputs, chain(inputs, *layers))


def image(*layers, channels=3):
    return network((8, 8, channels), *layers, L.Flatten(), L.Dense(4))


def conv(filters=4, size=3, activation="relu", **options):
    return L.Conv2D(filters, size, activation=activation, **options)


def dense(units, **options):
    return L.Dense(units, "relu", **options)


def skip():
    inputs = L.Input((8, 8, 3))
    x = conv()(inputs)
    ends = [
        conv(activation=None, padding="same", name="a/left")(x),
        L.Activation("linear", name="a/right")(x),
    ]
    return k2.Model(inputs, chain(L.Add()(ends), conv(), L.Flatten(), L.Dense(4)))


def concatenate():
    inputs = L.Input((8, 8, 3))
    x = conv()(inputs)
    left = chain(x, conv(size=1, name="a/left"), L.BatchNormalization(name="b/left"))
    right = chain(x, conv(padding="same", name="a/right"), L.Dropout(0.5, name="b/right"))
    x = chain(L.Concatenate()([left, right]), L.ReLU(), L.GlobalAveragePooling2D(), L.Dense(4))
    return k2.Model(inputs, x)


def two_inputs():
    left, right = L.Input((8, 8, 3), name="input/left"), L.Input((5,), name="input/right")
    a = chain(left, conv(name="a/left"), L.Flatten(name="b/left"))
    b = chain(right, L.Dense(6, "relu", name="a/right"), L.Dropout(0.5, name="b/right"))
    return k2.Model([left, right], chain(L.Concatenate()([a, b]), L.Dense(6, "relu"), L.Dense(4)))


def shared_layer():
    ends = L.Input((6,), name="input/left"), L.Input((6,), name="input/right")
    shared = L.Dense(5, "relu", name="shared")
    return k2.Model(ends, chain(L.Add()([shared(x) for x in ends]), L.Dense(6, "relu"), L.Dense(4)))


NETWORKS = {
    "mlp_1_dense": lambda: network((10,), L.Dense(4)),
    "mlp_2_dense": lambda: network((10,), dense(8), L.Dense(4)),
    "mlp_3_dense": lambda: network((3, 4), L.Flatten(), dense(9), dense(8), L.Dense(4)),
    "mlp_no_bias": lambda: network((10,), dense(8, use_bias=False), L.Dense(4, use_bias=False)),
    "mlp_dropout_activations": lambda: network(
        *((10,), L.Dense(9), L.Activation("relu"), L.Dropout(0.3)),
        *(L.Dense(8), L.Activation("tanh"), L.Dense(4)),
    ),
    "conv": lambda: image(conv()),
    "conv_no_bias": lambda: image(conv(use_bias=False), conv(use_bias=False)),
    "max_pooling": lambda: image(conv(), conv(), L.MaxPooling2D()),
    "average_pooling": lambda: image(conv(), L.AveragePooling2D(), conv()),
    "global_pooling": lambda: network(
        (8, 8, 3), conv(), conv(activation=None), L.GlobalMaxPooling2D(), L.Dense(4)
    ),
    "strides": lambda: image(conv(strides=(2, 2)), conv(strides=2, padding="same"), channels=1),
    "padding": lambda: image(conv(padding="same"), conv(padding="valid"), channels=5),
    "dilation": lambda: image(conv(dilation_rate=(2, 2)), conv(dilation_rate=2, padding="same")),
    "conv1d": lambda: network(
        (9, 2), L.Conv1D(4, 3, activation="relu"), L.Conv1D(5, 2), L.Flatten(), L.Dense(4)
    ),
    "batch_normalization": lambda: image(
        *(conv(activation=None), L.BatchNormalization(), L.Activation("relu")),
        *(L.DepthwiseConv2D(3), L.BatchNormalization(scale=False), L.ReLU()),
    ),
    "skip": skip,
    "concatenate": concatenate,
    "two_inputs": two_inputs,
    "shared_layer": shared_layer,
}


@functools.cache
def subject(name):
    """A network with random weights (zero biases and unit statistics hide errors), samples, logits."""
    rng = np.random.default_rng(0)
    with plugin.new_graph():
        model = NETWORKS[name]()
        model.set_weights([random_weight(rng, v.name, v.shape) for v in model.weights])
        x = [rng.normal(size=(BATCH, *t.shape[1:])).astype("float32") for t in model.inputs]
        logits = model.predict_on_batch(x)
    return model, x if len(x) > 1 else x[0], logits


def built(*layers, shape=(6,)):
    """A custom network, in a graph."""
    with plugin.new_graph():
        return network(shape, *(make() for make in layers))


def model_output(model, x):
    with plugin.graph_scope(model):
        return model.predict_on_batch(x)


def random_weight(rng, name, shape):
    if re.search("gamma|variance", name):
        return rng.uniform(0.5, 1.5, shape)
    scale = 0.2 if len(shape) == 1 else 1.5 / np.sqrt(np.prod(shape[:-1]))
    return rng.normal(0, scale, shape)


def create(model, **options):
    return plugin.create_analyzer("rap", model, **options)


@functools.cache
def default_analyzer(name, mode):
    return create(subject(name)[0], neuron_selection_mode=mode)


def explain(name, **options):
    """The map of the strongest neuron of each sample, by an analyzer with these options."""
    model, x, _ = subject(name)
    return create(model, **options).analyze(x)


def plain(name):
    return default_analyzer(name, "max_activation").analyze(subject(name)[1])


def chosen(mode, neurons=INDEX):
    """The neurons, where the mode needs them."""
    return neurons if mode == "index" else None


def targets(mode, logits):
    """The sums that the maps must have."""
    picked = {"max_activation": logits.max(1), "all": logits.sum(1)}
    return picked[mode] if mode in picked else logits[range(BATCH), INDEX]


def totals(maps):
    """The sum over each sample, of all inputs or layers together."""
    return sum(m.reshape(len(m), -1).sum(1, dtype="float64") for m in as_list(maps))


def as_list(maps):
    return maps if isinstance(maps, list) else [maps]


def sample(x, k):
    return [part[k : k + 1] for part in x] if isinstance(x, list) else x[k : k + 1]


def assert_maps_same(found, expected, tolerance=FLOAT32):
    found, expected = as_list(found), as_list(expected)
    assert [np.shape(part) for part in found] == [np.shape(part) for part in expected]
    # One scale for all inputs, which share one relevance.
    assert_same(
        *(np.concatenate([np.ravel(p) for p in parts]) for parts in (found, expected)), tolerance
    )


def cases(table):
    """Parameters with the table's keys as names."""
    return [pytest.param(case, id=key) for key, case in table.items()]


assert_sums = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
# One of each class: layers that move relevance, distribute it, or have weights.
REPRESENTATIVES = (
    *("mlp_dropout_activations", "max_pooling", "strides", "conv1d", "batch_normalization"),
    *("concatenate", "two_inputs", "shared_layer"),
)
networks = pytest.mark.parametrize(
    "name", slow_unless(lambda p: p.values[0] in REPRESENTATIVES, NETWORKS)
)
modes = pytest.mark.parametrize("mode", MODES)
# The choice of neurons is independent of the layers before them: with one input, and with two.
SELECTING = ("max_pooling", "two_inputs")


# Dry runs.


@pytest.mark.parametrize(
    ("name", "mode"),
    [pytest.param(n, mode, id=f"{n}-{mode}") for n in NETWORKS for mode in MODES],
)
@pytest.mark.quick(
    "max_pooling-all",
    "strides-index",
    "conv1d-index",
    "batch_normalization-index",
    "concatenate-index",
    "two_inputs-max_activation",
)
def test_maps_are_finite_and_sum_to_the_selected_logit(name, mode):
    model, x, logits = subject(name)
    with plugin.graph_scope(model):
        analyzer = default_analyzer(name, mode)
        maps = analyzer.analyze(x, chosen(mode))
        for found, given in zip(as_list(maps), as_list(x), strict=True):
            assert found.shape == given.shape
            assert np.isfinite(found).all()
        assert_sums(totals(maps), targets(mode, logits))
        for k in range(BATCH):
            single = analyzer.analyze(sample(x, k), chosen(mode, INDEX[k]))
            assert_maps_same(single, sample(maps, k), 1e-5)


@pytest.mark.parametrize("name", slow_unless(lambda p: p.values[0] in SELECTING, NETWORKS))
def test_neurons_are_selected_by_a_number_a_list_or_an_array(name):
    model, x, logits = subject(name)
    with plugin.graph_scope(model):
        analyzer = default_analyzer(name, "index")
        by_number = [totals(analyzer.analyze(x, neuron)) for neuron in range(logits.shape[1])]
        by_list = analyzer.analyze(x, INDEX)
        by_array = analyzer.analyze(x, np.array(INDEX, "uint8"))
        of_highest = analyzer.analyze(x, logits.argmax(1))
        highest = default_analyzer(name, "max_activation").analyze(x)
    assert_sums(np.transpose(by_number), logits)
    assert_sums(totals(by_list), targets("index", logits))
    assert_maps_same(by_array, by_list)
    assert_maps_same(of_highest, highest)


@networks
def test_every_layer_has_the_whole_relevance(name):
    model, x, logits = subject(name)
    with plugin.graph_scope(model):
        analyzer = default_analyzer(name, "index")
        layers = analyzer.analyze_layers(x, INDEX)
        maps = analyzer.analyze(x, INDEX)
    assert {key.split(":")[0] for key in layers} == {layer.name for layer in model.layers}
    groups = {}
    for key, relevance in layers.items():
        groups.setdefault(re.split("[/:]", key)[0], []).append(relevance)
    for group, relevances in groups.items():
        assert_sums(totals(relevances), targets("index", logits), err_msg=group)
    assert_maps_same(as_list(maps), [layers[key] for key in model.input_names])


@modes
@pytest.mark.quick("index")
def test_layers_in_each_mode(mode):
    """The logits have the selected relevance, and the input has the map."""
    _, x, logits = subject("conv")
    analyzer = default_analyzer("conv", mode)
    first, *_, last = analyzer.analyze_layers(x, chosen(mode)).values()
    assert_maps_same(first, analyzer.analyze(x, chosen(mode)))
    neurons = {"max_activation": logits.argmax(1), "index": np.array(INDEX)}.get(mode)
    selected = 1 if neurons is None else neurons[:, None] == range(logits.shape[1])
    assert_same(last, logits * selected)


def test_several_inputs_may_be_a_dict():
    model, x, _ = subject("two_inputs")
    analyzer = default_analyzer("two_inputs", "max_activation")
    maps = analyzer.analyze(dict(zip(model.input_names, x, strict=True)))
    assert list(maps) == model.input_names
    assert_maps_same(list(maps.values()), analyzer.analyze(x))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.quick("index")
def test_an_unused_input_has_no_relevance(mode):
    with plugin.new_graph():
        used, unused = k2.Input((4,), name="used"), k2.Input((2, 3), name="unused")
        model = k2.Model([unused, used], L.Dense(3)(used))
        alone = k2.Model(used, model.output)
    x, other = np.ones((2, 4), "float32"), np.ones((2, 2, 3), "float32")
    target = 1 if mode == "index" else None
    options = {"neuron_selection_mode": mode, "reverse_keep_tensors": True}
    analyzer = plugin.create_analyzer("rap", model, **options)
    zeros, found = analyzer.analyze([other, x], target)
    expected = plugin.create_analyzer("rap", alone, **options).analyze(x, target)
    np.testing.assert_array_equal(zeros, np.zeros_like(other))
    assert_same(found, expected)
    layers = analyzer.analyze_layers({"used": x, "unused": other}, target)
    np.testing.assert_array_equal(layers["unused"], zeros)
    assert_same(layers["used"], expected)


class TwoOutputs(L.Layer):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def call(self, x):
        return self.kind([x, 2 * x])


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("taken", [[1], [0, 1]])
@pytest.mark.quick("taken0-list", "taken1-tuple")
def test_layers_of_several_outputs_lose_no_relevance(taken, kind, monkeypatch):
    def rule(layer, xs, ys, relevances):
        return [sum(relevances)]

    monkeypatch.setitem(composite._registered, TwoOutputs, rule)
    with plugin.new_graph():
        inputs = k2.Input((4,))
        hidden = L.Dense(4)(inputs)
        outputs = TwoOutputs(kind)(hidden)
        x = L.Add()([hidden, *(outputs[k] for k in taken)])
        model = k2.Model(inputs, L.Dense(3)(x))
    x = np.ones((2, 4), "float32")
    maps = plugin.create_analyzer("rap", model).analyze(x)
    with plugin.graph_scope(model):
        assert_same(maps.sum(1), model.predict_on_batch(x).max(1))


def test_layers_may_be_called_with_a_tuple():
    def add_tuple(x):
        return L.Add()((L.Dense(5, "relu")(x), L.Dense(5)(x)))

    model, x = built(lambda: add_tuple, lambda: L.Dense(4)), np.eye(6, dtype="float32")
    assert_sums(totals(create(model).analyze(x)), model_output(model, x).max(1))


def test_logits_with_several_axes_have_no_maximum():
    analyzer = create(built(lambda: L.Reshape((3, 2)), lambda: L.Dense(2)))
    x = np.ones((2, 6), "float32")
    with pytest.raises(InputError, match=r"of shape \(3, 2\) has no largest logit.*\(i, j\)"):
        analyzer.analyze(x)
    assert analyzer.analyze(x, (2, 1)).shape == (2, 6)


# Saving and loading.

OPTIONS = {
    "variant": {"variant": "released"},
    "add": {"add": "signed"},
    "input_rule": {"input_rule": "inner"},
    "head": {"head": "positive"},
    "dense": {"dense": "epsilon"},
    "local": {"local": 0.75},
    "bounds": {"bounds": (-6, 5.5)},
    "arrays": {"bounds": (np.full((8, 8, 3), -6.0), np.linspace(4, 6, 3))},
}
SAVED = {
    "max_activation, variant": OPTIONS["variant"],
    "index, add": {"neuron_selection_mode": "index"} | OPTIONS["add"],
    "head": OPTIONS["head"],
    "all, input_rule": {"neuron_selection_mode": "all"} | OPTIONS["input_rule"],
    "bounds, project": OPTIONS["arrays"] | {"reverse_project_bottleneck_layers": True},
    "clip": {"reverse_clip_values": (-0.1, 0.1)},
}


@pytest.mark.parametrize("options", cases(OPTIONS))
@pytest.mark.quick("local", "arrays")
def test_options_change_the_map_but_not_its_sum(options):
    maps, default = explain("skip", **options), plain("skip")
    assert abs(maps - default).max() > 1e-3 * abs(default).max()
    factor = 2 if "variant" in options else 1  # docs/rules.md: on inputs of both signs
    assert_sums(totals(maps), factor * subject("skip")[2].max(1))


@pytest.mark.parametrize(
    "options",
    cases(SAVED),
)
@pytest.mark.quick("max_activation, variant")
def test_a_loaded_analyzer_gives_the_same_maps(options, tmp_path):
    model, x, _ = subject("skip")
    neurons = chosen(options.get("neuron_selection_mode"))
    analyzer = create(model, **options)
    expected = analyzer.analyze(x, neurons)
    analyzer = AnalyzerBase.load(*analyzer.save())
    assert type(analyzer) is plugin.RAPAnalyzer
    analyzer.save_npz(tmp_path / "analyzer.npz")  # what was loaded can be saved
    analyzer = plugin.RAPAnalyzer.load_npz(tmp_path / "analyzer.npz")
    assert type(analyzer) is plugin.RAPAnalyzer
    assert_maps_same(analyzer.analyze(x, neurons), expected)


@k2.utils.register_keras_serializable("tests")
class TwoDense(L.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.first, self.second = L.Dense(4, name="first"), L.Dense(4, name="second")

    def call(self, x):
        return tf.sin(self.second(self.first(x)))


def test_a_loaded_analyzer_has_the_weights_of_a_partly_frozen_layer(monkeypatch, tmp_path):
    monkeypatch.setitem(composite._registered, TwoDense, routing.pass_on)
    with plugin.new_graph():
        layer, inputs = TwoDense(), k2.Input((4,))
        model = k2.Model(inputs, L.Dense(3, bias_initializer="ones")(layer(inputs)))
        layer.first.trainable = False  # its weights are now the last ones
    x = np.ones((2, 4), "float32")
    analyzer = plugin.create_analyzer("rap", model)
    analyzer.save_npz(tmp_path / "analyzer.npz")
    for loaded in (
        plugin.RAPAnalyzer.load_npz(tmp_path / "analyzer.npz"),
        plugin.RAPAnalyzer.load(*analyzer.save()),
    ):
        assert_same(loaded.analyze(x), analyzer.analyze(x))


@pytest.mark.parametrize(
    ("dtype", "nested"),
    list(itertools.product(["float16", "bfloat16", "mixed_bfloat16"], [False, True])),
)
@pytest.mark.quick("mixed_bfloat16-False")
def test_models_of_half_precision_are_explained_and_saved(dtype, nested, rng, tmp_path):
    with plugin.new_graph():
        hidden = L.Dense(4, "relu", bias_initializer="ones", dtype=dtype)
        inputs = k2.Input((4,), dtype=dtype.removeprefix("mixed_"))
        x = k2.Model(inputs, hidden(inputs))(inputs) if nested else hidden(inputs)
        model = k2.Model(inputs, L.Dense(3, bias_initializer="ones", dtype=dtype)(x))
    x = rng.normal(size=(2, 4)).astype("float32")
    analyzer = plugin.create_analyzer("rap", model)
    maps = analyzer.analyze(x)
    with plugin.graph_scope(model):
        logits = model.predict_on_batch(x).astype("float32").max(1)
    np.testing.assert_allclose(maps.sum(1), logits, rtol=0.02)
    analyzer.save_npz(tmp_path / "analyzer.npz")
    loaded = plugin.RAPAnalyzer.load_npz(tmp_path / "analyzer.npz")
    np.testing.assert_array_equal(loaded.analyze(x), maps)


def test_rap_epsilon_is_rap_with_options():
    model, x, _ = subject("skip")
    analyzer = plugin.create_analyzer("rap.epsilon", model)
    maps = explain("skip", dense="epsilon", local=0.75)
    assert_maps_same(analyzer.analyze(x), maps)
    loaded = AnalyzerBase.load(*analyzer.save())
    assert type(loaded) is plugin.RAPEpsilonAnalyzer
    assert_maps_same(loaded.analyze(x), maps)


def test_saved_files_need_no_pickle(tmp_path):
    analyzer = create(subject("skip")[0], bounds=(-6, 6))
    analyzer.save_npz(tmp_path / "analyzer")
    with np.load(tmp_path / "analyzer.npz", allow_pickle=False) as file:
        arrays = [file[key] for key in file.files if key != "analyzer"]
        assert all(array.dtype == "float32" for array in arrays)
    assert sum(a.size for a in arrays) == analyzer._model.count_params()


def test_a_file_is_saved_completely_or_not_at_all(tmp_path, monkeypatch):
    analyzer, path = default_analyzer("mlp_1_dense", "all"), tmp_path / "analyzer.npz"
    analyzer.save_npz(path)
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", fail)
        with pytest.raises(InputError, match="No space left"):
            analyzer.save_npz(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def save_by_innvestigate(path):
    model, _, _ = subject("mlp_1_dense")
    with plugin.graph_scope(model):
        AnalyzerBase.save_npz(innvestigate.create_analyzer("gradient", model), path)


def save_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def save_half(path):
    default_analyzer("mlp_1_dense", "all").save_npz(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


WRONG_FILES = {
    "absent": lambda path: None,
    "empty file": lambda path: path.touch(),
    "text": lambda path: path.write_text("no analyzer"),
    "a single array": save_array,
    "other arrays": lambda path: np.savez(path, x=np.zeros(3)),
    "other JSON": lambda path: np.savez(path, analyzer=np.array("[1]")),
    "no state": lambda path: np.savez(path, analyzer=np.array('{"class_name": "RAPAnalyzer"}')),
    "half a file": save_half,
    "iNNvestigate's own": save_by_innvestigate,
}


@pytest.mark.parametrize("save", cases(WRONG_FILES))
def test_wrong_files_are_refused(save, tmp_path):
    path = tmp_path / "analyzer.npz"
    save(path)
    with pytest.raises(InputError, match="Expected a file that save_npz of rap_keras wrote, got"):
        plugin.RAPAnalyzer.load_npz(path)


# Options of iNNvestigate's base classes.


def test_reverse_verbose_prints_every_layer(capsys):
    explain("skip", reverse_verbose=True)
    out = capsys.readouterr().out
    reversed_layers = [line for line in out.splitlines() if "Reverse layer-node" in line]
    # The InputLayer is not reversed, the layer that selects the neuron is.
    assert len(reversed_layers) == len(subject("skip")[0].layers)


@pytest.mark.slow
def test_clipping_applies_at_every_layer():
    model, x, logits = subject("skip")
    low, high = -0.02, 0.1
    analyzer = create(model, reverse_clip_values=(low, high))
    layers = analyzer.analyze_layers(x)
    for name, relevance in layers.items():
        assert low <= relevance.min() <= relevance.max() <= np.float32(high), name
    assert_sums(totals(layers[model.layers[-1].name]), np.clip(logits.max(1), low, high))
    assert_maps_same(explain("skip", reverse_clip_values=(-1e3, 1e3)), plain("skip"))


@pytest.mark.slow
def test_minima_are_printed_and_tensors_kept(capsys):
    """Of a network without branches: what is kept is what analyze_layers gives."""
    model, x, logits = subject("max_pooling")
    analyzer = create(model, reverse_keep_tensors=True, reverse_check_min_max_values=True)
    maps = analyzer.analyze(x)
    kept = dict(analyzer._reversed_tensors)
    assert list(kept) == [(k, 0) for k in range(-1, len(model.layers))]
    assert_sums(kept.pop((-1, 0)).ravel(), logits.max(1))
    assert_maps_same(kept[0, 0], maps)
    assert_maps_same(list(kept.values()), list(analyzer.analyze_layers(x).values()))

    # "Maximum values" has the minima too: an error of iNNvestigate.
    minima = re.search("Minimum values in tensors.*- (.*)", capsys.readouterr().out)[1]
    printed = re.findall(r"\((\d+), 0\), (?:np\.float32\()?([-.e\d]+)", minima)
    assert [int(node) for node, _ in printed] == list(range(len(kept)))
    lowest = [relevance.min() for relevance in kept.values()]
    np.testing.assert_allclose([float(value) for _, value in printed], lowest, rtol=1e-5)


def test_tensors_of_a_target_are_kept():
    model, x, _ = subject("max_pooling")
    expected = create(model).analyze_layers(x, 1)
    for mode in ("index", "max_activation"):
        analyzer = create(model, reverse_keep_tensors=True, neuron_selection_mode=mode)
        maps = analyzer.analyze(x, 1)
        kept = [each for _, each in analyzer._reversed_tensors]
        assert any(each.shape == maps.shape and (each == maps).all() for each in kept)
        sums = [each.sum() for each in kept]
        for each in list(expected.values())[1:-1]:
            assert np.isclose(sums, each.sum(), rtol=1e-4).any()


def test_only_values_that_are_not_finite_are_reported(capsys):
    model, x, _ = subject("skip")
    analyzer = create(model, reverse_check_finite=True, check_finite=False)
    assert_maps_same(analyzer.analyze(x), plain("skip"))
    assert not capsys.readouterr().out
    assert np.isnan(analyzer.analyze(x * np.nan)).any()
    assert "Not finite values found in following nodes" in capsys.readouterr().out


def test_bottlenecks_are_projected_to_one():
    maps = explain("skip", reverse_project_bottleneck_layers=True)
    assert np.isfinite(maps).all()
    np.testing.assert_allclose(abs(maps).max((1, 2, 3)), 1, rtol=1e-6)


@pytest.mark.slow
def test_reapplying_on_copied_layers_changes_nothing():
    maps = explain("skip", reverse_reapply_on_copied_layers=True)
    assert_maps_same(maps, plain("skip"))


def hidden():
    return L.Dense(5, "relu")


def softmax():
    return L.Dense(4, "softmax", name="head")


def sine():
    return L.Lambda(tf.sin)


def test_without_model_checks_a_softmax_is_explained(rng):
    model = built(hidden, softmax)
    x = rng.normal(size=(BATCH, 6)).astype("float32")
    analyzer = create(model, disable_model_checks=True)
    assert_sums(totals(analyzer.analyze(x)), model_output(model, x).max(1))


def test_lambda_layers_need_leave_and_a_rule(rng, monkeypatch):
    model = built(hidden, sine, lambda: L.Dense(4))
    with pytest.raises((UnknownLayerError, NotAnalyzeableModelException), match="Lambda"):
        create(model)
    monkeypatch.setitem(composite._registered, L.Lambda, routing.pass_on)
    x = rng.normal(size=(BATCH, 6)).astype("float32")
    analyzer = create(model, allow_lambda_layers=True)
    assert_sums(totals(analyzer.analyze(x)), model_output(model, x).max(1))


# Errors.


class Unheard(L.Layer):
    def call(self, x):
        return tf.sin(x)


def two_outputs():
    with plugin.new_graph():
        inputs = L.Input((6,))
        return k2.Model(inputs, [L.Dense(4)(inputs), L.Dense(2)(inputs)])


def analyze(mode, selection=None, change=lambda x: x):
    analyzer, x = default_analyzer("conv", mode), subject("conv")[1]
    return analyzer.analyze(change(x), selection)


HEAD = (
    "Expected a model whose output is the logits, but layer 'head' ends it with softmax: pass "
    "rap_keras.innvestigate.prepare(model, keep_head=False)."
)
RANGE = "Expected target from 0 to 3, got {}: the model has 4 output neurons."
PER_SAMPLE = (
    "Expected target to be the number of a class, or 3 numbers, one per sample, .*, got {}."
)
SHAPE = "Expected input 'input_[0-9]+' of shape [(]batch, 8, 8, 3[)], got "
ERRORS = {
    "softmax": (
        lambda: create(built(hidden, softmax)),
        NotAnalyzeableModelException,
        re.escape(HEAD),
    ),
    "separate softmax": (
        lambda: create(built(hidden, lambda: L.Activation("softmax", name="head"))),
        NotAnalyzeableModelException,
        re.escape(HEAD),
    ),
    "no neuron": (
        lambda: analyze("index"),
        InputError,
        'Expected a target, because .* is "index", got none: pass a class, or one per sample.',
    ),
    "neuron too large": (lambda: analyze("index", 4), InputError, RANGE.format("4")),
    "neuron below 0": (lambda: analyze("index", [0, -1, 2]), InputError, RANGE.format(".*")),
    "too few neurons": (lambda: analyze("index", [0, 1]), InputError, PER_SAMPLE.format(".*")),
    "too many neurons": (lambda: analyze("index", 6 * [0]), InputError, PER_SAMPLE.format(".*")),
    "not a neuron": (lambda: analyze("index", 1.5), InputError, PER_SAMPLE.format("1.5")),
    "other shape": (
        lambda: analyze("all", change=lambda x: x[:, :4]),
        InputError,
        SHAPE + r"[(]3, 4, 8, 3[)]: preprocess the samples as for model\.predict\.",
    ),
    "one sample without batch axis": (
        lambda: analyze("all", change=lambda x: x[0]),
        InputError,
        SHAPE + r"[(]8, 8, 3[)]: a single sample needs a batch axis, x\[np.newaxis\].",
    ),
    "outside the bounds": (
        lambda: explain("conv", bounds=(0, 1)),
        InputError,
        "Expected inputs within the bounds, got [0-9]+ values outside: .*",
    ),
    "mode": (
        lambda: create(subject("conv")[0], neuron_selection_mode="best"),
        InputError,
        "Expected neuron_selection_mode to be one of .*, got 'best'.",
    ),
    "variant": (
        lambda: create(subject("conv")[0], variant="best"),
        InputError,
        "Expected variant to be one of 'paper', 'released', got 'best'.",
    ),
    "two outputs": (
        lambda: create(two_outputs()),
        InputError,
        r"Expected a model with one output, got 2: explain one of them, .*\.",
    ),
    "not of Keras 2": (
        lambda: create("model.h5"),
        InputError,
        r"Expected a Keras 2 model \(tf.keras\), as iNNvestigate does, got .*\.",
    ),
    "eager": (
        lambda: create(k2.Sequential([L.Input((3,)), L.Dense(2)])),
        InputError,
        r"Expected .* model with inputs, built while eager execution is off, .*\.",
    ),
}


@pytest.mark.parametrize("case", cases(ERRORS))
def test_errors_are_one_sentence(case):
    call, error, message = case
    with pytest.raises(error) as caught:
        call()
    assert re.fullmatch(message, str(caught.value))


def test_unknown_layers_are_shown_in_a_table():
    with pytest.raises(UnknownLayerError) as caught:
        create(built(hidden, Unheard, lambda: L.Dense(4, name="last")))
    sentence, *_, first, unknown, last = str(caught.value).splitlines()
    assert sentence.startswith("Expected layers with a known rule, got 1 of type Unheard; ")
    assert "rap_keras.register_rule(Unheard, my_rule)" in str(caught.value)
    cells = [line.split()[1:] for line in (first, unknown, last)]
    assert cells == [["Dense", "rap.inner"], ["Unheard", "???", "none"], ["Dense", "rap.head"]]


@pytest.mark.parametrize(
    ("mode", "neurons"),
    [
        ("max_activation", None),
        ("all", None),
        ("index", []),
        ("index", 1),
    ],
)
def test_an_empty_batch_gives_an_empty_map(mode, neurons):
    _, x, _ = subject("max_pooling")
    assert default_analyzer("max_pooling", mode).analyze(x[:0], neurons).shape == (0, 8, 8, 3)


@modes
def test_an_empty_batch_gives_empty_maps_of_layers(mode):
    model, x, _ = subject("max_pooling")
    maps = default_analyzer("max_pooling", mode).analyze_layers(x[:0], chosen(mode, 0))
    shapes = {layer.name: (0, *layer.output.shape[1:]) for layer in model.layers}
    assert {name: relevance.shape for name, relevance in maps.items()} == shapes


# Wrappers. They do not support graphs, so everything runs inside `graph_scope`.


def wrapped(name, wrapper, mode, **options):
    """A wrapper around a fresh analyzer."""
    analyzer = plugin.RAPAnalyzer(subject(name)[0], neuron_selection_mode=mode)
    return wrapper(analyzer, neuron_selection_mode=mode, **options)


def explain_wrapped(name, wrapper, mode, **options):
    model, x, _ = subject(name)
    with plugin.graph_scope(model):
        return wrapped(name, wrapper, mode, **options).analyze(x, neuron_selection=chosen(mode))


def test_a_wrapped_analyzer_keeps_its_mode():
    model, x, _ = subject("conv")
    with plugin.graph_scope(model):
        smoother = wrapped("conv", wrappers.GaussianSmoother, "all", augment_by_n=2)
        smoother.analyze(x)
        with pytest.raises(InputError, match="and its wrapper, with neuron_selection_mode='index'"):
            smoother.analyze(x, target=1)


@pytest.fixture
def no_noise(monkeypatch):
    """iNNvestigate 2.1.2 passes noise_scale on to nothing: its noise always has a deviation of 1."""
    silent = functools.partial(innvestigate.layers.AddGaussianNoise, stddev=0.0)
    monkeypatch.setattr(innvestigate.layers, "AddGaussianNoise", silent)


@modes
@pytest.mark.quick("index")
def test_the_mean_over_equal_samples_is_the_plain_map(mode, no_noise):
    expected = default_analyzer("conv", mode).analyze(subject("conv")[1], chosen(mode))
    maps = explain_wrapped("conv", wrappers.GaussianSmoother, mode, augment_by_n=4)
    assert_maps_same(maps, expected, 1e-5)


def test_a_smoothed_map_sums_to_the_mean_of_noisy_logits():
    """Of a linear network: to the logit itself, up to five standard errors."""
    model, _, logits = subject("mlp_1_dense")
    samples = 2000
    maps = explain_wrapped("mlp_1_dense", wrappers.GaussianSmoother, "index", augment_by_n=samples)
    with plugin.graph_scope(model):
        kernel, _ = model.get_weights()
    error = np.linalg.norm(kernel, axis=0)[INDEX] / np.sqrt(samples)
    deviation = abs(totals(maps) - targets("index", logits)) / error
    assert 0.01 < deviation.max() < 5


def test_a_path_integral_is_the_mean_map_on_the_path_times_the_input():
    _, x, _ = subject("conv")
    analyzer = default_analyzer("conv", "index")
    path = [analyzer.analyze(x * np.float32(k / 4), INDEX) for k in range(4)]
    maps = explain_wrapped("conv", wrappers.PathIntegrator, "index", steps=4)
    assert_maps_same(maps, np.mean(path, axis=0) * x, 1e-5)


@pytest.mark.parametrize(
    ("wrapper", "options"),
    [
        pytest.param(wrappers.GaussianSmoother, {"augment_by_n": 2}, marks=pytest.mark.slow),
        (wrappers.PathIntegrator, {"steps": 3}),
    ],
)
def test_a_loaded_wrapper_gives_the_same_maps(wrapper, options, no_noise):
    model, x, _ = subject("mlp_2_dense")
    with plugin.graph_scope(model):
        analyzer = wrapped("mlp_2_dense", wrapper, "max_activation", **options)
        loaded = AnalyzerBase.load(*analyzer.save())
        assert type(loaded) is wrapper
        assert_maps_same(loaded.analyze(x), analyzer.analyze(x))


def test_innvestigate_creates_rap_and_its_own_analyzers_side_by_side():
    model, x, logits = subject("max_pooling")
    with plugin.graph_scope(model):
        maps = innvestigate.create_analyzer("rap", model).analyze(x)
        other = innvestigate.create_analyzer("gradient", model).analyze(x)
    assert_maps_same(maps, plain("max_pooling"))
    assert_sums(totals(maps), logits.max(1))
    assert abs(maps - other).max() > 0.01


# Together with iNNvestigate's analyzers, as its users work: eager execution is off.

BASELINES = (
    *("gradient", "input_t_gradient", "integrated_gradients", "deep_taylor"),
    *("lrp.z", "lrp.epsilon", "lrp.alpha_2_beta_1"),
)
SCRIPT = """
import sys
import numpy as np
import tensorflow as tf

tf.compat.v1.disable_eager_execution()
file, first, *baselines = sys.argv[1:]
if first == "rap":
    import rap_keras.innvestigate
import innvestigate

rng = np.random.default_rng(0)
L = tf.keras.layers
layers = [L.Conv2D(4, 3, activation="relu"), L.MaxPooling2D(), L.Flatten(), L.Dense(3)]
model = tf.keras.Sequential([L.Input((8, 8, 2)), *layers])
model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
x = rng.normal(size=(3, 8, 8, 2)).astype("float32")
found = {"logits": model.predict_on_batch(x)}
for name in ["rap", *baselines] if first == "rap" else baselines:
    options = {"steps": 4} if name == "integrated_gradients" else {}
    found[name] = innvestigate.create_analyzer(name, model, **options).analyze(x)
np.savez(file, **found)
"""


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """New processes with and without our import, side by side."""
    folder = tmp_path_factory.mktemp("processes")
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with contextlib.ExitStack() as stack:
        started = {}
        for first in ("no rap", "rap"):
            file = folder / f"{first}.npz"
            command = [sys.executable, "-c", SCRIPT, file, first, *BASELINES]
            started[file] = stack.enter_context(subprocess.Popen(command, env=environment, **pipes))
            stack.callback(started[file].kill)
        yield started


@pytest.fixture(scope="module")
def found(processes):
    """The maps that each of the processes saved."""
    for process in processes.values():
        out, _ = process.communicate()
        assert process.returncode == 0, out
    return [dict(np.load(file)) for file in processes]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logits", *BASELINES])
def test_baselines_are_the_same_with_and_without_the_plugin(name, found):
    without, with_rap = found
    assert np.any(without[name])
    assert_same(with_rap[name], without[name])


@pytest.mark.slow
def test_rap_is_one_of_innvestigates_analyzers(found):
    _, maps = found
    assert_sums(totals(maps["rap"]), maps["logits"].max(1))
    assert abs(maps["rap"] - maps["lrp.alpha_2_beta_1"]).max() > 0.01


@pytest.mark.parametrize("mode", ["max_activation", pytest.param("all", marks=pytest.mark.slow)])
def test_the_target_is_given_with_the_call(mode):
    """iNNvestigate builds the mode into its graph. "rap" takes a target in every mode."""
    (model, x, _), by_index = subject("conv"), default_analyzer("conv", "index")
    analyzer, targets = create(model, neuron_selection_mode=mode), [3, 0, 1]
    expected = by_index.analyze(x, targets)
    for spelled in (targets, np.eye(4, dtype="float32")[targets]):
        np.testing.assert_array_equal(analyzer.analyze(x, target=spelled), expected)
    np.testing.assert_array_equal(analyzer.analyze(x, neuron_selection=targets), expected)
    np.testing.assert_array_equal(
        analyzer.analyze(x, target="all"), default_analyzer("conv", "all").analyze(x)
    )
    layers, again = analyzer.analyze_layers(x, target=2), by_index.analyze_layers(x, 2)
    np.testing.assert_equal(layers, again)
    with pytest.raises(InputError, match="which mean the same"):
        analyzer.analyze(x, 1, neuron_selection=2)
