"""The target is given with the call."""

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import plain
from helpers.streams import batched
from keras import layers

import rap_keras
from rap_keras import InputError, TopK, create_analyzer
from rap_keras.composites.rap import RAP
from rap_keras.models import load_model

NAMES = tuple(f"digit {k}" for k in range(10))


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return plain()


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(3).normal(size=(3, 12, 12, 3)).astype("float32")


@pytest.fixture(scope="module")
def analyzer(model):
    return create_analyzer("rap", model)


@pytest.fixture(scope="module")
def named(model):
    loaded = load_model(model, preprocess="none").with_labels(NAMES)
    return create_analyzer("rap", loaded, contrast="softmax")


ROWS = np.eye(10)[[7, 0, 9]]


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        (7, [7, 7, 7]),
        (np.int64(7), [7, 7, 7]),
        ([7, 0, 9], [7, 0, 9]),
        (keras.ops.convert_to_tensor([7, 0, 9]), [7, 0, 9]),
        (ROWS, [7, 0, 9]),
        (ROWS.astype("float32"), [7, 0, 9]),
        (ROWS.astype(int), [7, 0, 9]),
        (ROWS[:1], [7, 7, 7]),
        ((7, 0, 9), [7, 0, 9]),
        ([[7, 1], [0, 0], [9, 2]], [[7, 1], [0, 0], [9, 2]]),
    ],
)
def test_every_form_of_a_class_is_accepted(target, classes, analyzer, x):
    found = analyzer.explain(x, target=target)
    np.testing.assert_array_equal(found.neurons, classes)
    np.testing.assert_array_equal(found.relevance, analyzer.analyze(x, np.array(classes)))


def test_errors_show_rows_that_do_not_fit_as_given(analyzer, x):
    with pytest.raises(InputError, match=r"or 3 numbers, .* got an array of shape \(2, 10\)"):
        analyzer.analyze(x, target=ROWS[:2])


def test_names_are_kept_where_layers_stay_whole(model, x):
    """An analyzer with a rule for a custom layer opens the model again."""

    class Own(layers.Layer):
        def call(self, x):
            return 2 * x

    inputs = keras.Input((4, 4, 3))
    whole = load_model(
        keras.Model(inputs, layers.Dense(2)(layers.Flatten()(Own()(inputs)))), preprocess="none"
    )
    rules = RAP | {Own: lambda layer, inputs, outputs, relevances: relevances}
    analyzer = create_analyzer(
        "lrp", whole.with_labels(["no", "yes"]), composite=rap_keras.Composite(rules)
    )
    assert analyzer.explain(np.ones((1, 4, 4, 3), "float32"), "yes").neurons == [1]


def test_without_a_target_it_is_the_largest_logit(analyzer, model, x):
    largest = model.predict(x, verbose=0).argmax(1)
    np.testing.assert_array_equal(analyzer.explain(x).neurons, largest)
    np.testing.assert_array_equal(analyzer.analyze(x), analyzer.analyze(x, target=largest))
    top = analyzer.explain(x, target=TopK(2))
    np.testing.assert_array_equal(top.neurons[:, 0], largest)
    assert analyzer.analyze(x, target=TopK()).shape == (3, 5, *x.shape[1:])


def test_names_of_classes(named, x):
    found = named.explain(x, target="digit 7", against=["digit 1", 2])
    np.testing.assert_array_equal(found.relevance, named.analyze(x, target=7, against=[1, 2]))
    assert found.decisions[0].startswith("class 7 (digit 7) against 1, 2, logit ")
    each = named.explain(x, target=["digit 7", "digit 0", "digit 9"])
    np.testing.assert_array_equal(each.neurons, [7, 0, 9])
    # As pandas gives them, and in a tuple, as numbers may be.
    for names in (np.array(["digit 7", "digit 0", "digit 9"], object), ("digit 7",) * 3):
        np.testing.assert_array_equal(named.explain(x, names).neurons[:1], [7])
        against = named.explain(x, 5, against=names).against
        assert against == tuple(dict.fromkeys(int(name[-1]) for name in names))
    np.testing.assert_array_equal(named.explain(x, np.array("digit 7")).neurons, [7, 7, 7])
    for target, message in {
        "digit 77": "one of 10 classes, got 'digit 77': did you mean 'digit 7'?",
        "": "one of 10 classes, got ''",
    }.items():
        with pytest.raises(InputError, match=f"Expected target to be {message}"):
            named.analyze(x, target=target)


def test_the_names_of_innvestigate_mean_the_same(model, analyzer, x):
    by_mode = create_analyzer("rap", model, neuron_selection_mode="index")
    expected = analyzer.analyze(x, target=[7, 0, 9])
    np.testing.assert_array_equal(by_mode.analyze(x, [7, 0, 9]), expected)
    for selection in ([7, 0, 9], np.array([[7], [0], [9]])):
        np.testing.assert_array_equal(by_mode.analyze(x, neuron_selection=selection), expected)
    with pytest.raises(InputError, match="got none: pass a class, or one per sample"):
        by_mode.analyze(x)
    with pytest.raises(InputError, match="which mean the same, got both, 1 and 2"):
        analyzer.analyze(x, target=1, neuron_selection=2)
    every = create_analyzer("rap", model, neuron_selection_mode="all")
    np.testing.assert_array_equal(every.analyze(x), analyzer.analyze(x, target="all"))
    np.testing.assert_array_equal(every.analyze(x, 3), analyzer.analyze(x, 3))


def test_against_takes_the_values_of_contrast(model, analyzer, x):
    for contrast in ("softmax", "uniform", 2, [2, 3]):
        whole = create_analyzer("rap", model, contrast=contrast)
        for call in (whole.analyze, whole.analyze_layers):
            expected, found = call(x, 7), getattr(analyzer, call.__name__)(x, 7, against=contrast)
            np.testing.assert_equal(found, expected)
    np.testing.assert_array_equal(whole.analyze(x, 7, against=2), analyzer.analyze(x, 7, against=2))
    with pytest.raises(InputError, match="other classes than the explained class to compare with"):
        analyzer.analyze(x, target=7, against=7)
    with pytest.raises(InputError, match="'smoothgrad', which has no contrast, got 2"):
        create_analyzer("smoothgrad", model).analyze(x, target=7, against=2)


def test_both_classes_of_one_sigmoid_are_its_largest():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(inputs))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    analyzer = create_analyzer("rap", model)
    found = analyzer.explain(x, target=TopK(2))
    positive = model.predict(x, verbose=0)[:, 0] > 0.5
    assert 0 < positive.sum() < 5
    np.testing.assert_array_equal(found.neurons[:, 0], positive)
    for k in (0, 1):
        expected = analyzer.analyze(x, target=found.neurons[:, k])
        np.testing.assert_array_equal(found.relevance[:, k], expected)


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion", "random", "grad_cam"])
def test_every_family_takes_k_classes(method, model, x):
    options = {"steps": 4} if method == "integrated_gradients" else {}
    options |= {"seed": 0} if method == "random" else {}
    options |= {"window": 6} if method == "occlusion" else {}
    analyzer = create_analyzer(method, model, **options)
    both = analyzer.analyze(x, target=[[7, 1]] * 3)
    for k, target in enumerate((7, 1)):
        np.testing.assert_allclose(both[:, k], analyzer.analyze(x, target=target), atol=1e-6)


def test_top_k_is_a_whole_number():
    for k in (0, -1, 1.5, "two"):
        with pytest.raises(InputError, match="Expected k to be an integer of at least 1"):
            rap_keras.TopK(k)


MASK = np.arange(10) % 4 == 1


@pytest.mark.parametrize(
    "target", [[7, 0, 9], (7, 0), [[7, 1]] * 3, ROWS, [(7,), (0,)], np.stack([MASK] * 3)]
)
def test_targets_of_each_sample_of_a_dataset_are_refused(target, analyzer, x):
    data = batched(np.concatenate([x, x]), 3)
    with pytest.raises(InputError, match="Expected one target for all samples"):
        analyzer.analyze(data, target)


@pytest.mark.parametrize(
    "target",
    [7, [7], np.array([7]), ROWS[:1], TopK(2), "all", MASK, MASK.tolist(), np.s_[1::4], None],
)
def test_one_target_of_a_dataset_is_the_target_of_all_samples(target, analyzer, x):
    data = batched(x, 2)
    found = list(analyzer.analyze(data, target))
    assert_same(np.concatenate(found), analyzer.analyze(x, target))
