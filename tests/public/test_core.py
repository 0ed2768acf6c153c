"""The chosen tests exist, and the others are not run by default."""

import re
from types import SimpleNamespace

import pytest
from helpers.core import CORE, ROOT
from helpers.thinned import ABSENT, is_whole, mark_slow_cases


@pytest.mark.parametrize("file", CORE)
def test_the_names_of_chosen_tests_are_known(file, request):
    """Of their functions, and of their cases where all tests of the file are run."""
    text = (ROOT / file).read_text("utf-8")
    functions = set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))
    assert unknown(functions, {name.partition("[")[0] for name in CORE[file]}) == set()
    config = request.config
    found = {item.name for item in request.session.items if item.path == ROOT / file}
    absent = {name.partition("[")[0] for name in found if name.endswith(f"{ABSENT}]")}
    chosen = [name for name in CORE[file] if name.partition("[")[0] not in absent]
    if found and not config.option.keyword and is_whole(config):
        assert unknown(found, chosen) == set()


def unknown(names, chosen):
    return {one for one in chosen if not any(name.startswith(one) for name in names)}


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
