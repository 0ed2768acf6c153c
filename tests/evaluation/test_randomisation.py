import math

import numpy as np
import pytest
from helpers.scores import QUANTUS_MAP
from scipy.stats import rankdata

from rap_keras.errors import InputError
from rap_keras.evaluation import (
    entropy_rise,
    map_entropy,
    randomisation_similarity,
    smoothed_map,
)

RNG = np.random.default_rng(0)
MAP, OTHERS = RNG.normal(size=(6, 7)), RNG.normal(size=(3, 6, 7))


def slow_entropy(values, bins):
    low, high = values.min(), values.max()
    counts = [0] * bins
    for value in values.flat:
        counts[min(int((value - low) / (high - low) * bins), bins - 1)] += 1
    shares = [count / values.size for count in counts if count]
    return -sum(share * math.log(share) for share in shares)


def test_similarity_is_the_correlation_of_the_ranks_of_sizes():
    found = randomisation_similarity(MAP, OTHERS)
    ranks = rankdata(np.abs(MAP))
    expected = [np.corrcoef(ranks, rankdata(np.abs(other)))[0, 1] for other in OTHERS]
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(randomisation_similarity(MAP, [-MAP]), [1])
    assert np.isnan(randomisation_similarity(MAP, [0 * MAP]))


def test_entropy_equals_plain_loops():
    for bins in (1, 8, 100):
        assert map_entropy(MAP, bins) == pytest.approx(slow_entropy(MAP, bins))
    large = RNG.normal(size=(50, 60))
    assert map_entropy(large) == map_entropy(large, 100) != map_entropy(large, 99)
    assert map_entropy(4 * MAP) == map_entropy(MAP)
    assert map_entropy(np.ones((3, 3))) == 0
    # The spread cannot be divided into bins, or overflows.
    for two in ([1, np.nextafter(1, 2)], [0, 5e-324], [-1.7e308, 1.7e308]):
        assert map_entropy([two]) == pytest.approx(np.log(2))


def test_entropy_equals_quantus():
    # quantus.functions.complexity_func.discrete_entropy of Quantus 0.6.0, n_bins=8.
    assert map_entropy(QUANTUS_MAP, 8) == pytest.approx(1.7663076750323725, abs=1e-12)


def test_the_increase_of_entropy_is_relative():
    sharp = np.zeros((6, 7))
    sharp[2, 3:5] = 1
    before, after = slow_entropy(sharp, 10), slow_entropy(MAP, 10)
    assert entropy_rise(sharp, MAP, 10) == pytest.approx(after / before - 1)
    assert entropy_rise(MAP, sharp, 10) == pytest.approx(before / after - 1)
    large = RNG.normal(size=(50, 60))
    assert entropy_rise(large, MAP) == entropy_rise(large, MAP, 100)
    assert entropy_rise(large, MAP) != entropy_rise(large, MAP, 99)
    assert math.isnan(entropy_rise(np.ones((2, 2)), MAP))


def test_smoothed_map_is_the_mean_over_noisy_inputs():
    x, seen = RNG.normal(size=(4, 5, 2)), []

    def explain(inputs):
        seen.append(inputs)
        return (inputs**2).sum(-1)

    found = smoothed_map(explain, x, 0.25, 60, seed=3, batch_size=25)
    assert [len(inputs) for inputs in seen] == [25, 25, 10]
    whole = np.concatenate(seen)
    assert whole.shape == (60, 4, 5, 2)
    assert whole.dtype == np.float32
    assert (whole - x).std() == pytest.approx(0.25, rel=0.05)
    assert abs((whole - x).mean()) < 0.02
    expected = sum((inputs.astype(float) ** 2).sum(-1) for inputs in whole) / 60
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(found, smoothed_map(explain, x, 0.25, 60, seed=[3]))
    assert (found != smoothed_map(explain, x, 0.25, 60, seed=4)).all()
    del seen[:]
    smoothed_map(explain, x, 0.25)
    assert [len(inputs) for inputs in seen] == [32, 18]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: randomisation_similarity(MAP, MAP), r"maps of shape \(\d+, \d+\), got \(\d+,\)"),
        (lambda: randomisation_similarity(MAP, [MAP.T]), "maps of one shape"),
        (lambda: map_entropy(MAP, 0), "bins to be an integer of at least 1"),
        (lambda: smoothed_map(lambda x: x[..., 0], MAP[..., None], -1), "finite noise >= 0"),
        (lambda: smoothed_map(lambda x: x[1:, ..., 0], MAP[..., None], 1, 3), r"\(3, 6, 7\), got"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
