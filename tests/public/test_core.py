"""The chosen tests exist."""

import re

import pytest
from helpers.core import CORE, ROOT


@pytest.mark.parametrize("file", CORE)
def test_the_names_of_chosen_tests_are_known(file):
    known = set(re.findall(r"^def (test_\w+)", (ROOT / file).read_text("utf-8"), re.MULTILINE))
    chosen = {name.partition("[")[0] for name in CORE[file]}
    assert {name for name in chosen if not any(k.startswith(name) for k in known)} == set()
