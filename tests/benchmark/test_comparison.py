"""Tests and effect sizes against slow versions of their definitions, or worked out by hand."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from rap_keras.benchmark.comparison import (
    agreement,
    compared,
    holm,
    images_needed,
    mean_ranks,
    per_image,
)
from rap_keras.benchmark.statistics import Ratio


def test_a_pooled_ratio_has_a_value_on_each_image():
    ratio = Ratio(
        np.array([[3.0, 1.0, 5.0], [4.0, 0.0, 1.0]]).T,
        np.array([[6.0, 2.0, 0.0], [4.0, 0.0, 2.0]]).T,
    )
    expected = [(3 / 6 + 4 / 4) / 2, 1 / 2, 1 / 2]
    assert per_image(ratio).shape == (3,)
    np.testing.assert_allclose(per_image(ratio), expected)


def signed_rank(differences):
    """p and effect of the signed-rank test by all assignments of signs (no ties, no zeros)."""
    order = sorted(range(len(differences)), key=lambda k: abs(differences[k]))
    ranks = {k: r + 1 for r, k in enumerate(order)}
    positive = sum(ranks[k] for k, d in enumerate(differences) if d > 0)
    total = len(differences) * (len(differences) + 1) // 2
    low = min(positive, total - positive)
    as_far = 0
    for signs in itertools.product((0, 1), repeat=len(differences)):
        w = sum(r for r, sign in zip(range(1, len(differences) + 1), signs, strict=True) if sign)
        as_far += min(w, total - w) <= low
    return as_far / 2 ** len(differences), (positive - (total - positive)) / total


@pytest.mark.parametrize("seed", range(4))
def test_the_signed_rank_test_by_all_signs(seed):
    rng = np.random.default_rng(seed)
    reference = rng.uniform(size=9)
    values = reference + rng.normal(0.2, 0.5, 9)
    p_value, effect = signed_rank(values - reference)
    found = compared(values, reference)
    assert found["p_value"] == pytest.approx(p_value)
    assert found["effect_size"] == pytest.approx(effect)


@pytest.mark.parametrize("images", [7, 9, 20])
def test_ties_have_the_p_value_of_scipy(images):
    rng = np.random.default_rng(images)
    differences = rng.choice([-1.0, 1.0, 2.0], images)
    expected = stats.wilcoxon(differences).pvalue
    assert compared(differences, np.zeros(images))["p_value"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("images", [10, 40])
def test_rounding_breaks_no_ties(images):
    """Areas under curves of 0 and 1, whose steps are no binary fractions, are as good as counts."""
    rng = np.random.default_rng(images)
    steps = np.diff(np.arange(41) * 1254 / 50176)
    curves = (rng.random((3, images, 40)) < np.linspace(1, 0.1, 40)).astype(float)
    areas = dict(zip("abc", curves @ steps, strict=True))
    counts = dict(zip("abc", curves.sum(axis=2), strict=True))
    assert mean_ranks(areas, "higher") == mean_ranks(counts, "higher")
    assert compared(areas["a"], areas["b"]) == compared(counts["a"], counts["b"])


def test_undefined_values_and_equal_ones_are_left_out():
    rng = np.random.default_rng(5)
    reference = rng.uniform(size=8)
    values = reference + rng.normal(0.2, 0.5, 8)
    expected = compared(values, reference)
    # A difference by rounding is none.
    more = np.append(values, [np.nan, 0.5, 0.1 + 0.2])
    found = compared(more, np.append(reference, [0.5, np.nan, 0.3]))
    assert found["p_value"] == expected["p_value"]
    assert found["effect_size"] == expected["effect_size"]
    nothing = {"p_value": None, "effect_size": None, "images_needed": None}
    assert compared(values[:5], reference[:5]) == nothing
    assert compared(reference, reference) == nothing


def test_every_image_better_is_an_effect_of_one():
    reference = np.arange(7.0)
    assert compared(reference + 1 + reference, reference)["effect_size"] == 1
    assert compared(reference - 1 - reference, reference + 1)["effect_size"] == -1


def test_so_many_images_find_the_difference_four_times_in_five():
    """By simulation: the test is run on samples of the size that was named."""
    mean, spread = 0.35, 1.0
    needed = images_needed(mean, spread)
    assert 60 <= needed <= 75  # (1.95996 + 0.84162)^2 / 0.35^2 = 64.07, times pi / 3
    rng = np.random.default_rng(0)
    p_values = stats.wilcoxon(rng.normal(mean, spread, (2000, needed)), axis=1).pvalue
    assert np.mean(p_values < 0.05) == pytest.approx(0.8, abs=0.04)
    assert images_needed(2 * mean, spread) == math.ceil(
        (1.959964 + 0.841621) ** 2 / 0.7**2 * math.pi / 3
    )
    assert images_needed(100, 1) == 6  # fewer can show nothing
    assert images_needed(0, 1) is None
    assert images_needed(float(np.mean([0.1, 0.2, 0.3, -0.1, -0.2, -0.3])), 0.2) is None  # 2e-17


def test_holm_by_hand():
    found = holm({"a": 0.04, "b": 0.01, "c": None, "d": 0.03, "e": 0.5})
    # 4 x 0.01, 3 x 0.03, max(0.09, 2 x 0.04), max(0.09, 0.5)
    assert found == pytest.approx({"a": 0.09, "b": 0.04, "c": None, "d": 0.09, "e": 0.5})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({"a": None}) == {"a": None}


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_ranks_and_their_critical_difference(better):
    rng = np.random.default_rng(6)
    values = {name: rng.uniform(size=10) for name in "abcd"}
    values["b"][0] = values["a"][0]  # a tie
    values["c"][9] = np.nan  # not counted
    sign = 1 if better == "lower" else -1
    ranks = {name: [] for name in values}
    for k in range(9):
        for name in values:
            below = sum(sign * values[o][k] < sign * values[name][k] for o in values)
            level = sum(values[o][k] == values[name][k] for o in values)
            ranks[name].append(below + (level + 1) / 2)
    found = mean_ranks(values, better)
    assert found["images"] == 9
    for name, of_method in ranks.items():
        assert found["methods"][name] == pytest.approx(np.mean(of_method))
    # Demsar (2006), table 5: q is 2.569 for four methods at 0.05.
    assert found["critical_difference"] == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 9)), rel=1e-3)
    # Friedman's statistic with its correction for ties.
    totals = np.array([sum(of_method) for of_method in ranks.values()])
    tied = (2**3 - 2) / (9 * (4**3 - 4))
    statistic = (12 / (9 * 4 * 5) * (totals**2).sum() - 3 * 9 * 5) / (1 - tied)
    assert found["p_value"] == pytest.approx(stats.chi2.sf(statistic, 3))


def test_ranks_need_three_methods_and_six_images():
    values = {name: np.arange(6.0) for name in "abc"}
    level = mean_ranks(values, "lower")
    assert level["p_value"] == 1
    assert level["methods"] == {"a": 2, "b": 2, "c": 2}
    undefined = {"nowhere": np.full_like(values["a"], np.nan)}
    assert mean_ranks(values | undefined, "lower") == level
    two = {"a": values["a"], "b": values["b"]}
    assert mean_ranks(two, "lower") is mean_ranks(two | undefined, "lower") is None
    assert mean_ranks({name: of_method[:5] for name, of_method in values.items()}, "lower") is None


def kendall(left, right):
    """tau-b by pairs."""
    both = agreeing = only_left = only_right = 0
    for i, j in itertools.combinations(range(len(left)), 2):
        a, b = np.sign(left[i] - left[j]), np.sign(right[i] - right[j])
        agreeing += a * b
        both += a != 0 and b != 0
        only_left += a != 0
        only_right += b != 0
    return agreeing / math.sqrt(only_left * only_right)


def test_agreement_by_pairs():
    values = {
        "error": [1.0, 2.0, 2.0, 4.0, None],
        "accuracy": [0.9, 0.7, 0.8, 0.7, 0.1],
        "level": [1.0, 1.0, 1.0, 1.0, 1.0],
        "rare": [None, None, None, 1.0, 2.0],
    }
    better = {"error": "lower", "accuracy": "higher", "level": "higher", "rare": "higher"}
    found = agreement(values, better)
    expected = kendall([-1, -2, -2, -4], [0.9, 0.7, 0.8, 0.7])
    assert found["error"]["accuracy"] == pytest.approx(expected)
    assert found["accuracy"]["error"] == pytest.approx(expected)
    assert found["accuracy"]["accuracy"] == 1
    assert found["level"]["accuracy"] is None
    assert found["rare"]["rare"] is None
