"""Warnings that name the line of the user's code."""

import inspect
import warnings


def warn(message: str) -> None:
    """Warns about a call of this package, at the line of the user's code that makes it."""
    level, frame = 1, inspect.currentframe()
    package = __name__.partition(".")[0]
    while (frame := frame and frame.f_back) and frame.f_globals["__name__"].startswith(package):
        level += 1
    warnings.warn(message, stacklevel=level + 1)
