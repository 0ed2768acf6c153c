"""The examples in docstrings give what they say."""

import doctest
import importlib
import inspect

import numpy as np
import pytest
from helpers.documents import ROOT

import rap_keras
from rap_keras.composites import composite

MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "rap_keras").rglob("*.py"))
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name, monkeypatch):
    monkeypatch.setattr(composite, "_registered", {})
    module = importlib.import_module(name)
    given = {"rap_keras": rap_keras, "np": np}
    found = doctest.testmod(module, extraglobs=given, optionflags=doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed


def test_every_entry_point_has_an_example():
    functions = [getattr(rap_keras, name) for name in rap_keras.__all__]
    shown = [one for one in functions if inspect.isfunction(one) and ">>> " in one.__doc__]
    assert shown == [one for one in functions if inspect.isfunction(one)]
    assert ">>> " in rap_keras.TopK.__doc__
