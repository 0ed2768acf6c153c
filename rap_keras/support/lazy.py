"""Packages whose parts are imported when they are first used."""

import importlib
from collections.abc import Callable, Collection, Mapping

from rap_keras.support.keras_backend import explained


def lazy(
    package: str, names: list[str], homes: Mapping[str, str], modules: Collection[str] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Returns the `__getattr__` and the `__dir__` of a package.

    `homes` has the module of each name in `__all__`; other names, and those in `modules`, are modules.
    """

    def load(name: str) -> object:
        with explained():
            if name in homes:
                return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
            if name in names or name in modules:
                return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load, lambda: names
