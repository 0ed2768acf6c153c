"""Unusual input gets a finite map or an error of one sentence."""

import functools

import keras
import numpy as np
import pytest
from helpers.networks import plain, residual
from helpers.tensors import BACKEND, array
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rap_keras import InputError, create_analyzer
from rap_keras import tensors as ops
from rap_keras.inputs.samples import read_inputs

BUILDERS = {"plain": plain, "residual": residual}
hostile = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
many = pytest.mark.programs  # the analyzer runs so often that its graph is worth it


@functools.cache
def made(network, variant, check_finite):
    keras.utils.set_random_seed(0)
    model = BUILDERS[network]()
    return create_analyzer("rap", model, variant=variant, check_finite=check_finite)


def analyzer(network, variant="paper", check_finite=True):
    """One of each kind for all tests."""
    return made(network, variant, check_finite)


def networks(function):
    return pytest.mark.parametrize("network", BUILDERS)(function)


def pixels(low, high, **options):
    values = st.floats(low, high, width=32, **options)
    return arrays.arrays(np.float32, (1, 12, 12, 3), elements=values)


@networks
@pytest.mark.parametrize("variant", ["paper", "released"])
@given(x=pixels(-1e4, 1e4))
@hostile
@many
@pytest.mark.quick("paper-residual", "released-plain")
def test_any_finite_image_gives_a_finite_map(network, variant, x):
    explainer = analyzer(network, variant)
    maps = explainer.analyze(x)
    assert maps.shape == x.shape
    assert np.isfinite(maps).all()


@networks
@given(x=pixels(-(2.0**-100), 2.0**-100, allow_subnormal=True))
@hostile
@many
@pytest.mark.quick("plain")
def test_images_next_to_zero_give_finite_maps(network, x):
    assert np.isfinite(analyzer(network).analyze(x)).all()


@networks
@given(
    value=st.sampled_from([0.0, -0.0, 1e-45, -1e-38, 1e-20, 1.0, -1.0, 255.0, -1e10, 1e10]),
    other=st.sampled_from([0.0, 1e-45, 1.0, -1e10]),
    place=st.integers(0, 143),
)
@hostile
@many
def test_constant_images_and_single_pixels_give_finite_maps(network, value, other, place):
    x = np.full((2, 12, 12, 3), value, np.float32)
    x[1, place // 12, place % 12] = other
    assert np.isfinite(analyzer(network).analyze(x)).all()


@many
@networks
@pytest.mark.quick("residual")
def test_ordinary_images_conserve_at_every_scale(network, rng):
    x = rng.normal(size=(3, 12, 12, 3)).astype("float32")
    for scale in (1e-6, 1e-3, 1.0, 1e3, 1e6):
        report = analyzer(network).conservation(scale * x)
        assert report.max_error < 1e-5, scale


@many
@networks
@pytest.mark.quick("plain")
def test_dead_layers_and_logits_of_zero_give_finite_maps(network, rng):
    """Weights of zero, or so small or large that sums of contributions leave the range of floats."""
    x = rng.normal(size=(2, 12, 12, 3)).astype("float32")
    model = BUILDERS[network]()
    explainer = create_analyzer("rap", model)
    for layer in model.layers:
        if not hasattr(layer, "kernel"):
            continue
        weights = layer.get_weights()
        for gain in (0.0, 1e-30, 1e30):
            layer.set_weights([gain * weights[0], *weights[1:]])
            try:
                maps = explainer.analyze(x)
            except InputError as error:
                assert "model's own values overflow" in str(error)  # noqa: PT017
                assert gain > 1
            else:
                assert np.isfinite(maps).all()
        layer.set_weights(weights)


def test_a_network_of_zeros_gives_a_map_of_zeros():
    model = plain()
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    x = np.ones((2, 12, 12, 3), "float32")
    assert not create_analyzer("rap", model).analyze(x).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_or_passed_through(bad):
    x = np.ones((1, 12, 12, 3), "float32")
    x[0, 3, 4, 1] = bad
    with pytest.raises(
        InputError, match="got 1 NaN or infinite ones: remove them, or set check_finite"
    ):
        analyzer("plain").analyze(x)
    assert analyzer("plain", check_finite=False).analyze(x).shape == x.shape


def test_overflow_is_reported():
    x = np.full((1, 12, 12, 3), 3e38, "float32")
    x[0, 0] = -3e38
    with pytest.raises(InputError, match="the model's own values overflow"):
        analyzer("plain").analyze(x)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("method", ["rap", "gradient", "input"])
@pytest.mark.quick("rap-nan", "gradient-inf", "input-nan")
def test_broken_weights_are_reported_and_the_input_is_not_blamed(method, bad):
    model = plain()
    layer = model.layers[-1]
    kernel, bias = layer.get_weights()
    kernel[:, 0] = bad * np.where(np.arange(len(kernel)) % 2, 1, -1)
    layer.set_weights([kernel, bias])
    x = np.ones((1, 12, 12, 3), "float32")
    with pytest.raises(InputError, match=f"'{layer.name}/kernel' contains NaN") as error:
        create_analyzer(method, model).analyze(x)
    assert "scale the input" not in str(error.value)


def test_an_empty_batch_gives_no_maps():
    x = np.zeros((0, 12, 12, 3), "float32")
    explainer = analyzer("plain")
    assert explainer.analyze(x).shape == x.shape
    assert explainer.analyze(x).dtype == np.float32
    layers = explainer.analyze_layers(x)
    one = explainer.analyze_layers(np.ones((1, 12, 12, 3), "float32"))
    assert {k: v.shape[1:] for k, v in layers.items()} == {k: v.shape[1:] for k, v in one.items()}
    with pytest.raises(InputError, match="at least one sample"):
        explainer.conservation(x)


GOOD = np.ones((2, 12, 12, 3), "float32")
WRONG = {
    r"got \(12, 12, 3\): a single sample needs a batch axis": GOOD[0],
    r"of shape \(batch, 12, 12, 3\), got \(2, 12, 11, 3\): preprocess the samples": GOOD[:, :, :11],
    r"got \(2, 3, 12, 12\)": GOOD.transpose(0, 3, 1, 2),
    r"got \(2, 12, 12\): preprocess the samples": GOOD[..., 0],
    "real numbers for input .* got dtype <U1: read images and preprocess them": np.full(
        GOOD.shape, "a"
    ),
    "real numbers for input .* got dtype complex": GOOD + 1j,
    "real numbers for input .* got dtype object": np.full(GOOD.shape, None),
    "whose parts have different shapes": [[1, 2], [3]],
    r"got \(2, 2, 12, 12, 3\)": (GOOD, GOOD),
    "Expected inputs named .* got": {"nobody": GOOD},
    "real numbers for input .* got dtype": None,
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arrays_are_refused_in_one_sentence(message):
    with pytest.raises(InputError, match=message) as error:
        analyzer("plain").analyze(WRONG[message])
    assert "\n" not in str(error.value)


def test_tensors_without_values_are_refused_in_one_sentence():
    call = analyzer("plain").analyze
    with pytest.raises(InputError, match="got a KerasTensor that NumPy cannot read") as error:
        call(keras.KerasTensor(GOOD.shape))
    assert "\n" not in str(error.value)
    if BACKEND == "torch":
        import torch

        unreadable = [torch.ones(GOOD.shape).to_sparse(), torch.ones(GOOD.shape, device="meta")]
    elif BACKEND == "jax":
        import jax

        with pytest.raises(InputError, match="traced or compiled"):
            jax.jit(call)(GOOD)
        unreadable = [jax.numpy.ones(GOOD.shape)]
        unreadable[0].delete()
    else:
        import tensorflow as tf

        with pytest.raises(InputError, match="traced or compiled"):
            tf.function(call, autograph=False)(GOOD)
        unreadable = []
    for x in unreadable:
        with pytest.raises(InputError, match="NumPy cannot read"):
            call(x)


SELECTIONS = {
    "from 0 to 9, got 10": 10,
    "from 0 to 9, got -1": -1,
    "the number of a class, or 2 numbers": [1, 2, 3],
    r"class, or 2 numbers, one per sample, or an array of shape \(2, k\), got 1.5": 1.5,
    "a number, because the classes have no names, got 'cat': pass the index": "cat",
    r"one per sample, or an array of shape \(2, k\), got an array of shape \(2, 10\)": np.full(
        (2, 10), 0.1
    ),
}


@pytest.mark.parametrize("message", SELECTIONS)
def test_wrong_neurons_are_refused_in_one_sentence(message):
    with pytest.raises(InputError, match=message):
        analyzer("plain").analyze(GOOD, SELECTIONS[message])


def tokens(*before, dtype="int32"):
    x = inputs = keras.Input((6,), dtype=dtype, name="tokens")
    for layer in before:
        x = layer(x)
    x = keras.layers.Embedding(10, 4, name="words")(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, keras.layers.Dense(3)(x))


@pytest.mark.parametrize("method", ["rap", "lrp.z", "random"])
@pytest.mark.quick("rap")
def test_tokens_outside_the_vocabulary_are_refused(method):
    x = np.array([[1, 2, 3, 4, 5, 9]])
    reshaped = (keras.layers.Reshape((2, 3)), keras.layers.Flatten())
    for model in (tokens(), tokens(*reshaped), tokens(dtype="float32")):
        explainer = create_analyzer(method, model)
        for token in (10, 10_000, -11):
            with pytest.raises(InputError) as error:
                explainer.analyze(np.concatenate([x, [[0, 1, token, 3, 4, 5]]]))
            assert str(error.value) == (
                "Expected tokens from 0 to 9 for input 'tokens', as layer 'words' has 10 rows, got "
                f"{token}: use the vocabulary of the model."
            )
        assert np.isfinite(explainer.analyze(x)).all()


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_columns_have_separate_vocabularies(dtype):
    """A column may have more categories than the embedding of another column has rows."""
    inputs = keras.Input((2,), dtype=dtype)
    parts = [keras.layers.Embedding(n, 3)(inputs[:, k]) for k, n in enumerate((5, 50))]
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Concatenate()(parts)))
    maps = create_analyzer("rap", model).analyze(np.array([[4, 49]]))
    logits = array(model(np.array([[4, 49]])))
    np.testing.assert_allclose(maps.sum(), logits.max(), rtol=1e-5)


def test_a_boolean_image_equals_an_image_of_zeros_and_ones(rng):
    image = rng.random((2, 12, 12, 3)) > 0.5
    analyzer = create_analyzer("rap", plain())
    maps = analyzer.analyze(image)
    assert abs(maps).max() > 0
    np.testing.assert_array_equal(maps, analyzer.analyze(image.astype("float32")))


def test_a_model_with_only_boolean_inputs_is_refused():
    inputs = keras.Input((4, 4, 1), dtype="bool", name="drawing")
    x = keras.ops.cast(inputs, "float32")
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    with pytest.raises(
        InputError, match=r"whose input 'drawing' is of dtype bool.*as float32"
    ) as error:
        create_analyzer("rap", model)
    assert "\n" not in str(error.value)


def test_inputs_of_different_lengths_are_refused():
    a, b = keras.Input((3,)), keras.Input((3,))
    model = keras.Model([a, b], keras.layers.Dense(2)(keras.layers.Add()([a, b])))
    with pytest.raises(InputError, match=r"same number of samples, got \[1, 2\]"):
        create_analyzer("rap", model).analyze([np.ones((1, 3)), np.ones((2, 3))])


def read_as(dtype, values, check_finite=True):
    values = values if isinstance(values, np.ndarray) else np.asarray(values)
    spec = ops.Spec([None, *values.shape[1:]], dtype)
    (found,), _ = read_inputs([spec], ["x"], values, check_finite)
    return found


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float32", np.array([[1e300, 0]])),
        ("float32", np.array([[-1e39]])),
        ("float16", np.float32([[70000]])),
        ("float16", np.array([[70000]])),
    ],
)
def test_values_that_overflow_in_the_dtype_of_the_model_are_refused(dtype, values):
    with pytest.raises(InputError, match=f"for input 'x' that fit into the model's {dtype}"):
        read_as(dtype, values)
    assert np.isinf(read_as(dtype, values, check_finite=False)).any()


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int32", np.array([[3, 2**32 + 3]])),
        ("int32", np.array([[2**31]], np.uint64)),
        ("int64", np.array([[2**64 - 1]], np.uint64)),
        ("uint8", np.array([[-1]])),
        ("uint64", np.array([[-1]])),
        ("int32", np.array([[3.7]])),
        ("int32", np.float32([[2**31]])),
        ("int64", np.array([[1e300]])),
        ("bool", np.array([[2]])),
        ("bool", np.array([[0.5]])),
    ],
)
def test_values_that_change_in_the_dtype_of_the_model_are_refused(dtype, values):
    for check_finite in (True, False):
        with pytest.raises(
            InputError, match=r"Expected (whole numbers|0 and 1).*for input 'x', got"
        ):
            read_as(dtype, values, check_finite)


def test_nan_is_not_a_token():
    with pytest.raises(InputError, match="Expected finite values for input 'x', got 1 NaN"):
        read_as("int32", [[np.nan, 1]])
    with pytest.raises(InputError, match="Expected whole numbers that fit into int32"):
        read_as("int32", [[np.nan, 1]], check_finite=False)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int32", np.array([[3.0, -2.0]])),
        ("int32", np.array([[3, 2**31 - 1]], np.uint64)),
        ("uint8", np.array([[0, 255]])),
        ("bool", np.array([[0.0, 1.0]])),
        ("int32", np.array([[True, False]])),
        ("float32", np.array([[1e-300, 0.1]])),
        ("float16", np.array([[60000, 1]])),
    ],
)
def test_the_same_numbers_in_another_dtype_are_accepted(dtype, values):
    np.testing.assert_array_equal(read_as(dtype, values), values.astype(dtype))


def test_masked_values_are_refused():
    x = np.ma.masked_array(np.ones((2, 3), np.float32), [[0, 1, 0], [0, 0, 0]])
    spec = ops.Spec([None, 3])
    for values in (x, list(x), [x]):
        with pytest.raises(InputError, match="without masked values for input 'x', got 1 of them"):
            read_inputs([spec], ["x"], values)
    with pytest.raises(InputError, match="without masked values for input 'y'"):
        read_inputs([spec, spec], ["x", "y"], [np.ones((2, 3)), x])
    np.testing.assert_array_equal(read_as("float32", x.filled(0.5)), x.filled(0.5))
    whole = np.ma.masked_array(np.ones((2, 3)), False)
    np.testing.assert_array_equal(read_as("float32", whole), np.ones((2, 3)))
    with pytest.raises(InputError, match="without masked values for reference_inputs"):
        create_analyzer(
            "deep_lift", plain(), reference_inputs=np.ma.masked_array(np.ones(3), [0, 1, 0])
        )
    with pytest.raises(InputError, match="reference_inputs that fit into the model's float32"):
        create_analyzer("deep_lift", plain(), reference_inputs=1e300)
