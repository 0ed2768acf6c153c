"""DeepLIFT against a slow version in NumPy, and the identities that define it."""

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import biased, plain, residual, segmenting
from helpers.tensors import array
from keras import layers, ops

import rap_keras
from rap_keras import InputError, create_analyzer


@pytest.fixture
def images(rng):
    return rng.normal(size=(3, 12, 12, 3)).astype(np.float32)


def perceptron():
    x = inputs = keras.Input((7,))
    x = layers.Dense(9, activation="tanh")(x)
    x = layers.Dense(8)(x)
    x = layers.ReLU()(x)
    x = layers.Reshape((4, 2))(x)
    x = layers.GlobalMaxPooling1D()(x)
    return biased(keras.Model(inputs, layers.Dense(3)(x)))


def slow(model, x, reference, neuron):
    """Multipliers of `perceptron`, unit by unit, float64."""
    (w1, b1), (w2, b2), (w3, _) = [
        map(np.float64, layer.get_weights()) for layer in model.layers if layer.get_weights()
    ]
    z, z0 = x @ w1 + b1, reference @ w1 + b1
    h, h0 = np.tanh(z), np.tanh(z0)
    u, u0 = h @ w2 + b2, h0 @ w2 + b2
    a, a0 = np.maximum(u, 0).reshape(4, 2), np.maximum(u0, 0).reshape(4, 2)
    m_a = np.zeros((4, 2))
    for c in range(2):
        top, top0 = a[:, c].max(), a0[:, c].max()
        winner = (a if top > top0 else a0)[:, c].argmax()
        if top != top0:
            m_a[winner, c] = w3[c, neuron] * (top - top0) / (a - a0)[winner, c]
    m_u = m_a.reshape(8) * (a - a0).reshape(8) / (u - u0)
    m_z = (w2 @ m_u) * (h - h0) / (z - z0)
    return (x - reference) * (w1 @ m_z)


def test_maps_are_those_of_the_rescale_rule(rng):
    model = perceptron()
    x, reference = rng.normal(size=(20, 7)).astype(np.float32), rng.normal(size=7)
    analyzer = create_analyzer("deep_lift", model, reference_inputs=reference, batch_size=8)
    neurons = np.arange(20) % 3
    expected = [slow(model, np.float64(s), reference, n) for s, n in zip(x, neurons, strict=True)]
    assert_same(analyzer.analyze(x, neurons), np.stack(expected), 1e-4)


def zero_bias():
    x = inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(6, 3, activation="relu", use_bias=False)(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(6, 3, use_bias=False)(x)
    x = layers.ReLU()(x)
    return keras.Model(inputs, layers.Dense(4, use_bias=False)(layers.Flatten()(x)))


def test_without_bias_and_reference_it_is_input_times_gradient(images):
    model = zero_bias()
    expected = create_analyzer("input_t_gradient", model).analyze(images)
    assert_same(create_analyzer("deep_lift", model).analyze(images), expected, 1e-4)


def products():
    """A gate, a product of two maps, and a smallest and a largest of two."""
    x = inputs = keras.Input((12, 12, 3))
    a = layers.Conv2D(4, 3, activation="gelu")(x)
    b = layers.Conv2D(4, 3, activation="sigmoid")(x)
    c = layers.Minimum()([a, b]) + ops.maximum(a, 0.1) * b
    c = layers.AveragePooling2D(2)(layers.MaxPooling2D(3, strides=2)(layers.PReLU()(c)))
    return biased(keras.Model(inputs, layers.Dense(5)(layers.Flatten()(c))))


@pytest.mark.parametrize(
    "build",
    [plain, residual, products, zero_bias],
)
@pytest.mark.quick("products")
def test_maps_sum_to_the_difference_of_the_logits(build, images, rng):
    model = build()
    for reference in (0, rng.normal(size=(12, 12, 3)), [0.5, -0.1, 1]):
        analyzer = create_analyzer("deep_lift", model, reference_inputs=reference)
        found = analyzer.explain(images)
        at_reference = array(model(np.broadcast_to(reference, images.shape).astype(np.float32)))
        ends = found.explained_logits - at_reference[np.arange(3), found.neurons]
        np.testing.assert_allclose(
            found.relevance.sum((1, 2, 3)), ends, atol=1e-4 * abs(found.relevance).sum() / 3
        )
        assert abs(analyzer.convergence_delta(images)).max() < 1e-4 * abs(found.relevance).sum()
        assert_same(analyzer.analyze(images, rap_keras.TopK(2))[:, 0], found.relevance, 1e-4)


def test_a_sample_that_equals_the_reference_has_a_map_of_zeros(images):
    model = residual()
    analyzer = create_analyzer("deep_lift", model, reference_inputs=images[0])
    found = analyzer.analyze(images)
    assert abs(found[0]).max() == 0
    assert abs(found[1]).max() > 0
    assert_same(analyzer.analyze(images[1:2]), found[1:2], 1e-4)


def test_near_the_reference_it_is_the_gradient(images):
    """Where differences are only rounding, slopes replace quotients."""
    model = residual()
    near = np.full_like(images, 0.3)
    near[:, 5, 5] += 1e-6
    analyzer = create_analyzer("deep_lift", model, reference_inputs=0.3)
    gradient = create_analyzer("gradient", model).analyze(near)
    expected = gradient * (near - np.float32(0.3))
    assert_same(analyzer.analyze(near), expected, 0.05)


def test_several_inputs_and_regions(rng):
    a, b = keras.Input((4,)), keras.Input((3,))
    x = layers.Dense(6, activation="relu")(layers.Concatenate()([a, b]))
    model = biased(keras.Model([a, b], layers.Dense(2)(x)))
    x = [rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32)]
    analyzer = create_analyzer("deep_lift", model, reference_inputs=[0.5, [1, 2, 3]])
    maps = analyzer.analyze(x)
    assert [m.shape for m in maps] == [(5, 4), (5, 3)]
    assert abs(analyzer.convergence_delta(x)).max() < 1e-5
    model = segmenting()
    x = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
    analyzer = create_analyzer("deep_lift", model, neuron_selection_mode="all")
    each = [analyzer.analyze(x, np.s_[..., k]) for k in range(4)]
    assert_same(analyzer.analyze(x), sum(each), 1e-4)


def test_options_are_saved(images, tmp_path):
    made = create_analyzer("deep_lift", plain(), reference_inputs=[1, 2, 3], contrast="uniform")
    made.save(tmp_path)
    again = rap_keras.load_analyzer(tmp_path)
    assert again.options() == made.options()
    assert again.options()["reference_inputs"] == [1, 2, 3]
    assert_same(again.analyze(images), made.analyze(images))
    with pytest.raises(InputError, match="Expected no contrast"):
        made.convergence_delta(images)
    with pytest.raises(InputError, match="has no relevance of layers"):
        made.conservation(images)


def test_wrong_options_and_models_are_refused():
    with pytest.raises(InputError, match="Expected finite reference_inputs"):
        create_analyzer("deep_lift", plain(), reference_inputs=[1, 2])
    inputs = keras.Input(batch_shape=(2, 4))
    fixed = keras.Model(inputs, layers.Dense(2)(inputs))
    with pytest.raises(InputError, match="Expected a model that takes any number of samples"):
        create_analyzer("deep_lift", fixed)


def attention():
    inputs = keras.Input((4, 6))
    x = layers.LayerNormalization()(inputs)
    x = x + layers.MultiHeadAttention(2, 3)(x, x)
    return biased(keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(x))))


def of_six(function):
    inputs = keras.Input((6,))
    return biased(keras.Model(inputs, layers.Dense(2)(function(inputs))))


def unit(t):
    return t * ops.rsqrt(ops.maximum(ops.sum(t * t, 1, keepdims=True), 1e-12))


def quotient(t):
    return t / ops.sqrt(ops.maximum(ops.sum(ops.square(t), 1, keepdims=True), 1e-24))


def standardized(t):
    return (t - ops.mean(t, 1, keepdims=True)) / (ops.std(t, 1, keepdims=True) + 1e-7)


MIXING = {
    "unit": unit,
    "quotient": quotient,
    "standardized": standardized,
    "UnitNormalization": layers.UnitNormalization(),
    "GroupNormalization": layers.GroupNormalization(2),
    "RMSNormalization": lambda t: ops.rms_normalization(t, np.ones(6, np.float32)),
    "normalize": ops.normalize,
    "sum of 1": lambda t: ops.normalize(t, order=1),
    "softmax": lambda t: layers.Dense(4, activation="softmax")(20 * t),
    "log_softmax": lambda t: ops.log_softmax(20 * t),
    "inverse": lambda t: 1 / (ops.abs(t) + 0.1),
    "quotient of two": lambda t: t / (2 + layers.Dense(6, activation="tanh")(t)),
    "three factors": lambda t: layers.Multiply()([t, layers.Dense(6)(t), layers.Dense(6)(t)]),
    "where": lambda t: ops.where(t > 0, t, 0.1 * t),
    "logsumexp": lambda t: ops.logsumexp(t, 1, keepdims=True),
    "the largest": lambda t: ops.top_k(t, 3)[0],
}


@pytest.mark.parametrize("name", MIXING)
def test_functions_of_several_elements_keep_the_sum_and_stay_bounded(name, rng):
    """Also where the reference is normalized from zeros, or the way to it leads through zeros."""
    model = of_six(MIXING[name])
    x = rng.normal(size=(3, 6)).astype(np.float32)
    for reference in (0, -x[0]):
        analyzer = create_analyzer("deep_lift", model, reference_inputs=reference)
        found = analyzer.explain(x)
        at_reference = array(model(np.broadcast_to(np.float32(reference), x.shape)))
        difference = found.explained_logits - at_reference[np.arange(3), found.neurons]
        size = max(abs(found.logits).max(), abs(at_reference).max())
        np.testing.assert_allclose(found.relevance.sum(1), difference, atol=1e-3 * size)
        assert abs(found.relevance).max() < 30 * size


def test_a_network_with_attention_keeps_the_sum(rng):
    model = attention()
    x = rng.normal(size=(5, 4, 6)).astype(np.float32)
    analyzer = create_analyzer("deep_lift", model, reference_inputs=rng.normal(size=(4, 6)))
    assert abs(analyzer.convergence_delta(x)).max() < 1e-4


def test_through_a_softmax_a_constant_makes_no_difference(rng):
    """Softmax does not change if all of its inputs change by the same amount."""
    model = of_six(layers.Softmax())
    x = rng.normal(size=(3, 6)).astype(np.float32)
    analyzer = create_analyzer("deep_lift", model, reference_inputs=x[0] - 5)
    assert abs(analyzer.analyze(x[:1]).sum()) < 1e-5
    near = create_analyzer("deep_lift", model, reference_inputs=x[0] - 1e-2)
    gradient = create_analyzer("gradient", model).analyze(x[:1])
    assert_same(near.analyze(x[:1]), 1e-2 * gradient, 1e-2)


def test_sums_that_are_far_off_give_a_warning(rng):
    x = rng.normal(size=(3, 6)).astype(np.float32)
    for method, model in (("integrated_gradients", of_six(quotient)), ("deep_lift", stopped())):
        with pytest.warns(UserWarning, match="do not sum to the difference of the logits"):
            create_analyzer(method, model).analyze(x)


def stopped():
    """What the sum cannot see, as no gradient leads there."""
    return of_six(lambda t: layers.Dense(6)(ops.stop_gradient(t)))


@pytest.mark.parametrize("method", ["deep_lift", "integrated_gradients"])
def test_a_reference_without_a_value_is_refused(method, rng):
    model = of_six(lambda t: t / ops.sqrt(ops.sum(t * t, 1, keepdims=True)))
    x = rng.normal(size=(3, 6)).astype(np.float32)
    with pytest.raises(
        InputError, match="Expected reference_inputs at which the model has a value"
    ):
        create_analyzer(method, model).analyze(x)
    found = create_analyzer("deep_lift", model, reference_inputs=0.5)
    assert abs(found.convergence_delta(x)).max() < 1e-4
