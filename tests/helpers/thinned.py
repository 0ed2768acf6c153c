"""Parameters that run by default, and parameters that are marked slow."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
AS_IT_IS = os.environ.get("RAP_KERAS_TESTS_PROGRAMS") == "1"  # `make test-all`: no test saves work
ABSENT = ": absent"  # how the name of the only case ends where files are absent


def is_whole(config: pytest.Config) -> bool:
    """Whether a run has all cases of each of its tests."""
    return not any("::" in arg for arg in config.args)


def folder_of(item: pytest.Item) -> str:
    """The folder of a test among all tests; empty for one that lies elsewhere."""
    return item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""


def mark_slow_cases(items: Sequence[pytest.Item], whole: bool) -> None:
    """Marks the cases of a test slow that its mark `quick` does not name.

    `whole`: all cases of each test are among the items, so each name must be that of a case.
    """
    names: dict[str, set[str]] = {}
    for item in items:
        mark = item.get_closest_marker("quick")
        if mark is not None and not item.callspec.id.endswith(ABSENT):
            case = item.callspec.id
            names.setdefault(item.nodeid.partition("[")[0], set(mark.args)).discard(case)
            if case not in mark.args:
                item.add_marker(pytest.mark.slow)
    unknown = {test: left for test, left in names.items() if left}
    if whole and unknown:
        raise pytest.UsageError(f"These cases of the mark quick do not exist: {unknown}")


def slow_unless(condition, parameters):
    """Parameters. Those that do not meet the condition are marked slow."""
    found = []
    for p in parameters:
        p = p if isinstance(p, type(pytest.param())) else pytest.param(p)
        marks = p.marks if condition(p) else (*p.marks, pytest.mark.slow)
        found.append(pytest.param(*p.values, id=p.id, marks=marks))
    return found


def pairwise_or_slow(first, second):
    """All pairs. Each value is in at least one pair that runs by default; the other pairs are slow."""
    found = []
    for a, one in enumerate(first):
        for b, other in enumerate(second):
            quick = a % len(second) == b or b % len(first) == a  # a diagonal round the shorter
            found.append(pytest.param(one, other, marks=() if quick else pytest.mark.slow))
    return found


def some_or_slow(first, second, one_in, always=lambda one, other: False):
    """All pairs. One pair in so many runs by default, spread evenly over both, and those of `always`."""
    return [
        pytest.param(
            one,
            other,
            id=f"{one!r}-{other!r}",
            marks=() if (a + b) % one_in == 0 or always(one, other) else pytest.mark.slow,
        )
        for a, one in enumerate(first)
        for b, other in enumerate(second)
    ]
