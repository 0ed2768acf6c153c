"""Random networks are explained as the documents say, or refused; nothing else happens to them."""

import json

import keras
import numpy as np
import pytest
from helpers.tensors import array, slopes

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)

from helpers.compare import FLOAT32, FLOAT64
from helpers.layer_cases import unoptimized_graphs  # noqa: F401
from helpers.random_networks import random_network

from rap_keras import InputError, UnknownLayerError, create_analyzer

QUICK = {1, 2, 3}
MANY = 300


def state(model):
    """All of a model that could change."""
    return {
        "weights": [keras.ops.convert_to_numpy(w).copy() for w in model.weights],
        "config": json.dumps(model.get_config(), sort_keys=True, default=str),
        "nodes": [len(op._inbound_nodes) for op in model.operations],
        "losses": len(model.losses),
    }


def tolerance(model):
    """The largest difference between two computations of a value, as a share of the largest value."""
    names = {op.dtype_policy.name for op in model.operations if hasattr(op, "dtype_policy")}
    if names == {"float64"}:
        return FLOAT64
    return 10 * FLOAT32


def is_half(model):
    types = {getattr(op, "compute_dtype", "float32") for op in model._flatten_layers()}
    return bool(types & {"float16", "bfloat16"})


def assert_near(found, expected, limit, message):
    for a, b in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        assert a.shape == b.shape, message
        size = max(abs(b).max(), abs(a).max(), 1e-30)
        assert abs(a - b).max() <= limit * size, f"{message}: {abs(a - b).max() / size:.2g}"


def single(x, k):
    return keras.tree.map_structure(lambda a: a[k : k + 1], x)


def check_maps(network, method):
    """One method's maps are finite, and the same in any batch."""
    analyzer = create_analyzer(method, network.model)
    maps = analyzer.analyze(network.x)
    limit = tolerance(network.model)
    assert all(np.isfinite(m).all() for m in keras.tree.flatten(maps))
    samples = len(keras.tree.flatten(network.x)[0])
    alone = [analyzer.analyze(single(network.x, k)) for k in range(samples)]
    for k in range(samples):
        assert_near(alone[k], single(maps, k), limit, f"{method}: alone and in a batch")
    in_twos = create_analyzer(method, network.model, batch_size=2).analyze(network.x)
    assert_near(in_twos, maps, limit, f"{method}: batch_size=2")
    return analyzer, maps


def check_conservation(network, analyzer, maps):
    found = sum(m.reshape(len(m), -1).sum(1, dtype="float64") for m in keras.tree.flatten(maps))
    size = sum(abs(m).reshape(len(m), -1).sum(1, dtype="float64") for m in keras.tree.flatten(maps))
    logit = array(network.logits(network.x, training=False)).astype("float64").max(1)
    limit = 5e-2 if is_half(network.model) else 1e-5
    error = abs(found - logit) / np.maximum(size, abs(logit))
    assert (error <= limit).all(), f"sum {found}, logit {logit}, error {error}"


def check_gradient(network, maps):
    integers = any(x.dtype.kind in "iu" for x in keras.tree.flatten(network.x))
    if is_half(network.model) or integers:  # tests/analyzers/test_tokens.py checks those of tokens
        return

    def largest(*parts):
        x = keras.tree.pack_sequence_as(network.x, parts)
        return keras.ops.max(network.logits(x, training=False), 1)

    expected = slopes(largest, keras.tree.flatten(network.x))
    assert_near(keras.tree.flatten(maps), expected, 1e-3, "gradient")


def check(network):
    """Raises an AssertionError where a property does not hold; returns the methods refused."""
    network.logits(network.x, training=False)  # Keras keeps the losses of the last call
    before, refused = state(network.model), []
    for method in ("rap", "gradient", "lrp.alpha_1_beta_0"):
        try:
            analyzer, maps = check_maps(network, method)
        except (InputError, UnknownLayerError):
            refused.append(method)
            continue
        if method == "rap":
            check_conservation(network, analyzer, maps)
        if method == "gradient":
            check_gradient(network, maps)
    after = state(network.model)
    for key, value in before.items():
        np.testing.assert_equal(after[key], value, err_msg=key)
    return refused


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")  # as chance has it
@pytest.mark.programs
@pytest.mark.parametrize("number", sorted(QUICK))
@pytest.mark.usefixtures("unoptimized_graphs")
@pytest.mark.quick("2", "3")
def test_random_networks_are_explained_or_refused(number):
    network = random_network(number)
    print(network)
    check(network)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
@pytest.mark.parametrize("number", sorted({*range(MANY)} - QUICK))
@pytest.mark.usefixtures("unoptimized_graphs")
def test_many_random_networks_are_explained_or_refused(number):
    test_random_networks_are_explained_or_refused(number)
