"""The plugin against the authors' released code, the paper read literally, and the native backend."""

import numpy as np
import pytest
from keras2 import k2
from shared_data import arch_model, load
from test_official import FILES, expected_by_tensor

from rap_keras import innvestigate as plugin


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    k2.backend.set_floatx(request.param)
    yield request.param
    k2.backend.set_floatx("float32")


def build(data, dtype):
    with plugin.new_graph():
        return arch_model(data, dtype, k2)


@pytest.mark.parametrize("file", FILES)
def test_released_variant_equals_the_released_code_at_every_layer(file, dtype):
    data = load(file)
    expected, is_residual = expected_by_tensor(data)
    analyzer = plugin.create_analyzer(
        "rap", build(data, dtype), variant="released", neuron_selection_mode="index"
    )
    maps = analyzer.analyze_layers(data["x"], data["class_index"])
    tolerance = 1e-9 if dtype == "float64" else 2e-2 if is_residual else 1e-5
    for name, reference in expected.items():
        scale = abs(reference).max()
        np.testing.assert_allclose(
            maps[name], reference, rtol=0, atol=tolerance * scale, err_msg=name
        )


@pytest.mark.parametrize("file", FILES)
def test_default_equals_the_paper_read_literally(file, dtype):
    data = load(file)
    _, is_residual = expected_by_tensor(data)
    if is_residual:
        pytest.skip("the paper is silent about sums, and the literal program shares them otherwise")
    rule = "box" if data["x"].shape[-1] == 3 else "inner"  # as in test_official.py
    analyzer = plugin.create_analyzer(
        "rap", build(data, dtype), neuron_selection_mode="index", input_rule=rule
    )
    maps = analyzer.analyze(data["x"], data["class_index"])
    reference = data["own_paper64/input"]
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(maps, reference, rtol=0, atol=tolerance * abs(reference).max())
