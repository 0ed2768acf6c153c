"""Patterns against their definition: of each layer type, and which neurons are active."""

import itertools

import keras
import numpy as np
import pytest
from helpers.tensors import array

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)

from helpers.compare import assert_same
from helpers.networks import biased, plain
from helpers.patterns import (
    classifier,
    fit,
    images,
    loop_pattern,
    patches,
    residual_block,
    sequential,
)
from keras import layers

from rap_keras.analyzers.pattern import PatternNetAnalyzer
from rap_keras.patterns.patterns import PATTERN_TYPES


@pytest.mark.parametrize("pattern_type", PATTERN_TYPES)
def test_dense_equals_the_definition(pattern_type, rng):
    model = sequential(
        (7,), lambda: layers.Dense(6, "relu"), lambda: layers.Dense(3), dtype="float64"
    )
    x = rng.normal(0.3, 1, (50, 7))
    found = fit(model, x, pattern_type, batch_size=16)
    first, last = model.layers
    hidden = array(first(x))
    for layer, taken in ((first, x), (last, hidden)):
        kernel, bias = layer.get_weights()
        expected = loop_pattern(taken, kernel, bias, pattern_type)
        assert_same(found[layer.name], expected, 1e-10)


CONVOLUTIONS = {
    "valid": {},
    "same": {"padding": "same"},
    "strides": {"strides": 2},
    "strides_same": {"strides": 2, "padding": "same"},
    "dilation": {"dilation_rate": 2},
    "no_bias": {"use_bias": False},
}


@pytest.mark.parametrize("pattern_type", ["linear", "relu.positive", "relu.negative"])
@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution_equals_the_definition(options, pattern_type, rng):
    model = classifier(
        lambda: layers.Conv2D(4, (3, 2), activation="relu", name="conv", **options), dtype="float64"
    )
    x = images(rng, 6, dtype="float64")
    found = fit(model, x, pattern_type, batch_size=4)["conv"]
    kernel, *bias = model.get_layer("conv").get_weights()
    bias = bias[0] if bias else np.zeros(4)
    cases = patches(
        x,
        (3, 2),
        options.get("strides", 1),
        options.get("padding", "valid"),
        options.get("dilation_rate", 1),
    )
    assert_same(found, loop_pattern(cases, kernel, bias, pattern_type), 1e-10)


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
def test_convolution_of_series_equals_the_definition(padding, rng):
    def conv():
        return layers.Conv1D(4, 3, padding=padding, activation="relu", name="conv")

    model = classifier(conv, shape=(10, 2), dtype="float64")
    x = images(rng, 8, (10, 2), "float64")
    kernel, bias = model.get_layer("conv").get_weights()
    expected = loop_pattern(patches(x, (3,), padding=padding), kernel, bias, "relu")
    assert_same(fit(model, x)["conv"], expected, 1e-10)


def test_depthwise_channels_are_separate_neurons(rng):
    def depthwise():
        return layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="conv")

    model = classifier(depthwise, dtype="float64")
    x = images(rng, 6, dtype="float64")
    kernel, bias = model.get_layer("conv").get_weights()
    found = fit(model, x)["conv"]
    for channel in range(3):
        cases = patches(x[..., channel : channel + 1], (3, 3))
        own = kernel[:, :, channel : channel + 1]
        expected = loop_pattern(cases, own, bias[2 * channel : 2 * channel + 2], "relu")
        assert_same(found[:, :, channel : channel + 1], expected, 1e-10)


def test_grouped_convolution_is_two_convolutions(rng):
    model = classifier(
        lambda: layers.Conv2D(4, 3, groups=2, activation="relu", name="conv"),
        shape=(6, 6, 4),
        dtype="float64",
    )
    x = images(rng, 6, (6, 6, 4), "float64")
    kernel, bias = model.get_layer("conv").get_weights()
    found = fit(model, x)["conv"]
    for group in range(2):
        out = slice(2 * group, 2 * group + 2)
        cases = patches(x[..., out], (3, 3))
        assert_same(
            found[..., out], loop_pattern(cases, kernel[..., out], bias[out], "relu"), 1e-10
        )


def test_transposed_and_separable_layers_fit_their_maps(rng):
    """w^T a = 1 for every neuron; a transposed convolution without overlap is a Dense layer."""
    model = classifier(
        lambda: layers.SeparableConv2D(5, 3, activation="relu", name="separable"),
        lambda: layers.Conv2DTranspose(4, 2, strides=2, activation="relu", name="transposed"),
        dtype="float64",
    )
    x = images(rng, dtype="float64")
    found = fit(model, x)
    depthwise, pointwise, _ = model.get_layer("separable").get_weights()
    assert_same((found["separable[0]"] * depthwise).sum((0, 1)), np.ones((3, 1)), 1e-9)
    assert_same((found["separable[1]"] * pointwise).sum((0, 1, 2)), np.ones(5), 1e-9)
    kernel, bias = model.get_layer("transposed").get_weights()
    inner = keras.Model(model.inputs[0], model.get_layer("separable").output)
    taken = array(inner(x)).reshape(-1, 5)
    active = (
        np.stack(  # of the four places that an input reaches, each is a neuron of a Dense layer
            [taken @ kernel[i, j].T + bias > 0 for i in range(2) for j in range(2)], 1
        )
    )
    cases = np.zeros((len(taken), 4, 2, 2, 5))
    for place, (i, j) in enumerate(itertools.product(range(2), range(2))):
        cases[:, place, i, j] = taken
    expected = loop_pattern(
        cases.reshape(-1, 2, 2, 5),
        kernel.transpose(0, 1, 3, 2),
        bias,
        "relu",
        active.reshape(-1, 4),
    )
    assert_same(found["transposed"], expected.transpose(0, 1, 3, 2), 1e-9)


def test_small_covariances_are_kept(rng):
    """Inputs far from 0, as images of 0 to 255: E[x y] and E[x] E[y] agree in most digits."""
    model = classifier(lambda: layers.Conv2D(4, 3, activation="relu", name="conv"))
    x = (1000 + images(rng, 10)).astype("float32")
    kernel, bias = model.get_layer("conv").get_weights()
    expected = loop_pattern(patches(x, (3, 3)), kernel, bias, "linear")
    assert_same(fit(model, x, "linear")["conv"], expected, 1e-3)


def test_dense_layers_are_summed_in_double(rng):
    """What y would lose in single precision is a hundred times more."""
    model = sequential((7,), lambda: layers.Dense(5, "relu", name="dense"))
    x = (1000 + images(rng, 30, (7,))).astype("float32")
    kernel, bias = model.get_layer("dense").get_weights()
    expected = loop_pattern(x.astype("float64"), kernel, bias, "linear")
    assert_same(fit(model, x, "linear")["dense"], expected, 1e-6)


def test_the_signal_is_found_despite_a_distractor(rng):
    """The paper's example: x = a s + d e. The weights cancel d; the pattern is a, not the weights."""
    a, d = np.array([1.0, 0.5]), np.array([1.0, 1.0])
    signal, distractor = rng.normal(size=(2, 5000, 1))
    x = signal * a + distractor * d
    model = sequential((2,), lambda: layers.Dense(1, name="dense"), dtype="float64")
    model.get_layer("dense").set_weights([np.array([[2.0], [-2.0]]), np.array([0.7])])
    assert_same(fit(model, x, "linear")["dense"][:, 0], a, 0.05)


def test_a_neuron_that_never_varies_has_no_pattern(rng):
    model = sequential((3,), lambda: layers.Dense(4, "relu", name="a"), lambda: layers.Dense(2))
    kernel, bias = model.get_layer("a").get_weights()
    kernel[:, 0], bias[1] = 0, -1e3  # constant; never active
    model.get_layer("a").set_weights([kernel, bias])
    found = fit(model, rng.normal(size=(30, 3)))["a"]
    np.testing.assert_array_equal(found[:, :2], 0)
    assert_same((found * kernel).sum(0)[2:], [1, 1])


@pytest.mark.parametrize("sum_is_activated", [True, False])
def test_the_next_activation_decides_which_neurons_are_active(sum_is_activated, rng):
    model = residual_block(sum_is_activated)
    x = images(rng, 10, (6, 6, 4), "float64")
    decides = model.get_layer("add" if sum_is_activated else "bn").output
    active = array(keras.Model(model.inputs[0], decides)(x)) > 0
    kernel, bias = model.get_layer("conv").get_weights()
    cases = patches(x, (1, 1))
    expected = loop_pattern(cases, kernel, bias, "relu", active.reshape(-1, 4))
    assert_same(fit(model, x)["conv"], expected, 1e-10)


def test_dropout_is_off(rng):
    def network(*dropout):
        return sequential(
            (8,), *dropout, lambda: layers.Dense(6, "relu", name="a"), *dropout,
            lambda: layers.Dense(3, name="b"),
        )  # fmt: skip

    with_dropout, without = network(lambda: layers.Dropout(0.5)), network()
    without.set_weights(with_dropout.get_weights())
    x = rng.normal(size=(40, 8))
    for name, expected in fit(without, x).items():
        assert_same(fit(with_dropout, x)[name], expected)


def test_a_softmax_at_the_end_changes_nothing(rng):
    x = rng.normal(size=(40, 12, 12, 3))
    bare, with_head = plain(), plain(head="softmax")
    with_head.set_weights(bare.get_weights())
    for found, expected in zip(fit(with_head, x).values(), fit(bare, x).values(), strict=True):
        assert_same(found, expected)


def test_calls_of_a_shared_layer_have_separate_patterns(rng):
    left, right = keras.Input((5,), name="left"), keras.Input((5,), name="right")
    shared = layers.Dense(4, "relu", name="shared")
    x = layers.Concatenate()([shared(left), shared(right)])
    model = biased(keras.Model([left, right], layers.Dense(3, name="end")(x)))
    a, b = rng.normal(0, 1, (30, 5)), rng.normal(1, 2, (30, 5))
    found = fit(model, [a, b], batch_size=7)
    kernel, bias = shared.get_weights()
    assert_same(found["shared"], loop_pattern(a, kernel, bias, "relu"))
    assert_same(found["shared:1"], loop_pattern(b, kernel, bias, "relu"))
    as_dict = fit(model, {"right": b, "left": a})
    assert_same(as_dict["shared:1"], found["shared:1"])
    maps = PatternNetAnalyzer(model, found).analyze([a, b])
    assert all(abs(m).max() > 0 for m in maps)


def test_half_precision_models_get_single_precision_patterns(rng):
    half, single = plain("mixed_float16"), plain()
    single.set_weights(half.get_weights())
    x = images(rng, 20, (12, 12, 3))
    found, expected = fit(half, x), fit(single, x)
    for name, pattern in found.items():
        assert pattern.dtype == np.float32
        assert_same(pattern, list(expected.values())[list(found).index(name)], 0.05)
