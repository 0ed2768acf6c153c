"""The chosen tests exist, and the others are not run by default."""

import re
from types import SimpleNamespace

import pytest
from helpers.core import CORE, ROOT
from helpers.thinned import mark_slow_cases


@pytest.mark.parametrize("file", CORE)
def test_the_names_of_chosen_tests_are_known(file):
    known = set(re.findall(r"^def (test_\w+)", (ROOT / file).read_text("utf-8"), re.MULTILINE))
    chosen = {name.partition("[")[0] for name in CORE[file]}
    assert {name for name in chosen if not any(k.startswith(name) for k in known)} == set()


@pytest.mark.parametrize("case", ["one", "two", "three"])
@pytest.mark.quick("one", "three")
def test_cases_that_the_mark_quick_does_not_name_are_slow(case, request):
    assert (request.node.get_closest_marker("slow") is None) == (case in ("one", "three"))


def test_names_of_the_mark_quick_that_are_no_cases_are_an_error():
    mark = pytest.mark.quick("one", "two").mark
    items = [
        SimpleNamespace(
            nodeid=f"test[{case}]",
            callspec=SimpleNamespace(id=case),
            get_closest_marker=lambda name: mark,
        )
        for case in ("one", "two")
    ]
    mark_slow_cases(items, whole=True)
    mark_slow_cases(items[:1], whole=False)
    with pytest.raises(pytest.UsageError, match="'two'"):
        mark_slow_cases(items[:1], whole=True)
