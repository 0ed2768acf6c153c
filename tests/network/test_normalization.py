"""Normalizations by the statistics of each sample, as affine maps with frozen statistics."""

import keras
import numpy as np
import pytest
from helpers.layer_cases import close
from helpers.networks import biased
from helpers.tensors import array, tensor

from rap_keras import create_analyzer
from rap_keras.network.linear import stages
from rap_keras.network.normalization import affine_of_sample

L = keras.layers
SHAPE = (3, 5, 4)
LAYERS = {
    "layer": lambda: L.LayerNormalization(dtype="float64"),
    "layer of two axes": lambda: L.LayerNormalization(axis=[1, 3], dtype="float64"),
    "layer without scale": lambda: L.LayerNormalization(scale=False, center=False, dtype="float64"),
    "group": lambda: L.GroupNormalization(2, dtype="float64"),
    "group of the second axis": lambda: L.GroupNormalization(3, axis=1, dtype="float64"),
    "group of one": lambda: L.GroupNormalization(-1, center=False, scale=False, dtype="float64"),
    "unit": lambda: L.UnitNormalization(dtype="float64"),
    "root mean square": lambda: L.RMSNormalization(dtype="float64"),
}
if not hasattr(L, "RMSNormalization"):
    del LAYERS["root mean square"]


@pytest.fixture(params=LAYERS)
def layer(request, rng):
    layer = LAYERS[request.param]()
    layer.build((None, *SHAPE))
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
    return layer


def test_the_map_is_the_layer(layer, rng):
    x = rng.normal(2, 3, (2, *SHAPE))
    scale, shift = (array(t) for t in affine_of_sample(layer, tensor(x)))
    close(scale * x + shift, array(layer(x)))
    (stage,) = stages(layer, tensor(x))
    close(array(stage.output), array(layer(x)))


def test_its_derivative_is_that_of_the_frozen_map(layer, rng):
    """Finite differences of the map whose statistics stay those of x."""
    x, r, step = rng.normal(2, 3, (1, *SHAPE)), rng.normal(size=(1, *SHAPE)), 1e-6
    scale, shift = (array(t) for t in affine_of_sample(layer, tensor(x)))
    expected = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        moved = x.copy()
        moved[index] += step
        expected[index] = (r * (scale * moved + shift - array(layer(x)))).sum() / step
    (stage,) = stages(layer, tensor(x))
    close(array(stage.back(tensor(r))), expected, 1e-6)


def test_relevance_stays_with_its_neuron_by_rap_and_by_the_rule_of_the_kernels_by_lrp(layer, rng):
    inputs = keras.Input(SHAPE, dtype="float64", name="x")
    x = L.Flatten(dtype="float64", name="flat")(layer(inputs))
    model = biased(keras.Model(inputs, L.Dense(3, dtype="float64", name="last")(x)))
    sample = rng.normal(2, 3, (2, *SHAPE))
    maps = create_analyzer("rap", model).analyze_layers(sample)
    close(maps["x"], maps[layer.name])
    relevance = create_analyzer("lrp.z", model).analyze_layers(sample)
    at_output = relevance[layer.name]
    scale, shift = (array(t) for t in affine_of_sample(layer, tensor(sample)))
    close(relevance["x"], scale * sample * at_output / (scale * sample + shift), 1e-8)
    passed = create_analyzer("lrp.z", model, batch_norm="identity").analyze_layers(sample)
    close(passed["x"], passed[layer.name])
