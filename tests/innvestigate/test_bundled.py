"""The bundled classifiers compute the same with every version of Keras."""

import numpy as np
import pytest

from rap_keras.datasets import cluttered_digits, preprocess
from rap_keras.models import bundled

LOGITS = {  # of the first scene, to three digits
    "vgg": [-8.920, -8.765, -3.128, 7.205, -5.119, 11.244, -2.205, 2.510, 0.570, -1.025],
    "residual": [-6.085, -2.522, -4.255, -0.748, -4.696, 3.748, -3.670, -1.552, 0.640, -2.054],
    "convnext": [-0.138, -0.154, -0.107, -0.138, 0.011, 4.393, -0.174, 0.020, -0.156, -0.109],
}


@pytest.mark.parametrize("name", LOGITS)
@pytest.mark.quick("residual")
def test_logits_are_the_same_with_every_keras(name):
    x = preprocess(cluttered_digits(1).images)
    logits = bundled.load(name).predict(x, verbose=0)[0]
    np.testing.assert_allclose(logits, LOGITS[name], atol=1e-3)
