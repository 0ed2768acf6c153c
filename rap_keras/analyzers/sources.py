"""What the methods' source files show without an import, which would load TensorFlow."""

import ast
import functools
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
Definition = ast.ClassDef | ast.FunctionDef


def documentation(module: str, name: str) -> str:
    """The documentation of a class or a function of the package.

    Args:
        module: The full name, such as "rap_keras.analyzers.rap".
        name: The class or the function.
    """
    return ast.get_docstring(_definitions(module)[name]) or ""


def parameters(module: str, name: str) -> set[str]:
    """The parameters of a function, or of a class and its base classes.

    Args:
        module: As for `documentation`.
        name: See there.
    """
    found = _definitions(module)[name]
    if isinstance(found, ast.FunctionDef):
        return _names(found)
    named = {one.name: one for one in found.body if isinstance(one, ast.FunctionDef)}
    result = _names(named["__init__"]) if "__init__" in named else set()
    for base in found.bases:
        if isinstance(base, ast.Name):
            home = module if base.id in _definitions(module) else _imports(module).get(base.id)
            if home is not None:
                result |= parameters(home, base.id)
    return result


def _names(function: ast.FunctionDef) -> set[str]:
    told = function.args
    return {one.arg for one in (*told.posonlyargs, *told.args, *told.kwonlyargs)} - {"self"}


@functools.cache
def _tree(module: str) -> ast.Module:
    path = _PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    return ast.parse(path.read_text("utf-8"))


def _definitions(module: str) -> dict[str, Definition]:
    return {one.name: one for one in _tree(module).body if isinstance(one, Definition)}


def _imports(module: str) -> dict[str, str]:
    """The modules of the package that a module imports names from."""
    return {
        alias.asname or alias.name: one.module
        for one in _tree(module).body
        if isinstance(one, ast.ImportFrom) and (one.module or "").startswith("rap_keras.")
        for alias in one.names
        if one.module is not None
    }
