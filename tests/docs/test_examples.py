"""The examples in docstrings work, and everything in docs/api has one."""

import contextlib
import importlib
import inspect
import re

import pytest
from helpers.documents import ROOT
from helpers.examples import has_example, run_examples
from helpers.tensors import BACKEND
from helpers.thinned import slow_unless

from rap_keras.composites import composite

# These import Keras 2; tests/innvestigate/test_examples.py runs their examples.
KERAS_2 = ("rap_keras.innvestigate", "rap_keras.backends.keras2")
MODULES = [
    name
    for path in sorted((ROOT / "rap_keras").rglob("*.py"))
    if ">>> " in path.read_text("utf-8")
    and not (
        name := ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    ).startswith(KERAS_2)
]


# Other tests make most of their calls.
LONG = {
    f"rap_keras.{name}"
    for name in ("analyzers.attention", "benchmark.running", "callbacks", "concepts.explaining")
}


@pytest.fixture
def no_double():
    """JAX has single precision unless it is told otherwise, as it is in the tests."""
    if BACKEND != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.enable_x64(False)


@pytest.mark.parametrize("name", slow_unless(lambda p: p.values[0] not in LONG, MODULES))
def test_examples_of_docstrings(name, no_double, monkeypatch):
    monkeypatch.setattr(composite, "_registered", {})
    with no_double:
        results = run_examples(name)
    assert results.attempted
    assert not results.failed


def _named(name):
    """What a dotted name means."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _documented(text):
    """The functions and classes that a page of docs/api shows, by name."""
    package = ""
    for kind, name, options in re.findall(
        r"^\.\. (?:py:)?(\w+):: (\S+)\n((?: +:.*\n)*)", text, re.MULTILINE
    ):
        if kind == "currentmodule":
            package = name + "."
        elif kind in ("autofunction", "autoclass"):
            full = name if name.startswith("rap_keras.") else package + name
            yield full, _named(full)
        elif kind == "automodule":
            package = name + "."
            listed = re.search(r":members:(.*)", options)
            module = importlib.import_module(name) if listed else None
            names = listed[1].replace(",", " ").split() if listed else []
            if listed and not names:
                names = [
                    key
                    for key, value in vars(module).items()
                    if not key.startswith("_")
                    and inspect.getmodule(value) is module
                    and callable(value)
                ]
            yield from ((f"{name}.{key}", getattr(module, key)) for key in names)


def _without_example(pairs):
    kinds = ((name, value) for name, value in pairs if callable(value))
    errors = (name for name, value in kinds if not _is_error(value) and not has_example(value))
    return sorted(set(errors))


def _is_error(value):
    return inspect.isclass(value) and issubclass(value, Exception)


PAGES = sorted(
    path for path in (ROOT / "docs" / "api").glob("*.rst") if path.stem != "innvestigate"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_documented_function_has_an_example(page):
    shown = list(_documented(page.read_text("utf-8")))
    assert shown
    assert _without_example(shown) == []


@pytest.mark.parametrize("package", ["", ".composites", ".evaluation", ".patterns"])
def test_every_public_name_has_an_example(package):
    module = importlib.import_module(f"rap_keras{package}")
    names = [name for name in module.__all__ if not name.startswith("__")]
    assert _without_example((name, getattr(module, name)) for name in names) == []
