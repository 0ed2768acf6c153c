"""Packages whose parts are loaded when they are first used."""

import importlib
from collections.abc import Callable, Collection, Mapping


def lazy(
    package: str, homes: Mapping[str, str], modules: Collection[str] = ()
) -> Callable[[str], object]:
    """The `__getattr__` of a package.

    Args:
        package: Its name.
        homes: Where its names are: name => module, relative to the package.
        modules: Modules of the package that are its names, too.
    """

    def load(name: str) -> object:
        if name in homes:
            return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load
