"""The examples in docstrings give what they say."""

import doctest
import importlib

import numpy as np
import pytest
from helpers.documents import ROOT

import rap_keras

MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "rap_keras").rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name):
    module = importlib.import_module(name)
    given = {"rap_keras": rap_keras, "np": np}
    found = doctest.testmod(module, extraglobs=given, optionflags=doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed
