"""The examples in docstrings."""

import doctest
import importlib
import inspect

import numpy as np

import rap_keras


class Finder(doctest.DocTestFinder):
    """Finds the examples of decorated functions too."""

    def _from_module(self, module, object):
        if inspect.isfunction(object):
            return object.__module__ == module.__name__
        return super()._from_module(module, object)


def run_examples(module):
    """Runs the examples of a module: how many failed, and how many there are."""
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    given = {"rap_keras": rap_keras, "np": np}
    for test in Finder().find(importlib.import_module(module), extraglobs=given):
        runner.run(test)
    return runner.summarize(verbose=False)


def has_example(value):
    """Whether the docstring of a function, a class or one of its methods has an example."""
    members = vars(value).values() if inspect.isclass(value) else ()
    return any(">>> " in (inspect.getdoc(one) or "") for one in (value, *members))
