"""Every method passes the same checks, see `helpers.analyzers`."""

import keras
import pytest
from helpers.analyzers import METHODS, check_analyzer, subject


@pytest.fixture(scope="module")
def common():
    keras.utils.set_random_seed(0)
    return subject()


@pytest.mark.parametrize("name", METHODS)
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
