"""Every method passes the same checks, see `helpers.analyzers`."""

import keras
import pytest
from helpers.analyzers import METHODS, check_analyzer, subject
from helpers.thinned import slow_unless

# One of each family.
QUICK = {
    *("rap", "gradient", "integrated_gradients", "smoothgrad", "expected_gradients"),
    *("pattern.net", "grad_cam", "deep_lift", "occlusion", "rise", "score_cam", "random"),
    *("lrp", "lrp.epsilon", "lrp.alpha_beta", "deep_taylor"),
}


@pytest.fixture(scope="module")
def common():
    keras.utils.set_random_seed(0)
    return subject()


@pytest.mark.parametrize("name", slow_unless(lambda p: p.values[0] in QUICK, METHODS))
@pytest.mark.quick(
    "rap",
    "gradient",
    "smoothgrad",
    "pattern.net",
    "deep_lift",
    "occlusion",
    "rise",
    "lrp.alpha_beta",
)
def test_every_method(name, common, tmp_path):
    check_analyzer(name, *common, tmp_path)
