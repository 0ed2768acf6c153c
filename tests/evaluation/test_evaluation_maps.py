import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rap_keras.errors import InputError
from rap_keras.evaluation import conservation_error, heatmap, sparsity

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


def test_the_argument_is_not_changed():
    values = np.array([[3.0, -1.0], [2.0, 0.0]])
    before = values.copy()
    sparsity(values)
    conservation_error(values, 1.0)
    heatmap(values[..., np.newaxis])
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: heatmap(np.ones((2, 2))), r"\(height, width, channels\), got shape \(2, 2\)"),
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
def test_other_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
