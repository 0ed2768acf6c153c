"""Expected gradients against their definition."""

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.tensors import array, slopes
from keras import layers

from rap_keras import InputError, create_analyzer, load_analyzer


@pytest.fixture
def model():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5, 4, 2), dtype="float64")
    x = layers.Conv2D(3, 3, activation="tanh", dtype="float64")(inputs)
    x = layers.GlobalAveragePooling2D(dtype="float64")(x)
    return keras.Model(inputs, layers.Dense(3, dtype="float64")(x))


@pytest.fixture
def data(rng):
    return rng.normal(size=(3, 5, 4, 2)), rng.normal(1, 1, size=(6, 5, 4, 2))


def gradient(model, x, neuron):
    return slopes(lambda x: model(x)[0, neuron], [x[None]])[0][0]


def test_it_is_the_mean_over_references_and_places(model, data):
    x, background = data
    neurons = [2, 0, 1]
    analyzer = create_analyzer(
        "expected_gradients", model, background=background, draws=7, seed=5,

    )  # fmt: skip
    found = analyzer.analyze(x, neurons)
    for k, neuron in enumerate(neurons):
        drawn = np.random.default_rng([5, k])
        chosen = drawn.integers(6, size=7)
        expected = np.zeros_like(x[k])
        for reference, place in zip(background[chosen], drawn.random(7), strict=True):
            at = reference + place * (x[k] - reference)
            expected += (x[k] - reference) * gradient(model, at, neuron) / 7
        np.testing.assert_allclose(found[k], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_many_draws_sum_to_the_logit_minus_the_mean_of_the_background(model, data):
    x, background = data
    analyzer = create_analyzer(
        "expected_gradients", model, background=background, draws=3000,

    )  # fmt: skip
    sums = analyzer.analyze(x, 1).sum((1, 2, 3))
    difference = array(model(x))[:, 1] - array(model(background))[:, 1].mean()
    np.testing.assert_allclose(sums, difference, atol=0.03)
    assert np.abs(difference).max() > 0.2


@pytest.mark.slow
def test_one_reference_of_zeros_is_integrated_gradients(model, data):
    x, _ = data
    zeros = np.zeros((1, 5, 4, 2))
    expected = create_analyzer("integrated_gradients", model, steps=300).analyze(x)
    found = create_analyzer("expected_gradients", model, background=zeros, draws=4000).analyze(x)
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_the_draw_has_a_seed(model, data):
    x, background = data
    made = {"background": background, "draws": 4}
    seeded = create_analyzer("expected_gradients", model, **made)
    np.testing.assert_array_equal(seeded.analyze(x), seeded.analyze(x))
    np.testing.assert_allclose(seeded.analyze(x)[:1], seeded.analyze(x[:1]), rtol=1e-9)
    other = create_analyzer("expected_gradients", model, seed=1, **made)
    assert np.abs(other.analyze(x) - seeded.analyze(x)).max() > 1e-6
    free = create_analyzer("expected_gradients", model, seed=None, **made)
    assert np.abs(free.analyze(x) - free.analyze(x)).max() > 1e-6


def test_it_is_saved_and_loaded_with_its_background(model, data, tmp_path):
    x, background = data
    np.save(tmp_path / "background.npy", background)
    analyzer = create_analyzer(
        "expected_gradients", model, background=str(tmp_path / "background.npy"), draws=3
    )
    analyzer.save(tmp_path / "saved")
    loaded = load_analyzer(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.analyze(x), analyzer.analyze(x))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "got none: pass some of the training data"),
        ({"background": np.zeros((2, 5, 4))}, r"\(2, 5, 4\)"),
        ({"background": np.zeros((2, 4, 4, 2))}, r"\(2, 4, 4, 2\)"),
        ({"background": np.zeros((0, 5, 4, 2))}, r"\(0, 5, 4, 2\)"),
        ({"background": np.full((1, 5, 4, 2), np.nan)}, "finite"),
        ({"background": "absent.npy"}, "cannot be read"),
        ({"background": np.zeros((1, 5, 4, 2)), "draws": 0}, "draws"),
        ({"background": np.zeros((1, 5, 4, 2)), "postprocess": "abs"}, "postprocess"),
    ],
)
def test_wrong_options_are_refused(model, options, words):
    with pytest.raises(InputError, match=words):
        create_analyzer("expected_gradients", model, **options)


def test_several_inputs():
    """The rows of a background belong together; a linear model is explained exactly."""
    inputs = [keras.Input((2,)), keras.Input((3,))]
    model = keras.Model(inputs, layers.Dense(2)(layers.Concatenate()(inputs)))
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(4, n)).astype("float32") for n in (2, 3)]
    background = [rng.normal(size=(5, n)) for n in (2, 3)]
    analyzer = create_analyzer("expected_gradients", model, background=background, draws=7)
    weights = np.split(array(model.layers[-1].kernel)[:, 1], [2])
    chosen = np.stack(
        [np.random.default_rng([0, k]).integers(5, size=7) for k in range(4)]
    )  # of each sample
    for found, one, data, w in zip(analyzer.analyze(x, 1), x, background, weights, strict=True):
        assert_same(found, (one - data[chosen].mean(1)) * w)


@pytest.mark.parametrize(
    ("background", "message"),
    [
        (np.zeros((1, 2)), "a list of samples for each of the 2 inputs, got an array"),
        (
            [np.zeros((1, 2)), np.zeros((2, 3))],
            "the same number of samples for all inputs, got 1, 2",
        ),
    ],
)
def test_wrong_backgrounds_of_several_inputs(background, message):
    inputs = [keras.Input((2,)), keras.Input((3,))]
    model = keras.Model(inputs, layers.Dense(2)(layers.Concatenate()(inputs)))
    with pytest.raises(InputError, match=message):
        create_analyzer("expected_gradients", model, background=background)


def test_a_large_background_is_abbreviated(model, data):
    analyzer = create_analyzer("expected_gradients", model, background=data[1])
    assert len(repr(analyzer)) < 2000
    assert "background=" in repr(analyzer)
    assert "ExpectedGradientsAnalyzer" in repr(analyzer)


@pytest.mark.parametrize(
    ("value", "message"), [(1e300, "fit into the model's float32"), (np.nan, "with NaN")]
)
def test_a_background_that_the_model_cannot_take_is_refused(value, message):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2)])
    with pytest.raises(InputError, match=f"background .*{message}"):
        create_analyzer("expected_gradients", model, background=np.full((3, 2), value))


def test_a_background_of_another_size_is_refused():
    model = keras.Sequential(
        [keras.Input((None, 2)), layers.Conv1D(3, 2), layers.GlobalMaxPooling1D(), layers.Dense(2)]
    )
    analyzer = create_analyzer("expected_gradients", model, background=np.zeros((2, 6, 2)), draws=2)
    assert analyzer.analyze(np.ones((1, 6, 2), "float32")).shape == (1, 6, 2)
    with pytest.raises(InputError, match=r"size of the samples, \(5, 2\), got \(6, 2\)"):
        analyzer.analyze(np.ones((1, 5, 2), "float32"))
