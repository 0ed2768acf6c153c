"""The same tests for every rule of kernel layers. Tests of a single rule are in a separate file."""

import keras
import numpy as np
import pytest
from helpers.kernel_rules import ALL, ONE_OF_EACH, arrays_of
from helpers.layer_cases import ALL_CASES, CASES, close, unoptimized_graphs  # noqa: F401
from helpers.tensors import array, tensor
from helpers.thinned import some_or_slow

pytestmark = pytest.mark.usefixtures("unoptimized_graphs")
one_of_each_rule = pytest.mark.parametrize("rule", ONE_OF_EACH, ids=repr)
ONE_OF_EACH_TYPE = {case.make.func: case for case in reversed(CASES)}.values()
OPTIONS = ALL[len(ONE_OF_EACH) :]
one_of_each_type = pytest.mark.parametrize("case", ONE_OF_EACH_TYPE, ids=repr)


def always(case, rule):
    """Every rule for one layer of each type, and every layer for RAP."""
    named = case.name == "conv2d_same_stride" or case in ONE_OF_EACH_TYPE
    return named or rule in ONE_OF_EACH[:4]


@pytest.mark.parametrize(("case", "rule"), some_or_slow(ALL_CASES, ONE_OF_EACH, 6, always))
def test_rule_equals_its_definition(case, rule):
    """Some in a graph, as analyzers run them."""
    arrays = arrays_of(case, rule.kinds)
    found = rule.computed(case, arrays, in_graph=case in ALL_CASES[::9])
    rule.agrees(case, arrays, found)
    # The weights > 0 of the two maps of this one do not meet.
    assert case.name == "separable2d_channels_first" or np.abs(found).max() > 1e-3
    if rule.conserves:
        close(total(found), total(arrays[1]))


def total(a):
    return a.reshape(len(a), -1).sum(1)


@pytest.mark.parametrize(("case", "rule"), some_or_slow(ALL_CASES, OPTIONS, 7))
def test_rule_with_other_options_equals_its_definition(case, rule):
    arrays = arrays_of(case, rule.kinds)
    rule.agrees(case, arrays, rule.computed(case, arrays))


@pytest.mark.parametrize(
    ("case", "rule"),
    some_or_slow(ONE_OF_EACH_TYPE, ALL, 4, lambda case, rule: rule in ONE_OF_EACH),
)
def test_nonnegative_is_only_a_shortcut(case, rule):
    arrays = arrays_of(case, ["nonnegative"])
    rule.agrees(case, arrays, rule.computed(case, arrays, nonnegative=True))


@one_of_each_rule
@one_of_each_type
def test_single_precision(case, rule):
    arrays = arrays_of(case, rule.kinds[:1], "float32")
    rule.agrees(case, arrays, rule.computed(case, arrays, "float32"), "float32")


@one_of_each_rule
@one_of_each_type
def test_a_dead_sample(case, rule):
    """A sample of zeros in a box of zeros. It does not affect the other samples."""
    arrays = arrays_of(case, rule.kinds)
    alive = rule.computed(case, arrays)
    for k in (0, 2, 3):
        arrays[k][1] = 0
    found = rule.computed(case, arrays)
    rule.agrees(case, arrays, found)
    close(found[2:], alive[2:])
    if rule.conserves:
        close(total(found), total(arrays[1]))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("exponent", [-2, 3, 20, 40])
def test_contributions_too_small_to_divide_by_give_finite_relevance(dtype, exponent):
    """From a hundredth of the smallest normal number, which is not kept exactly, upwards."""
    scale = float(np.finfo(dtype).tiny) * 10.0**exponent
    layer = keras.layers.Dense(4, use_bias=False, dtype=dtype)
    layer.build((None, 5))
    rng = np.random.default_rng(3)
    x = rng.normal(size=(6, 5)) * min(scale, 1e-3)
    arrays = [a.astype(dtype) for a in (x, rng.normal(size=(6, 4)), x, np.maximum(x, 0))]
    assert arrays[0].any()
    for rule in ALL:
        assert np.isfinite(array(rule(layer, *map(tensor, arrays)))).all(), rule
