"""Whether methods differ on the same images: tests, effect sizes, ranks and agreement of metrics.

Each image counts by its separate value of a quantity, also if the quantity is pooled.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from rap_keras.benchmark.statistics import Array, Ratio, divide, mean_of_defined, rounded

FEWEST_PAIRS = 6
"""With fewer nonzero differences, the p-value of the two-sided test of ranks cannot be below 0.05."""
MOST_PERMUTED = 13
LEVEL, POWER = 0.05, 0.8
_ROUNDING = 1e-12  # smaller differences, relative to the values, are rounding errors of sums


def per_image(ratio: Ratio) -> Array:
    """The value of each image, shape (images,); NaN where it is undefined."""
    return mean_of_defined(divide(ratio.numerators, ratio.denominators))


def compared(values: Array, reference: Array) -> dict[str, float | int | None]:
    """Tests one method against the reference, by their values on each image; NaN is undefined.

    - `p_value`: of the two-sided signed-rank test (Wilcoxon 1945) without differences of 0, before
      correction.
    - `effect_size`: the matched-pairs rank-biserial correlation (Kerby 2014): the share of ranks of
      positive differences minus that of negative differences, from -1 to 1.
    - `images_needed`: the number of images that are needed to find a difference of this mean and spread
      at the 0.05 level with probability 0.8: ((z_0.975 + z_0.8) s / m)^2 by the normal approximation of
      the paired t test, divided by 3 / pi, the signed-rank test's efficiency relative to it.

    They are None if fewer than six differences are nonzero.
    """
    both = np.isfinite(values) & np.isfinite(reference)
    left, right = values[both], reference[both]
    differences, largest = left - right, np.maximum(np.abs(left), np.abs(right))
    differences[np.abs(differences) <= _ROUNDING * largest] = 0
    moved = differences[differences != 0]
    if len(moved) < FEWEST_PAIRS:
        return {"p_value": None, "effect_size": None, "images_needed": None}
    ranks = _ranks(np.abs(moved), largest[differences != 0])
    effect = float((ranks * np.sign(moved)).sum() / ranks.sum())
    return {
        "p_value": rounded(_signed_rank_p(ranks * np.sign(moved))),
        "effect_size": rounded(effect),
        "images_needed": images_needed(float(differences.mean()), float(differences.std(ddof=1))),
    }


def _signed_rank_p(signed: Array) -> float:
    """The p-value of SciPy's two-sided `wilcoxon`, from signed ranks.

    With ties, and for at most 13 values, SciPy makes the same permutation test, 40 times slower.
    """
    if len(signed) > MOST_PERMUTED or len(np.unique(np.abs(signed))) == len(signed):
        return float(stats.wilcoxon(signed).pvalue)

    def positive(ranks: Array, axis: int) -> Array:
        return np.asarray(np.maximum(ranks, 0).sum(axis=axis))

    tested = stats.permutation_test(
        (signed,), positive, permutation_type="samples", vectorized=True
    )
    return float(tested.pvalue)


def images_needed(mean: float, spread: float) -> int | None:
    """See `compared`; None if there is no difference, or only that of rounding."""
    if abs(mean) <= _ROUNDING * spread:
        return None
    z = stats.norm.ppf(1 - LEVEL / 2) + stats.norm.ppf(POWER)
    return max(FEWEST_PAIRS, int(np.ceil((z * spread / mean) ** 2 * np.pi / 3)))


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Corrects the p-values of a family of tests (Holm 1979), without those that are None."""
    known = sorted((p, name) for name, p in p_values.items() if p is not None)
    corrected: dict[str, float | None] = dict.fromkeys(p_values)
    largest = 0.0
    for k, (p, name) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - k) * p))
        corrected[name] = rounded(largest)
    return corrected


def best_method(
    estimates: Mapping[str, float | None],
    values: Mapping[str, Array],
    controls: Sequence[str],
    better: str,
) -> dict[str, Any] | None:
    """The method with the best value of a quantity, and the others that are not shown to be worse.

    A method is worse if the signed-rank test of its paired difference from the best is significant at
    the 0.05 level, and most ranks favour the best. The p-values are multiplied by the number of pairs of
    a method with another row (Bonferroni), not only of those with the best: the best is chosen on the
    same images, so every pair could have been tested.

    `estimates` are the values of the rows over all images, and `values` those on each image.

    Returns:
        `method`: the title of the best, the first of equals, but no control; `not_worse`: the methods
        that are not shown to be worse; `controls`: the controls that are not. Rows without a value are
        in neither. None if no method has a value, or no other row has one.
    """
    sign = -1 if better == "lower" else 1
    known = {title: sign * value for title, value in estimates.items() if value is not None}
    methods = [title for title in known if title not in controls]
    if not methods or len(known) < 2:
        return None
    best = max(methods, key=lambda title: known[title])
    pairs = len(methods) * (len(methods) - 1) // 2 + len(methods) * (len(known) - len(methods))

    def worse(title: str) -> bool:
        found = compared(sign * values[best], sign * values[title])
        p_value, effect = found["p_value"], found["effect_size"]
        return p_value is not None and effect is not None and p_value * pairs < LEVEL and effect > 0

    level = [title for title in known if title != best and not worse(title)]
    return {
        "method": best,
        "not_worse": [title for title in level if title not in controls],
        "controls": [title for title in level if title in controls],
    }


def mean_ranks(values: Mapping[str, Array], better: str) -> dict[str, Any] | None:
    """Ranks the methods on each image where all methods have a value; 1 is the best.

    Methods without a value on any image are left out.

    Returns:
        `methods`: the mean rank of each; `images`; `p_value` of Friedman's test; and
        `critical_difference`, by which two mean ranks must differ at the 0.05 level (Nemenyi's test, as
        in Demsar 2006). None for fewer than three methods or six images.
    """
    values = {name: found for name, found in values.items() if np.isfinite(found).any()}
    if len(values) < 3:
        return None
    table = np.array(list(values.values()))
    table = table[:, np.isfinite(table).all(axis=0)]
    methods, images = table.shape
    if images < FEWEST_PAIRS:
        return None
    ranks = ranked(table, better)
    return {
        "methods": {
            name: rounded(rank) for name, rank in zip(values, ranks.mean(axis=1), strict=True)
        },
        "images": images,
        "p_value": rounded(friedman(ranks)),
        "critical_difference": rounded(critical_difference(methods, images)),
    }


def ranked(table: Array, better: str) -> Array:
    """The ranks of the methods in each block, (methods, blocks); ties share their mean rank."""
    return _ranks(table if better == "lower" else -table, np.abs(table))


def _ranks(values: Array, largest: Array) -> Array:
    """Ranks along the first axis; values that differ only by rounding share their mean rank.

    `largest` has the sizes of the numbers that the values were computed from.
    """
    order = np.argsort(values, axis=0)
    values, largest = (np.take_along_axis(array, order, axis=0) for array in (values, largest))
    apart = np.diff(values, axis=0) > _ROUNDING * np.maximum(largest[1:], largest[:-1])
    places = np.zeros(values.shape)
    np.put_along_axis(places, order[1:], np.cumsum(apart, axis=0), axis=0)
    return stats.rankdata(places, axis=0)


def friedman(ranks: Array) -> float:
    """The p-value of Friedman's test that all methods rank equally, from (methods, blocks)."""
    # If all methods are equal in each block, there is nothing to test.
    return 1.0 if (ranks == ranks[0]).all() else float(stats.friedmanchisquare(*ranks).pvalue)


def critical_difference(methods: int, blocks: int) -> float:
    """By how much two mean ranks must differ at the 0.05 level: q sqrt(k (k + 1) / 6 N).

    Nemenyi's test in Demsar 2006, sec. 3.2.2, for k methods and N blocks; q is the quantile of the
    studentized range divided by the square root of 2.
    """
    q = stats.studentized_range.ppf(1 - LEVEL, methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * blocks)))


def agreement(
    values: Mapping[str, Sequence[float | None]], better: Mapping[str, str]
) -> dict[str, dict[str, float | None]]:
    """How similarly two metrics order the methods: Kendall's tau-b (1945), 1 for the same order.

    A square table; None where fewer than three methods have both values, or all values are equal.
    """
    turned = {
        name: np.array(given, np.float64) * (-1 if better[name] == "lower" else 1)
        for name, given in values.items()
    }
    table: dict[str, dict[str, float | None]] = {}
    for name, left in turned.items():
        table[name] = {}
        for other, right in turned.items():
            both = np.isfinite(left) & np.isfinite(right)
            tau = np.nan
            if np.count_nonzero(both) >= 3:
                tau = stats.kendalltau(left[both], right[both]).statistic
            table[name][other] = rounded(tau)
    return table
