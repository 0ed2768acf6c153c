import math

import numpy as np
import pytest

from rap_keras.errors import InputError
from rap_keras.evaluation import local_lipschitz, max_sensitivity, neighbours

X = np.random.default_rng(1).normal(size=(6, 5, 2)).astype(np.float32)
HEATMAP = np.random.default_rng(2).normal(size=(6, 5))


def test_neighbours_lie_evenly_within_the_radius():
    near = neighbours(X, 0.3, 200, seed=4)
    assert near.shape == (200, 6, 5, 2)
    assert near.dtype == np.float32
    changes = near.astype(float) - X
    assert np.abs(changes).max() <= 0.3 + 1e-6
    # An even distribution: its mean, its deviation, its ends.
    assert abs(changes.mean()) < 0.01
    assert changes.std() == pytest.approx(0.3 / math.sqrt(3), rel=0.03)
    assert changes.min() < -0.29
    assert changes.max() > 0.29
    np.testing.assert_array_equal(near, neighbours(X, 0.3, 200, seed=[4]))
    assert (near != neighbours(X, 0.3, 200, seed=5)).mean() > 0.99


def test_sensitivity_and_lipschitz_equal_plain_loops():
    rng = np.random.default_rng(3)
    others, near = HEATMAP + rng.normal(size=(7, 6, 5)), neighbours(X, 0.1, 7)
    largest = steepest = 0.0
    for other, x in zip(others, near, strict=True):
        change = math.sqrt(sum((a - b) ** 2 for a, b in zip(other.flat, HEATMAP.flat, strict=True)))
        way = math.sqrt(sum((float(a) - b) ** 2 for a, b in zip(x.flat, X.flat, strict=True)))
        size = math.sqrt(sum(a**2 for a in HEATMAP.flat))
        largest, steepest = max(largest, change / size), max(steepest, change / way)
    assert max_sensitivity(HEATMAP, others) == pytest.approx(largest)
    assert local_lipschitz(HEATMAP, others, X, near) == pytest.approx(steepest)


def test_sensitivity_by_hand():
    assert max_sensitivity([[3.0, 4.0]], [[[3.0, 4.0]], [[0.0, 8.0]]]) == 1
    assert math.isnan(max_sensitivity([[0.0, 0.0]], [[[3.0, 4.0]]]))
    assert (
        local_lipschitz([[3.0, 4.0]], [[[0.0, 8.0]]], [[[1.0], [0.0]]], [[[[1.0], [2.0]]]]) == 2.5
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: neighbours(X, -1, 2), "finite radius >= 0"),
        (lambda: neighbours(X, 1, 0), "samples to be an integer of at least 1"),
        (lambda: neighbours(X, 1, 2, seed=-1), "seed to be integers from 0 on"),
        (lambda: max_sensitivity(HEATMAP, [HEATMAP.T]), r"maps of shape \(6, 5\), got \(5, 6\)"),
        (lambda: local_lipschitz(HEATMAP, [HEATMAP], X, [X]), "other than the input itself"),
        (lambda: local_lipschitz(HEATMAP, [HEATMAP], X, [X, X]), "each of 1 maps, got"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
