"""Maps depend on the parameters of the network (Adebayo et al., 2018), method by method."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)


from rap_keras import bundled
from rap_keras.datasets.cluttered_digits import cluttered_digits, preprocess
from rap_keras.models import randomised


def script():
    path = Path(__file__).parents[2] / "benchmarks" / "sanity.py"
    spec = importlib.util.spec_from_file_location("sanity_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sanity = script()
# Measured: at most 0.35 for all except these two (0.89 and 0.86), whose rules use no weights, or
# only their sizes.
LIMITS = {"lrp.flat": 0.95, "lrp.w_square": 0.95}


@pytest.fixture(scope="module")
def model():
    return bundled.load("vgg")


@pytest.fixture(scope="module")
def scenes():
    return preprocess(cluttered_digits(4, seed=1, split="test").images)


@pytest.mark.parametrize("method", sanity.methods())
@pytest.mark.quick("rap")
def test_random_parameters_give_other_maps(method, model, scenes):
    data = preprocess(cluttered_digits(16, seed=1, split="train").images)
    found = sanity.compare(method, model, scenes, ["all"], data=data)["all"]
    assert np.mean(found["|rank|"]) < LIMITS.get(method, 0.7)


def test_the_model_itself_does_not_change(model):
    before = model.get_weights()
    clone = randomised(model)
    for old, own, new in zip(before, model.get_weights(), clone.get_weights(), strict=True):
        np.testing.assert_array_equal(own, old)
        np.testing.assert_array_equal(np.sort(new, None), np.sort(old, None))
        assert not np.array_equal(new, old)


@pytest.mark.parametrize("name", ["vgg", "residual"])
@pytest.mark.quick("vgg")
def test_the_cases_change_the_last_layers(name):
    model = bundled.load(name)
    layers = [layer.name for layer in model.layers if layer.weights]
    for case, count in [("logits", 1), ("half", (len(layers) + 1) // 2), ("all", len(layers))]:
        clone = randomised(model, case)
        changed = [
            layer
            for layer in layers
            if not np.array_equal(
                model.get_layer(layer).get_weights()[0], clone.get_layer(layer).get_weights()[0]
            )
        ]
        assert changed == layers[-count:]


def test_equal_and_constant_maps():
    maps = np.random.default_rng(0).normal(size=(2, 5, 5))
    assert np.allclose(sanity.similarities(maps, maps)["linear"], 1)
    assert np.allclose(sanity.similarities(maps, -maps)["rank"], -1)
    assert np.allclose(sanity.similarities(maps, -maps)["|rank|"], 1)
    assert sanity.similarities(maps, 0 * maps)["rank"] == [0, 0]
