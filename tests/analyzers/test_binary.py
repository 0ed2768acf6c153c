"""Models whose output is one number: two classes by a sigmoid, or a regression."""

import dataclasses
import warnings

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from keras import layers

import rap_keras
from rap_keras import InputError, create_analyzer, load_analyzer
from rap_keras.models.loading import load_model

X = np.random.default_rng(0).random((4, 8, 8, 3)).astype(np.float32)
MIXED = np.array([0, 1, 1, 0])
SEVERAL = np.array([[0, 1], [1, 0], [1, 1], [0, 0]])
# One of each family.
METHODS = {
    "rap": {},
    "gradient": {},
    "lrp.alpha_1_beta_0": {},
    "grad_cam": {},
    "integrated_gradients": {"steps": 4},
    "smoothgrad": {"augment_by_n": 2},
    "deep_lift": {},
    "occlusion": {"window": 4},
    "rise": {"masks": 4},
    "random": {"seed": 0},
}


def made(activation="sigmoid", sign=1.0, last=-0.25):
    """A model whose logits of `X` are all of one sign; all its weights but the last are positive."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    h = layers.Conv2D(3, 3, activation="relu", name="features")(inputs)
    head = layers.Dense(1, activation=activation, name="head")
    model = keras.Model(inputs, head(layers.GlobalAveragePooling2D()(h)))
    kernel = np.random.default_rng(1).random((3, 3, 3, 3))
    model.get_layer("features").set_weights([kernel, np.zeros(3)])
    head.set_weights([sign * np.float32([[1.0], [0.5], [last]]), np.float32([0.25 * sign])])
    return model


@pytest.fixture(scope="module")
def model():
    return made()


@pytest.fixture(scope="module")
def opposite():
    return made(sign=-1.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.quick("rap", "gradient", "lrp.alpha_1_beta_0", "grad_cam", "occlusion")
def test_class_0_is_class_1_of_the_opposite_model(method, model, opposite):
    options = METHODS[method]
    analyzer = create_analyzer(method, model, **options)
    found = {k: analyzer.explain(X, k) for k in (0, 1)}
    other = create_analyzer(method, opposite, **options).explain(X, 1)
    assert_same(found[0].relevance, other.relevance)
    assert_same(found[0].explained_logits, other.logits[:, 0])
    np.testing.assert_array_equal(found[0].logits, found[1].logits)  # the model's own
    both = np.stack([found[0].relevance, found[1].relevance])
    mixed = analyzer.explain(X, MIXED)
    np.testing.assert_array_equal(mixed.relevance, both[MIXED, range(4)])
    np.testing.assert_array_equal(mixed.neurons, MIXED)
    np.testing.assert_array_equal(
        mixed.explained_logits, np.where(MIXED == 1, 1, -1) * mixed.logits[:, 0].astype(float)
    )
    several = analyzer.explain(X, SEVERAL)
    np.testing.assert_array_equal(several.relevance, both[SEVERAL, np.arange(4)[:, None]])
    assert several.explained_logits.shape == (4, 2)


def test_the_map_of_class_0_is_not_just_the_negated_map_of_class_1(model):
    analyzer = create_analyzer("lrp.alpha_1_beta_0", model)
    found = [analyzer.analyze(X, k) for k in (0, 1)]
    assert abs(found[0] + found[1]).max() > 0.01 * abs(found[1]).max()


@pytest.mark.parametrize("method", ["rap", "rap.epsilon", "lrp.epsilon", "gradient", "hires_cam"])
def test_it_is_where_the_last_layer_does_not_separate_signs(method, model):
    analyzer = create_analyzer(method, model)
    assert_same(analyzer.analyze(X, 0), -analyzer.analyze(X, 1))


def test_without_a_target_the_output_is_explained_as_class_1(model):
    own = create_analyzer("rap", model).explain(X)
    assert own.neurons.tolist() == [1] * 4
    assert own.is_binary
    np.testing.assert_array_equal(own.explained_logits, own.logits[:, 0].astype(float))
    by_index = create_analyzer("rap", model)
    np.testing.assert_array_equal(own.relevance, by_index.analyze(X, 1))
    assert "class 1" in own.decisions[0]
    region = by_index.explain(X, (0,))  # a region of the output is of the output
    np.testing.assert_array_equal(region.relevance, own.relevance)


def test_layers_sums_and_deltas_of_class_0(model, opposite):
    analyzer, other = (create_analyzer("rap", m) for m in (model, opposite))
    found, expected = analyzer.analyze_layers(X, 0), other.analyze_layers(X, 1)
    assert list(found.values())[-1].shape == (4, 1)
    assert len(found) == len(expected)
    for one, another in zip(found.values(), expected.values(), strict=True):
        assert_same(one, another)
    assert analyzer.conservation(X, 0).max_error < 1e-4
    with pytest.raises(InputError, match="one class for all samples here, got both"):
        analyzer.analyze_layers(X, MIXED)
    lift = create_analyzer("deep_lift", model)
    assert abs(lift.convergence_delta(X, MIXED)).max() < 1e-5


def test_a_saved_analyzer_explains_both(model, tmp_path):
    analyzer = create_analyzer("rap", model)
    analyzer.save(tmp_path / "saved")
    loaded = load_analyzer(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.analyze(X, MIXED), analyzer.analyze(X, MIXED))


def test_other_classes_are_refused_and_empty_batches_are_not(model):
    analyzer = create_analyzer("gradient", model)
    with pytest.raises(InputError, match="Expected target from 0 to 1, got 2"):
        analyzer.analyze(X, 2)
    with pytest.raises(InputError, match="which target=0 explains"):
        create_analyzer("rap", model, contrast="softmax")
    assert analyzer.explain(X[:0], 0).relevance.shape == (0, 8, 8, 3)


def test_custom_functions_get_the_output_neuron(model):
    def own(model, x, neurons, scale=1.0):
        assert not neurons.any()
        return scale * x

    rap_keras.register_method("own.binary", own)
    analyzer = create_analyzer("own.binary", model, scale=2.0)
    signs = np.where(MIXED == 1, 2, -2).reshape(-1, 1, 1, 1)
    assert_same(analyzer.analyze(X, MIXED), signs * X)


def test_rise_takes_the_sigmoid_of_an_output_without_axes(model):
    flat = keras.Model(model.input, keras.ops.squeeze(model.output, -1))
    options = {"masks": 4}
    analyzers = [create_analyzer("rise", one, **options) for one in (flat, model)]
    for neuron in (0, 1):
        found, expected = (analyzer.analyze(X[:1], neuron) for analyzer in analyzers)
        assert_same(found, expected)


def test_rise_takes_each_sigmoid_of_several():
    inputs = keras.Input((8, 8, 3))
    flat = layers.Flatten()(inputs)
    several = keras.Model(inputs, layers.Dense(3, activation="sigmoid")(flat))
    options = {"masks": 5}
    found = create_analyzer("rise", several, **options).analyze(X, 2)
    expected = create_analyzer("rise", several, score="sigmoid", **options).analyze(X, 2)
    np.testing.assert_array_equal(found, expected)


# Maps of zeros.

ZERO = ["grad_cam", "grad_cam_plus_plus", "layer_cam", "deep_taylor"]


@pytest.mark.parametrize("method", ZERO)
def test_a_map_of_zeros_gives_a_warning(method):
    negative = made(sign=-1.0, last=0.25)
    with pytest.warns(
        UserWarning, match="zero everywhere for 4 of 4 samples, because the method shows only"
    ) as caught:
        found = create_analyzer(method, negative).analyze(X)
    assert not found.any()
    assert len(caught) == 1
    assert "target=0" in str(caught[0].message)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_class = create_analyzer(method, negative)
        assert by_class.analyze(X, 0).any((1, 2, 3)).all()


def test_the_warning_names_methods_that_show_more_than_zeros():
    several = made("linear", -1.0, 0.25)
    with pytest.warns(UserWarning, match="4 of 4 samples, .* relu=False"):
        create_analyzer("grad_cam", several).analyze(X)
    with pytest.warns(UserWarning, match='negative: use "hires_cam", or'):
        create_analyzer("layer_cam", several).analyze(X)
    with pytest.warns(UserWarning, match='use a method of both signs, such as "lrp.epsilon"'):
        create_analyzer("deep_taylor", several).analyze(X)
    with pytest.warns(UserWarning, match="1 of 2 samples, because the method finds nothing there"):
        create_analyzer("input_t_gradient", several).analyze(
            X[:2] * np.float32([0, 1]).reshape(2, 1, 1, 1)
        )


# Regression.


def test_the_map_sums_to_the_prediction_minus_its_reference():
    regression = made("linear")
    options = {"reference_output": 20.0}
    plain, less = (create_analyzer("rap", regression, **o).explain(X) for o in ({}, options))
    assert_same(plain.logits, less.logits)
    assert plain.neurons.tolist() == [0] * 4
    assert_same(less.explained_logits, plain.logits[:, 0] - 20.0)
    assert_same(less.relevance.sum((1, 2, 3)), less.explained_logits, 1e-4)
    assert less.relevance.sum() < 0 < plain.relevance.sum()
    for method, own in {"gradient": {}, "occlusion": {"window": 4}, "deep_lift": {}}.items():
        changes = [
            create_analyzer(method, regression, **own, **o).analyze(X) for o in ({}, options)
        ]
        assert_same(changes[1], changes[0], 1e-4)


def test_a_reference_is_saved_and_loaded(tmp_path):
    analyzer = create_analyzer("rap", made("linear"), reference_output=2)
    analyzer.save(tmp_path / "saved")
    assert load_analyzer(tmp_path / "saved").reference_output == 2.0
    with pytest.raises(
        InputError, match=r"Expected a regression, .* got an output .* with a sigmoid"
    ):
        create_analyzer("rap", made(), reference_output=1)
    with pytest.raises(InputError, match="finite reference_output, got -inf"):
        create_analyzer("rap", made("linear"), reference_output=-np.inf)


# Names of classes.


def test_both_classes_have_names(model):
    loaded = load_model(model, preprocess="none")
    assert loaded.head == "sigmoid"
    assert loaded.is_binary
    assert loaded.with_labels(["yes"]).labels == ("not yes", "yes")
    with pytest.raises(InputError, match="each of the 2 classes, 0 and 1, of the sigmoid of"):
        loaded.with_labels("abc")
    found = rap_keras.explain(model, X, target="no", classes=["no", "yes"])
    assert found.neurons.tolist() == [0] * 4
    assert found.decisions[0].startswith("class 0 (no), logit -")
    other = dataclasses.replace(found, neurons=MIXED)
    assert "class 1 (yes)" in other.decisions[1]


def test_a_warning_names_the_line_of_the_caller():
    model = made()
    averaged = keras.Model(model.input, keras.ops.mean(model.output, -1, keepdims=True) / 2 + 0.25)
    shown = keras.Model(model.input, layers.Average()([averaged.output, model.output]))
    with pytest.warns(UserWarning, match="computed from the probabilities") as told:
        create_analyzer("gradient", shown)
    assert told[0].filename == __file__


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        ((0, 1, 1, 0), MIXED),
        ((1, 1, 1, 1), 1),
        (tuple(MIXED), MIXED),
        (np.eye(2)[MIXED], MIXED),
        (np.eye(2, dtype="float32")[:1], 0),
    ],
)
def test_every_form_of_a_class_is_accepted(target, classes, model):
    analyzer = create_analyzer("input_t_gradient", model)
    found, expected = analyzer.explain(X, target), analyzer.explain(X, classes)
    assert_same(found.relevance, expected.relevance)
    assert np.array_equal(found.neurons, expected.neurons)
