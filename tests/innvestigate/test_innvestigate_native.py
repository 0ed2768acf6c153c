"""The plugin and the native backend give the same maps."""

import keras
import numpy as np
import pytest

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)

from keras2 import k2
from networks import plain, residual
from real_networks import NETWORKS, photographs
from shared_data import needs_shared, shared_models
from thinned import slow_unless

import rap_keras
from rap_keras import innvestigate as plugin

OPTIONS = [
    {},
    {"variant": "released"},
    {"add": "positive"},
    {"add": "signed"},
    {"input_rule": "inner"},
    {"bounds": (-5, [5, 5, 6])},
    {"neuron_selection_mode": "all"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("build", [plain, residual])
def test_small_networks_at_every_layer(build, options, rng):
    x = rng.normal(size=(3, 12, 12, 3)).astype("float32")
    model = build()
    expected = rap_keras.create_analyzer("rap", model, **options).analyze_layers(x)
    rebuilt = plugin.from_keras3(model)
    found = plugin.create_analyzer("rap", rebuilt, **options).analyze_layers(x)
    assert list(found) == list(expected)
    for name, reference in expected.items():
        scale = abs(reference).max()
        np.testing.assert_allclose(found[name], reference, rtol=0, atol=1e-4 * scale, err_msg=name)


@pytest.mark.parametrize(
    "method",
    ["lrp.alpha_1_beta_0_IB", "lrp.alpha_2_beta_1_IB", "lrp.alpha_2_beta_1", "lrp.epsilon"],
)
def test_separable_convolutions_as_innvestigate_has_them(method, rng):
    x = rng.normal(size=(3, 8, 8, 3)).astype("float32")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.SeparableConv2D(5, 3, activation="relu", bias_initializer="random_normal"),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )
    analyzer = rap_keras.create_analyzer(method, model, innvestigate_compat=True)
    with plugin.fast_building():
        expected = plugin.create_analyzer(method, plugin.from_keras3(model)).analyze(x)
    found = analyzer.analyze(x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * abs(expected).max())


@needs_shared
@pytest.mark.parametrize(
    "name", slow_unless(lambda p: p.values[0] in ("squeezenet", "resnet18_trunk"), NETWORKS)
)
def test_real_networks(name):
    size, preprocess = NETWORKS[name]
    x = np.asarray(preprocess(photographs(size, count=2)[0]), "float32")
    builder = getattr(shared_models(), name)
    expected = rap_keras.create_analyzer("rap", builder()).analyze(x)
    with plugin.new_graph():
        model = builder(k2)
    found = plugin.create_analyzer("rap", model).analyze(x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * abs(expected).max())
