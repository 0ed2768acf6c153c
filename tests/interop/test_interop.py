"""The adapters by the conventions that they keep; where Quantus or xplique is at hand, with it.

They know a Keras 3 model where `tf.keras` is Keras 3, with TF_USE_LEGACY_KERAS=0.
"""

import os

import keras
import numpy as np
import pytest

from rap_keras import InputError, create_analyzer, patterns, register_method
from rap_keras.interop import explainers, quantus, xplique


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 10, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(5)(x))


@pytest.fixture
def x(rng):
    return rng.normal(size=(3, 8, 10, 3)).astype("float32")


# tf.keras is Keras 2 in tests, for iNNvestigate.
takes_keras3 = pytest.mark.skipif(
    os.environ["TF_USE_LEGACY_KERAS"] == "1", reason="tf.keras is Keras 2, TF_USE_LEGACY_KERAS=1"
)
NEURONS = np.array([4, 0, 2])


class Doubled:
    """An explainer of xplique's form."""

    made = 0

    def __init__(self, model, factor=2):
        type(self).made += 1
        self.model, self.factor = model, factor

    def __call__(self, inputs, targets):
        rows = np.asarray(targets)
        assert rows.shape == (len(inputs), 5)
        assert (rows.sum(1) == 1).all()
        return self.factor * rows.argmax(1)[:, None, None, None] * np.ones((1, 8, 10, 1))


@pytest.mark.parametrize("method", ["rap", "gradient"])
def test_quantus_gets_the_maps_of_either_layout(model, x, method):
    expected = create_analyzer(method, model).analyze(x, NEURONS)
    found = quantus.explain_func(model, x, NEURONS, method=method, device="cpu")
    np.testing.assert_array_equal(found, expected.sum(-1))
    moved = np.moveaxis(x, -1, 1)
    first = quantus.explain_func(model=model, inputs=moved, targets=NEURONS, method=method)
    np.testing.assert_array_equal(first, found)


def test_quantus_gets_options_and_each_model_its_own_analyzer(model, x):
    other = keras.models.clone_model(model)
    other.set_weights([2 * w for w in model.get_weights()])
    contrasted = quantus.explain_func(model, x, NEURONS, contrast="softmax")
    np.testing.assert_allclose(contrasted.sum((1, 2)), 0, atol=1e-5)
    plain = quantus.explain_func(model, x, NEURONS)
    assert np.abs(plain - contrasted).max() > 1e-4
    assert np.abs(quantus.explain_func(other, x, NEURONS) - plain).max() > 1e-4


def test_another_model_at_the_same_time_leaves_a_model_its_analyzer(model, monkeypatch):
    other = explainers.explainer_for(model, "rap", {})

    class Shared(list):
        """Another thread puts its own after each value."""

        def __setitem__(self, place, value):
            super().__setitem__(place, [(model, "", other, {})])

    monkeypatch.setattr(explainers, "_LAST", Shared())
    assert explainers.explainer_for(model, "gradient", {}).analyzer.name == "gradient"


def test_another_model_at_the_same_time_leaves_a_model_its_explainer(model, x):
    class Interrupted:
        @property
        def outputs(self):
            explain(model, x, NEURONS)
            return model.outputs

    explain, this = xplique.method(lambda model: lambda x, targets: [model is this]), Interrupted()
    assert explain(this, x, NEURONS).tolist() == [True]
    assert explain(model, x, NEURONS).tolist() == [False]


def test_large_options_that_print_alike_are_different_options():
    model = keras.Sequential(
        [keras.Input((40, 40, 1)), keras.layers.Flatten(), keras.layers.Dense(2, activation="tanh")]
    )
    x = np.zeros((1, 40, 40, 1), "float32")
    references = np.zeros((2, 40, 40, 1))
    references[1, 20, 20] = 3
    options = {"method": "integrated_gradients", "steps": 2}
    first, second = (
        quantus.explain_func(model, x, [0], reference_inputs=r, **options) for r in references
    )
    assert not first.any()
    assert second.any()


def test_patterns_that_print_alike_are_different_options(model, x):
    several = [patterns.fit(model, x * factor, progress=False) for factor in (1, -1)]
    options = {"method": "pattern.attribution", "project": False}
    for one in several:
        expected = create_analyzer("pattern.attribution", model, patterns=one, project=False)
        found = quantus.explain_func(model, x, NEURONS, patterns=one, **options)
        np.testing.assert_array_equal(found, expected.analyze(x, NEURONS).sum(-1))


def test_inputs_that_fit_in_no_layout_are_told(model, x):
    with pytest.raises(InputError, match=r"\(8, 10, 3\), with the channels last or first"):
        quantus.explain_func(model, x[:, :5], NEURONS)


def test_a_function_of_quantus_form_is_a_method(model, x):
    def explain(model, inputs, targets, **kwargs):
        return inputs * targets[:, None, None, None]

    register_method("of_quantus_form", explain)
    found = create_analyzer("of_quantus_form", model).analyze(x, NEURONS)
    np.testing.assert_array_equal(found, x * NEURONS[:, None, None, None])


def test_an_explainer_of_xpliques_form_is_a_method(model, x):
    Doubled.made = 0
    register_method("of_xpliques_form", xplique.method(Doubled, factor=3), signed=False)
    analyzer = create_analyzer("of_xpliques_form", model, batch_size=2)
    maps = analyzer.analyze(x, NEURONS)
    assert maps.shape == x.shape
    for k, neuron in enumerate(NEURONS):
        np.testing.assert_allclose(maps[k].sum(-1), 3 * neuron, rtol=1e-6)
    assert Doubled.made == 1


def test_our_methods_in_xpliques_form(model, x):
    explainer = xplique.Explainer(model, "lrp.epsilon", epsilon=0.01)
    targets = np.eye(5)[NEURONS]
    expected = create_analyzer("lrp.epsilon", model, epsilon=0.01)
    expected = expected.analyze(x, NEURONS).sum(-1, keepdims=True)
    np.testing.assert_array_equal(explainer(x, targets), expected)
    np.testing.assert_array_equal(
        explainer.explain(keras.ops.convert_to_tensor(x), targets), expected
    )
    with pytest.raises(InputError, match="one-hot"):
        explainer(x, NEURONS)


@pytest.mark.parametrize("head", [None, "sigmoid"])
def test_the_one_output_of_a_model_in_xpliques_form(head, x):
    inputs = keras.Input((8, 10, 3))
    flat = keras.layers.Flatten()(inputs)
    single = keras.Model(inputs, keras.layers.Dense(1, activation=head)(flat))
    found = xplique.Explainer(single, "gradient")(x, np.ones((3, 1)))
    expected = create_analyzer("gradient", single).analyze(x)
    np.testing.assert_array_equal(found, expected.sum(-1, keepdims=True))


def test_features_and_series_keep_their_shape_in_xpliques_form(rng):
    for shape in ((6,), (7, 3)):
        layers = [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(4)]
        other = keras.Sequential(layers)
        x = rng.normal(size=(2, *shape)).astype("float32")
        found = xplique.Explainer(other, "gradient")(x, np.eye(4)[[3, 1]])
        expected = create_analyzer("gradient", other).analyze(x, np.array([3, 1]))
        np.testing.assert_array_equal(found, expected)


@takes_keras3
def test_quantus_own_metric_takes_our_function(model, x):
    metrics = pytest.importorskip("quantus", reason="Quantus is not installed")
    sparseness = metrics.Sparseness(disable_warnings=True, abs=True, normalise=False)
    scores = sparseness(
        model, x, NEURONS, channel_first=False, explain_func=quantus.explain_func,
        explain_func_kwargs={"method": "gradient"},
    )  # fmt: skip
    maps = quantus.explain_func(model, x, NEURONS, method="gradient")
    expected = sparseness(model, x, NEURONS, a_batch=maps, channel_first=False)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


@takes_keras3
def test_xpliques_own_explainer_is_a_method(model, x):
    attributions = pytest.importorskip("xplique.attributions", reason="xplique is not installed")
    register_method("xplique_saliency", xplique.method(attributions.Saliency), signed=False)
    analyzer = create_analyzer("xplique_saliency", model)
    gradient = create_analyzer("gradient", model)
    found, expected = analyzer.analyze(x, NEURONS), gradient.analyze(x, NEURONS)
    np.testing.assert_allclose(found.sum(-1), np.abs(expected).max(-1), rtol=1e-4, atol=1e-6)
