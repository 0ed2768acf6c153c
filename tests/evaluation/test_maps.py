import math

import numpy as np
import pytest
from helpers.scores import QUANTUS_MAP
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rap_keras.errors import InputError
from rap_keras.evaluation import (
    completeness_error,
    complexity,
    conservation_error,
    effective_pixels,
    heatmap,
    sparsity,
)

small_maps = arrays.arrays(
    np.float64,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=5),
    elements=st.integers(-8, 8).map(lambda n: n / 4),
)


def slow_gini(values):
    """Half the mean difference of all pairs, relative to the mean."""
    sizes = [abs(float(v)) for v in np.ravel(values)]
    differences = sum(abs(a - b) for a in sizes for b in sizes)
    return differences / (2 * len(sizes) * sum(sizes)) if any(sizes) else 0.0


def test_heatmap_sums_the_channels_in_float64():
    relevance = np.array([[[1, 2, -4]], [[1e8, 1, -1e8]]], np.float32)
    result = heatmap(relevance)
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, [[-1], [1]])
    # In float32 the 1 would be lost.
    assert relevance[1, 0].sum(dtype=np.float32) == 0


def test_conservation_error_by_hand():
    relevance = np.array([[[1.0, 2.0], [3.0, -1.0]]], np.float32)
    assert conservation_error(relevance, 5.0) == 0
    assert conservation_error(relevance, 4) == 0.25
    assert conservation_error(relevance, np.float32(-5)) == 2
    assert conservation_error(relevance.ravel(), 4) == 0.25


def test_conservation_error_at_a_logit_of_zero():
    assert conservation_error([1.0, -1.0], 0.0) == 0
    assert conservation_error([1.0, -0.5], 0.0) == math.inf


def test_sparsity_by_hand():
    assert sparsity([[1.0, 1.0], [-1.0, 1.0]]) == 0
    assert sparsity([[0.0, 0.0], [-3.0, 0.0]]) == 0.75
    # Sorted 1, 3: (-1 * 1 + 1 * 3) / (2 * 4)
    assert sparsity([[3.0, -1.0]]) == 0.25
    assert sparsity(np.zeros((3, 4))) == 0
    assert sparsity([[5.0]]) == 0


@settings(deadline=None)
@given(small_maps)
def test_sparsity_equals_the_slow_sum_over_pairs(values):
    assert sparsity(values) == pytest.approx(slow_gini(values), abs=1e-12)
    assert 0 <= sparsity(values) < 1


@settings(deadline=None)
@given(small_maps, st.integers(-1000, 900))
def test_sparsity_does_not_depend_on_sign_or_scale(values, exponent):
    assert sparsity(-values * 2.0**exponent) == sparsity(values)


def test_the_argument_does_not_change():
    values = np.array([[3.0, -1.0], [2.0, 0.0]])
    before = values.copy()
    sparsity(values)
    conservation_error(values, 1.0)
    heatmap(values[..., np.newaxis])
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: heatmap(np.ones((1, 2, 2, 3))), r"\(height, width, channels\), got shape \(1, 2"),
        (lambda: heatmap(np.ones((0, 2, 3))), r"got shape \(0, 2, 3\)"),
        (lambda: sparsity(np.ones((1, 2, 2))), r"\(height, width\), got shape \(1, 2, 2\)"),
        (lambda: sparsity([[1.0, math.nan]]), "got NaN or infinity"),
        (lambda: sparsity([[1.0, 2.0], [3.0]]), "of real numbers, got object"),
        (lambda: sparsity([["a"]]), "of real numbers, got <U1"),
        (lambda: sparsity([[True, False]]), "of real numbers, got bool"),
        (lambda: conservation_error([math.inf], 1.0), "a relevance map of finite numbers"),
        (lambda: conservation_error([], 1.0), "a relevance map that is not empty"),
        (lambda: conservation_error([1.0], math.nan), "the logit of finite numbers"),
        (lambda: conservation_error([1.0], [1.0]), r"the logit of shape \(\), got shape \(1,\)"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_completeness_error_by_hand():
    relevance = np.array([[[1.0, 2.0], [3.0, -1.0]]], np.float32)
    assert completeness_error(relevance, 5.0) == 0
    assert completeness_error(relevance, 7.5) == 2.5
    assert completeness_error(relevance, -1) == 6
    assert completeness_error(relevance.ravel(), 0) == 5


@settings(deadline=None)
@given(small_maps)
def test_complexity_and_effective_pixels_equal_plain_loops(values):
    sizes = [abs(float(v)) for v in values.ravel()]
    count = sum(size > 0.3 * max(sizes) for size in sizes)
    assert effective_pixels(values, 0.3) == count
    total = sum(sizes)
    if total == 0:
        assert math.isnan(complexity(values))
        assert count == 0
        return
    expected = -sum(s / total * math.log(s / total) for s in sizes if s)
    assert complexity(values) == pytest.approx(expected, abs=1e-12)
    assert complexity(-1e-300 * values) == pytest.approx(expected, abs=1e-12)


def test_complexity_and_effective_pixels_equal_quantus():
    # Quantus 0.6.0: Complexity(abs=True), EffectiveComplexity(abs=True, eps=0.2), both normalised.
    assert complexity(QUANTUS_MAP) == pytest.approx(3.29738306, abs=1e-8)
    assert effective_pixels(QUANTUS_MAP, 0.2) == 19


def test_effective_pixels_counts_those_above_a_hundredth_by_default():
    assert effective_pixels([[100.0, -1.01, 1.0, 0.99, -50.0]]) == 3
    with pytest.raises(InputError, match="finite threshold >= 0"):
        effective_pixels([[1.0]], -1)
