"""The examples in the docstrings of Keras 2 code work, and everything in docs/api has one."""

import doctest
import importlib
import inspect

import numpy as np
import pytest

import rap_keras
from rap_keras import innvestigate as plugin

MODULES = sorted({inspect.getmodule(getattr(plugin, name)).__name__ for name in plugin.__all__})


@pytest.mark.filterwarnings("ignore")  # of Keras 2 and iNNvestigate
@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name):
    module = importlib.import_module(name)
    given = {"rap_keras": rap_keras, "np": np}
    found = doctest.testmod(module, extraglobs=given, optionflags=doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("name", plugin.__all__)
def test_every_public_name_has_an_example(name):
    assert ">>> " in getattr(plugin, name).__doc__
