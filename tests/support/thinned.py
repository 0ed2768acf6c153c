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
