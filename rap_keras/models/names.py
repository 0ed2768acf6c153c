"""Names of models, without importing Keras."""

import ast
import functools
import importlib.util
from pathlib import Path
from typing import Literal, get_args

from rap_keras.errors import InputError
from rap_keras.support.text import did_you_mean

BUNDLED = "bundled:"
ALIAS = "embedded:"
HUB = "hub:"

BundledName = Literal[
    "vgg", "vgg-deletion", "residual", "residual-deletion", "convnext", "vit", "segmentation"
]


@functools.cache
def application_names() -> frozenset[str]:
    """Returns the classifiers of `keras.applications` in lower case, read from the source of Keras.

    Empty if they cannot be found there.
    """
    spec = importlib.util.find_spec("keras")
    for folder in (spec and spec.submodule_search_locations) or ():
        for inner in ("applications", "api/applications"):
            file = Path(folder, inner, "__init__.py")
            if file.is_file():
                return frozenset(name.lower() for name in _imported(file) if name[0].isupper())
    return frozenset()


def _imported(file: Path) -> list[str]:
    return [
        alias.asname or alias.name
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]


def unknown_model(spec: str) -> InputError:
    """Returns the error about an unknown model."""
    names = [*sorted(application_names()), *(f"{BUNDLED}{name}" for name in get_args(BundledName))]
    advice = did_you_mean(spec, names) or _FORMS
    if spec.endswith(".py"):
        advice = f"name the function that returns the model, {spec}:FUNCTION."
    return InputError(f"There is no model {spec!r}: {advice} (rap-keras models lists all models.)")


_FORMS = (
    "name an application (vgg16, resnet50, ...), bundled:vgg (residual, convnext, vit, ...), "
    "hub:PRESET, FILE.keras, FILE.h5 or FILE.py:function."
)


def bundled_name(spec: str) -> str | None:
    """Returns NAME of a bundled model `bundled:NAME` or `embedded:NAME`; None for other models."""
    prefix = next((prefix for prefix in (BUNDLED, ALIAS) if spec.startswith(prefix)), None)
    return None if prefix is None else spec.removeprefix(prefix)


def full_name(spec: str) -> str:
    """Returns `bundled:NAME` for `embedded:NAME`, and other models unchanged."""
    name = bundled_name(spec)
    return spec if name is None else f"{BUNDLED}{name}"


def check_bundled(name: str) -> None:
    """Raises an error if there is no bundled model of this name."""
    if name not in get_args(BundledName):
        hint = did_you_mean(name, get_args(BundledName)) or (
            f"choose one of {', '.join(get_args(BundledName))}."
        )
        raise InputError(f"There is no bundled model {name!r}: {hint}")
