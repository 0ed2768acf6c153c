"""Copies of analyzers, also by pickle."""

import functools
from collections.abc import Callable
from typing import Any


class CopiedAnalyzer:
    """The part of an analyzer that copies it: it is created again of its arguments or their copies.

    What is compiled belongs to one model.
    """

    _made_of: tuple[tuple[Any, ...], dict[str, Any]]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            setattr(cls, "__init__", _keeping_arguments(vars(cls)["__init__"]))  # noqa: B010

    def __reduce__(self) -> Any:
        return _created, (type(self), *self._made_of)


def _keeping_arguments(initialise: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(initialise)
    def initialised(self: Any, *args: Any, **options: Any) -> None:
        vars(self).setdefault("_made_of", (args, options))  # those of the class, not of its bases
        initialise(self, *args, **options)

    return initialised


def _created(cls: type[Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return cls(*args, **options)
