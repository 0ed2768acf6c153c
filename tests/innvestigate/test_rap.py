"""The plugin against the authors' released code, the paper read literally, and the native backend."""

import functools

import numpy as np
import pytest
from helpers.keras2 import k2
from helpers.official import FILES, expected_by_tensor
from helpers.shared_data import arch_model, load
from helpers.thinned import slow_unless

from rap_keras import innvestigate as plugin

# All networks in float64, the first of each kind in float32 too.
CASES = [pytest.param(*p.values, "float64", id=f"float64-{p.id}") for p in FILES]
CASES += [
    pytest.param(*p.values, "float32", id=f"float32-{p.id}") for p in FILES if p.id.endswith("_s0")
]
# By default the first of most kinds in float64, and one in float32.
CASES = slow_unless(
    lambda p: (
        p.id.endswith("_s0") and ("64" in p.id) != ("vgg_bn" in p.id) and "bottleneck" not in p.id
    ),
    CASES,
)


@pytest.fixture(autouse=True)
def _floatx():
    yield
    k2.backend.set_floatx("float32")


@functools.lru_cache(None)
def build(file, dtype):
    """The fixture and its network; iNNvestigate's own layers take the dtype that Keras has."""
    if file is None:
        pytest.skip("there are no fixtures")
    k2.backend.set_floatx(dtype)
    data = load(file)
    with plugin.new_graph():
        return data, arch_model(data, dtype, k2)


@pytest.mark.parametrize(("file", "dtype"), CASES)
@pytest.mark.quick(
    "float64-concat_s0", "float64-gray_signed_s0", "float64-mlp_signed_s0", "float64-vgg_bn_s0"
)
def test_released_variant_equals_the_released_code_at_every_layer(file, dtype):
    data, model = build(file, dtype)
    k2.backend.set_floatx(dtype)
    expected, is_residual = expected_by_tensor(data)
    analyzer = plugin.create_analyzer(
        "rap", model, variant="released", neuron_selection_mode="index"
    )
    maps = analyzer.analyze_layers(data["x"], data["class_index"])
    tolerance = 1e-9 if dtype == "float64" else 2e-2 if is_residual else 1e-5
    for name, reference in expected.items():
        scale = abs(reference).max()
        np.testing.assert_allclose(
            maps[name], reference, rtol=0, atol=tolerance * scale, err_msg=name
        )


@pytest.mark.parametrize(("file", "dtype"), CASES)
@pytest.mark.quick(
    "float64-concat_s0", "float64-gray_signed_s0", "float64-mlp_signed_s0", "float64-strided_s0"
)
def test_default_equals_the_paper_read_literally(file, dtype):
    data, model = build(file, dtype)
    k2.backend.set_floatx(dtype)
    _, is_residual = expected_by_tensor(data)
    if is_residual:
        pytest.skip("the paper is silent about sums, and the literal program shares them otherwise")
    rule = "box" if data["x"].shape[-1] == 3 else "inner"  # as in test_official.py
    analyzer = plugin.create_analyzer("rap", model, neuron_selection_mode="index", input_rule=rule)
    maps = analyzer.analyze(data["x"], data["class_index"])
    reference = data["own_paper64/input"]
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(maps, reference, rtol=0, atol=tolerance * abs(reference).max())
