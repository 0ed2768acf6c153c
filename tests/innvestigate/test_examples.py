"""The examples in the docstrings of Keras 2 code work, and every public name has one."""

import inspect

import pytest
from helpers.examples import has_example, run_examples

from rap_keras import innvestigate as plugin

MODULES = sorted({inspect.getmodule(getattr(plugin, name)).__name__ for name in plugin.__all__})


@pytest.mark.filterwarnings("ignore")  # of Keras 2 and iNNvestigate
@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name):
    results = run_examples(name)
    assert results.attempted or name.endswith("conversion")  # needs Keras 3: skipped
    assert not results.failed


@pytest.mark.parametrize("name", plugin.__all__)
def test_every_public_name_has_an_example(name):
    assert has_example(getattr(plugin, name))
