"""Multipliers of DeepLIFT between a sample and its reference."""

import keras
import numpy as np
from helpers.tensors import tensor

from rap_keras.rules.differences import between


def cubic(points):
    a, b = keras.ops.unstack(points[0], axis=1)
    return [keras.ops.expand_dims(a**3 - 2 * a * b**2 + 3 * b, 1)]


def test_a_cubic_function_gets_its_mean_gradient_along_the_way(rng):
    sample, reference = rng.normal(size=(2, 5, 2))
    multiplier = rng.normal(size=(5, 1))
    pairs = tensor(np.concatenate([sample, reference]))
    multipliers = [tensor(np.concatenate([multiplier, multiplier]))]
    (found,) = between(cubic, [pairs], cubic([pairs]), multipliers, to=[0], at=[0])

    t = (np.arange(2000)[:, np.newaxis] + 0.5) / 2000
    a, b = (reference[:, k] + t * (sample - reference)[:, k] for k in (0, 1))
    mean = np.stack([(3 * a**2 - 2 * b**2).mean(0), (3 - 4 * a * b).mean(0)], 1)
    np.testing.assert_allclose(found[:5], multiplier * mean, rtol=1e-5, atol=1e-6)
