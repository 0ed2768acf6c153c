"""Checks that every method must pass."""

import keras
import numpy as np
import pytest
from keras import layers

import rap_keras
from helpers.compare import assert_same
from helpers.networks import biased
from rap_keras import InputError, TopK, create_analyzer
from rap_keras.analyzers import registry
from rap_keras.patterns import fit
from rap_keras.rules import gradient

# Options that make a method cheap, or that it requires.
OPTIONS = {
    "expected_gradients": {"draws": 3},
    "integrated_gradients": {"steps": 4},
    "lrp": {"composite": rap_keras.Composite({}, default=gradient.gradient)},
    "lrp.alpha_beta": {"alpha": 1.5},
    "occlusion": {"window": 3},
    # Projected maps of all classes depend on how the target is given.
    "pattern.attribution": {"project": False},
    "pattern.net": {"project": False},
    "random": {"seed": 0},
    "rise": {"masks": 8, "score": "logit"},
    "smoothgrad": {"augment_by_n": 3},
}
# These need attention, which the model does not have.
NOT_HERE = {"attention.rollout", "generic_attention", "transformer_attribution", "legrad"}
METHODS = [m.name for m in registry.METHODS if m.name not in NOT_HERE]
NO_REGION = "a class of each sample"


def subject():
    """A classifier of tiny images, and samples."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = layers.Dense(5, activation="relu")(layers.Flatten()(x))
    model = biased(keras.Model(inputs, layers.Dense(4, activation="softmax")(x)))
    model.layers[-1].bias.assign_add(np.full(4, 9.0))  # all logits speak for their class
    return model, np.random.default_rng(0).normal(size=(3, 6, 6, 3)).astype("float32")


def made(name, model, x, **options):
    """The analyzer of a method, with the options that it requires."""
    required = dict(OPTIONS.get(name, {}))
    record = registry.read_method(name)
    if record.needs_patterns:
        required["patterns"] = fit(model, x, "linear")
    if "background" in record.option_names():
        required["background"] = x[:2]
    return create_analyzer(name, model, **required | options)


def check_analyzer(name, model, x, folder):
    """Runs all checks on a method."""
    analyzer = made(name, model, x)
    targets = np.array([2, 0, 3])
    found = analyzer.explain(x, target=targets)
    check_maps(name, found, x)
    check_batches(analyzer, found, x, targets)
    check_targets(name, analyzer, found, x, targets)
    check_refusals(analyzer, x)
    check_options(name, analyzer, found, model, x, targets, folder)


def check_maps(name, found, x):
    """Maps are finite, have the shape of the samples and explain the given classes."""
    assert found.relevance.shape == x.shape
    assert found.relevance.dtype == np.float32
    assert np.isfinite(found.relevance).all()
    assert found.relevance.any()
    np.testing.assert_array_equal(found.neurons, [2, 0, 3])
    assert found.method == name
    if not registry.read_method(name).signed(OPTIONS.get(name, {})):
        assert (found.relevance >= 0).all()


def check_batches(analyzer, found, x, targets):
    """A map does not depend on the other samples, on their number, or on earlier calls."""
    np.testing.assert_array_equal(analyzer.analyze(x, targets), found.relevance)
    assert_same(analyzer.analyze(x[:1], targets[:1]), found.relevance[:1])
    with analyzer.counting_from(1):
        later = analyzer.analyze(x[1:], targets[1:])
    if analyzer.name != "random":  # its noise depends on the call
        assert_same(later, found.relevance[1:])
    assert analyzer.analyze(x[:0]).shape == (0, *x.shape[1:])


def check_targets(name, analyzer, found, x, targets):
    """All forms of a target mean the same, and None is the largest logit."""
    rows = np.eye(4, dtype="float32")[targets]
    for target in (targets.tolist(), rows):
        np.testing.assert_array_equal(analyzer.analyze(x, target), found.relevance)
    largest = found.logits.argmax(1)
    np.testing.assert_array_equal(analyzer.explain(x).neurons, largest)
    top = analyzer.explain(x, TopK(2))
    assert top.relevance.shape == (3, 2, *x.shape[1:])
    np.testing.assert_array_equal(top.neurons[:, 0], largest)
    assert_same(top.relevance[:, 0], analyzer.analyze(x, largest))
    assert_same(analyzer.analyze(x, rows.astype(bool)), found.relevance)
    whole = analyzer.explain(x, "all")
    assert whole.neurons is None
    assert_same(analyzer.analyze(x, ...), whole.relevance)


def check_refusals(analyzer, x):
    """Errors are one sentence."""
    for target in (4, -1, 1.5, "cat", [0, 1], np.full((3, 4), 0.25)):
        with pytest.raises(InputError, match="Expected target ") as error:
            analyzer.analyze(x, target)
        assert "\n" not in str(error.value)
    for samples in (x[0], x[..., :2], "x", x * np.nan):
        with pytest.raises(InputError):
            analyzer.analyze(samples)


def check_options(name, analyzer, found, model, x, targets, folder):
    """Options recreate the analyzer, and so do saved files."""
    assert set(analyzer.options()) <= set(registry.read_method(name).option_names())
    if name == "lrp":
        with pytest.raises(InputError, match="a method that has a name to save"):
            analyzer.save(folder)
        return
    analyzer.save(folder)
    loaded = rap_keras.load_analyzer(folder)
    assert loaded.options() == analyzer.options()
    assert repr(loaded) == repr(analyzer)
    np.testing.assert_array_equal(loaded.analyze(x, targets), found.relevance)
