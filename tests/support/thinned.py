"""Parameters that run by default, and those that run under `slow` alone."""

import pytest


def slow_unless(condition, parameters):
    """Parameters, of which those that do not meet the condition run under `slow` alone."""
    found = []
    for p in parameters:
        p = p if isinstance(p, type(pytest.param())) else pytest.param(p)
        marks = p.marks if condition(p) else (*p.marks, pytest.mark.slow)
        found.append(pytest.param(*p.values, id=p.id, marks=marks))
    return found


def pairwise_or_slow(first, second):
    """All pairs, of which each value stands in at least one that runs by default."""
    whole = [(a, b) for a in range(len(first)) for b in range(len(second))]
    return [
        pytest.param(
            first[a], second[b], marks=() if is_quick(a, b, first, second) else pytest.mark.slow
        )
        for a, b in whole
    ]


def is_quick(a, b, first, second):
    """Whether a pair is one of the diagonal that goes round the shorter of the two."""
    return a % len(second) == b if len(first) >= len(second) else b % len(first) == a
