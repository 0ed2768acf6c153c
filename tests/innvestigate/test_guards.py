"""What the plugin refuses, in its own analyzers and in those of iNNvestigate that it creates."""

import itertools
import re

import numpy as np
import pytest
import tensorflow as tf
from helpers.keras2 import k2

from rap_keras import InputError
from rap_keras import innvestigate as plugin

L = k2.layers
METHODS = ["rap", "gradient"]


@pytest.fixture(autouse=True, scope="module")
def graph():
    """One graph for all networks of this file."""
    with plugin.new_graph(), plugin.fast_building():
        yield


def network(*layers, shape=(6,), **options):
    """A network whose logits are never all 0."""
    x = given = k2.Input(shape, **options)
    for layer in layers:
        x = layer(x)
    return k2.Model(given, L.Dense(3, bias_initializer="ones")(x))


def dense():
    return L.Dense(5, "relu", bias_initializer="ones")


def samples(count=4, features=6):
    return np.random.default_rng(0).normal(size=(count, features)).astype("float32")


def create(method, model, **options):
    return plugin.create_analyzer(method, model, **options)


def refused(method, model, x, message, **options):
    with pytest.raises(InputError, match=message):
        create(method, model, **options).analyze(x)


@pytest.fixture(scope="module")
def tokens(graph):
    return {
        dtype: network(L.Embedding(7, 4), L.Flatten(), shape=(5,), dtype=dtype)
        for dtype in ("int32", "float32")
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("dtype", "token"),
    [("int32", 99), ("int32", 7), ("int32", -1), ("float32", 1e12), ("float32", -3)],
)
def test_unknown_tokens_are_reported(tokens, method, dtype, token):
    x = np.full((2, 5), token, dtype)
    words = re.escape(f"{token:g}:")
    refused(method, tokens[dtype], x, f"Expected tokens from 0 to 6 for input .* got {words}")


def test_methods_that_cannot_explain_tokens_are_refused(tokens):
    x = np.ones((2, 5), "int32")
    refused("gradient", tokens["int32"], x, 'contains whole numbers, such as tokens: use "rap"')
    assert create("rap", tokens["int32"]).analyze(x).shape == x.shape


def test_unknown_tokens_from_other_layers_are_reported():
    shift = L.Lambda(lambda t: t + 1)
    model = network(shift, L.Embedding(7, 4), L.Flatten(), shape=(5,), dtype="int32")
    message = "Expected tokens from 0 to 6 .* 7 rows, got 7:"
    refused("random", model, np.full((2, 5), 6, "int32"), message, allow_lambda_layers=True)


@pytest.fixture(scope="module")
def plain(graph):
    return network(dense())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.quick("nan-gradient", "inf-rap")
def test_samples_that_are_not_finite_are_refused(plain, method, value):
    x = samples()
    x[1, 2] = value
    refused(method, plain, x, "Expected finite values for input .* got 1 NaN or infinite ones")
    assert create(method, plain, check_finite=False).analyze(x).shape == x.shape


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.quick("gradient")
def test_broken_weights_are_reported(method):
    model = network(dense())
    kernel, bias = model.layers[-1].get_weights()
    bias[1] = np.nan
    model.layers[-1].set_weights([kernel, bias])
    refused(
        method,
        model,
        samples(),
        "Expected a model with finite weights, but '.*bias.*' contains NaN",
    )
    create(method, model, check_finite=False).analyze(samples())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.quick("gradient")
def test_values_that_overflow_are_reported(method):
    model = network(L.Dense(2))
    weights = np.ones((6, 2)), np.zeros(2), np.outer([1, -1], np.ones(3)), np.zeros(3)
    model.set_weights(weights)  # infinity minus infinity
    x = np.full((2, 6), 3e38, "float32")
    refused(method, model, x, "from finite inputs: the model's own values overflow")


@pytest.mark.parametrize("method", [*METHODS, "lrp.epsilon"])
@pytest.mark.quick("gradient")
def test_dropout_that_is_always_on_is_refused(method):
    given = k2.Input((6,))
    x = L.Dropout(0.5)(dense()(given), training=True)
    model = k2.Model(given, L.Dense(3)(x))
    refused(method, model, samples(), "Expected a model that always computes the same for a sample")


@pytest.mark.parametrize("method", [*METHODS, "lrp.epsilon"])
@pytest.mark.quick("lrp.epsilon")
def test_batch_normalization_that_always_trains_is_refused(method):
    given = k2.Input((6,))
    x = L.BatchNormalization()(dense()(given), training=True)
    model = k2.Model(given, L.Dense(3)(x))
    refused(
        method,
        model,
        samples(),
        "to compute what the model computes|each sample of a batch separately",
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.quick("rap")
def test_a_copy_of_a_model_that_always_trains_is_refused(method):
    inner = k2.Sequential([dense(), L.BatchNormalization()])
    given = k2.Input((6,))
    model = k2.Model(given, L.Dense(3)(inner(given, training=True)))
    with pytest.raises(InputError, match="or a layer is called with training=True"):
        plugin.prepare(model)


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.quick("4")
def test_models_that_mix_samples_are_refused(batch):
    mix = L.Lambda(lambda t: t - tf.reduce_mean(t, axis=0, keepdims=True))
    model = network(dense(), mix, batch_size=batch)
    message = "Expected a model that computes each sample of a batch separately"
    refused("gradient", model, samples(), message, allow_lambda_layers=True)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.quick("gradient")
def test_a_model_of_a_fixed_batch_size_is_explained_at_that_size_only(plain, method):
    model = network(dense(), batch_size=4)
    model.set_weights(plain.get_weights())
    analyzer = create(method, model)
    maps = create(method, plain).analyze(samples())
    np.testing.assert_allclose(analyzer.analyze(samples()), maps, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match=r"Expected 4 samples, .* got 3: pass this number"):
        analyzer.analyze(samples(3))


def test_layers_that_remember_samples_are_refused():
    model = network(L.LSTM(3, stateful=True), shape=(5, 2), batch_size=2)
    with pytest.raises(InputError, match=r"layer 'lstm\w*' remembers those of earlier calls"):
        create("gradient", model)


def test_models_that_cannot_be_followed_have_the_other_guards():
    model = network(L.Masking(), L.GlobalAveragePooling1D(), shape=(5, 2))
    x = samples(3, 10).reshape(3, 5, 2)
    assert create("random", model).analyze(x).shape == x.shape
    x[0, 0, 0] = np.nan
    refused("random", model, x, "Expected finite values")


@pytest.mark.parametrize("method", METHODS)
def test_wrong_neurons_and_shapes_are_refused(plain, method):
    analyzer = create(method, plain, neuron_selection_mode="index")
    for neuron in (3, -1, [0, 1, 2, 5]):
        with pytest.raises(InputError, match="Expected target from 0 to 2"):
            analyzer.analyze(samples(), neuron)
    with pytest.raises(InputError, match=r"of shape \(batch, 6\), got \(4, 5\)"):
        analyzer.analyze(samples(4, 5), 0)


def test_guards_do_not_change_the_maps_of_innvestigate(plain):
    import innvestigate

    for name in ("gradient", "lrp.z", "integrated_gradients"):
        own = innvestigate.create_analyzer(name, plain).analyze(samples())
        np.testing.assert_array_equal(create(name, plain).analyze(samples()), own)


def test_a_saved_analyzer_keeps_check_finite(plain, tmp_path):
    create("rap", plain, check_finite=False).save_npz(tmp_path / "rap.npz")
    loaded = plugin.RAPAnalyzer.load_npz(tmp_path / "rap.npz")
    assert np.isnan(loaded.analyze(samples() * np.nan)).any()


def test_a_saved_analyzer_does_not_run_code(tmp_path):
    model = network(L.Lambda(lambda x: x + 1))
    class_name, state = create("rap", network(dense())).save()
    state = state | {"model_json": model.to_json(), "model_weights": model.get_weights()}
    saved = create("rap", network(dense()))
    saved.save = lambda: (class_name, state)
    saved.save_npz(tmp_path / "rap.npz")
    with pytest.raises(InputError, match="runs no code, but its model has a Lambda layer"):
        plugin.RAPAnalyzer.load_npz(tmp_path / "rap.npz")


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients"])
@pytest.mark.quick("integrated_gradients")
def test_the_target_is_a_positional_or_a_keyword_argument(plain, method):
    x = samples()
    analyzer = create(method, plain, neuron_selection_mode="index")
    expected = analyzer.analyze(x, neuron_selection=np.full(len(x), 2))
    for selection in (2, [2], [2] * len(x)):
        np.testing.assert_array_equal(analyzer.analyze(x, selection), expected)
        named = analyzer.analyze(x, neuron_selection=selection)
        np.testing.assert_array_equal(named, expected)


@pytest.mark.parametrize(
    ("mode", "target", "message"),
    [
        ("index", "all", "create .* with neuron_selection_mode=.all"),
        ("all", 1, "create .* with neuron_selection_mode=.index"),
        ("max_activation", 1, "create .* with neuron_selection_mode=.index"),
        ("index", None, "Expected a target"),
        ("index", [[0, 1]] * 4, "got 2 classes of each"),
        ("index", [[0, 1], [1]], "Expected target to be the number of a class"),
        ("index", True, "Expected a boolean target of the output's shape"),
        ("index", slice(0, 2), "got a region of 2"),
    ],
)
def test_targets_that_analyzers_of_innvestigate_refuse(plain, mode, target, message):
    analyzer = create("gradient", plain, neuron_selection_mode=mode)
    with pytest.raises(InputError, match=message):
        analyzer.analyze(samples(), target=target)


def test_targets_that_analyzers_of_innvestigate_take(plain):
    x, everything = samples(), create("gradient", plain, neuron_selection_mode="all")
    np.testing.assert_array_equal(everything.analyze(x, target="all"), everything.analyze(x))
    analyzer = create("gradient", plain, neuron_selection_mode="index")
    expected = analyzer.analyze(x, target=[2, 0, 1, 1])
    for target in (np.eye(3, dtype=bool)[[2, 0, 1, 1]], [[2], [0], [1], [1]]):
        np.testing.assert_array_equal(analyzer.analyze(x, target=target), expected)


@pytest.mark.parametrize(
    ("form", "method"),
    list(
        itertools.product(
            [list, lambda x: [x], lambda x: {"input": x}], ["gradient", "integrated_gradients"]
        )
    ),
)
@pytest.mark.quick("list-gradient")
def test_samples_that_analyzers_of_innvestigate_take(method, form):
    model = network(dense(), name="input")
    analyzer = create(method, model, neuron_selection_mode="index")
    x = samples()
    np.testing.assert_array_equal(analyzer.analyze(form(x), 1), analyzer.analyze(x, 1))


@pytest.mark.parametrize("target", [[[0, 1]] * 4, [[0, 1], [1]], (0, [1, 2])])
@pytest.mark.quick("target0")
def test_targets_that_rap_refuses(plain, target):
    with pytest.raises(InputError, match="Expected target to"):
        create("rap", plain).analyze(samples(), target=target)


def test_outputs_without_axes_are_refused():
    given = k2.Input((6,))
    model = k2.Model(given, L.Reshape(())(L.Dense(1)(given)))
    for method in METHODS:
        refused(method, model, samples(), r"Expected a model with outputs .*\(None,\)")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.quick("rap")
def test_a_size_at_which_the_model_itself_fails_is_reported(method):
    given = k2.Input((None, None, 1))
    merged = L.Concatenate()([given, L.UpSampling2D()(L.MaxPooling2D()(given))])
    model = k2.Model(given, L.Dense(2)(L.GlobalAveragePooling2D()(L.Conv2D(2, 1)(merged))))
    analyzer = create(method, model)
    even, odd = np.ones((2, 4, 4, 1)), np.ones((2, 5, 5, 1))
    for _ in "before a good one", "after one":
        with pytest.raises(InputError, match=r"got \(batch, 5, 5, 1\), with which the model"):
            analyzer.analyze(odd)
        assert analyzer.analyze(even).shape == even.shape
