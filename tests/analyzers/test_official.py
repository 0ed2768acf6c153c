"""Against the authors' released code, run on small networks, and a literal reading of the paper."""

import numpy as np
import pytest
from helpers.official import FILES, expected_by_tensor
from helpers.shared_data import arch_model, load

import rap_keras

CASES = [
    pytest.param(p.values[0], dtype, marks=p.marks, id=f"{dtype}-{p.id}")
    for dtype in ("float64", "float32")
    for p in FILES
]


@pytest.mark.parametrize(("file", "dtype"), CASES)
@pytest.mark.quick(
    "float64-concat_s0",
    "float64-gray_signed_s0",
    "float64-mlp_signed_s0",
    "float64-resnet_basic_s0",
    "float64-vgg_bn_s0",
)
def test_released_variant_equals_the_released_code_at_every_layer(file, dtype):
    data = load(file)
    expected, is_residual = expected_by_tensor(data)
    model = arch_model(data, dtype)
    analyzer = rap_keras.create_analyzer("rap", model, variant="released")
    maps = analyzer.analyze_layers(data["x"], data["class_index"])
    tolerance = 1e-9 if dtype == "float64" else 2e-2 if is_residual else 1e-5
    for name, reference in expected.items():
        scale = abs(reference).max()
        np.testing.assert_allclose(
            maps[name], reference, rtol=0, atol=tolerance * scale, err_msg=name
        )


@pytest.mark.parametrize("file", FILES)
@pytest.mark.quick("concat_s0", "gray_signed_s0", "mlp_signed_s0", "strided_s0")
def test_default_equals_the_paper_read_literally(file):
    data = load(file)
    _, is_residual = expected_by_tensor(data)
    if is_residual:
        pytest.skip("the paper is silent about sums, and the literal program shares them otherwise")
    # The literal program applies eq. 10 to images of three channels only; we apply it to all images.
    channels = data["x"].shape[-1]
    rule = "box" if channels == 3 else "inner"
    analyzer = rap_keras.create_analyzer("rap", arch_model(data, "float64"), input_rule=rule)
    maps = analyzer.analyze(data["x"], data["class_index"])
    reference = data["own_paper64/input"]
    np.testing.assert_allclose(maps, reference, rtol=0, atol=1e-9 * abs(reference).max())
