"""Reads options: checks them and converts them to plain Python numbers."""

import inspect
import math
import operator
from typing import Any

import numpy as np

from rap_keras.errors import InputError
from rap_keras.support.text import did_you_mean, shown


def read_integer(option: str, value: Any, least: int) -> int:
    """Reads an integer of at least `least`."""
    try:
        number = None if _is_boolean(value) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise InputError(
            f"Expected {option} to be an integer of at least {least}, got {shown(value)}.", option
        )
    return number


def read_number(option: str, value: Any, least: float) -> float:
    """Reads a finite number of at least `least`."""
    try:
        number = math.nan if _is_boolean(value) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and least <= number):
        limit = "" if least == -math.inf else f" >= {least:g}"
        raise InputError(f"Expected a finite {option}{limit}, got {shown(value)}.", option)
    return number


def read_numbers(option: str, text: str | None) -> list[float] | None:
    """Reads a text with one number, or three separated by commas; None stays None."""
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise InputError(
            f"Expected {option} to be one number or R,G,B, got {text!r}.", option
        ) from None


def read_boolean(option: str, value: Any) -> bool:
    """Reads True or False."""
    if not _is_boolean(value):
        raise InputError(f"Expected {option} to be True or False, got {shown(value)}.", option)
    return bool(value)


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def choose(option: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises an error if a value is not one of an option's choices."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(map(repr, choices))
        hint = did_you_mean(str(value), choices)
        raise InputError(
            f"Expected {option} to be one of {listed}, got {shown(value)}"
            + (f": {hint}" if hint else "."),
            option,
        )


def as_json(value: Any) -> Any:
    """Returns a JSON-serialisable option: arrays and tuples become lists."""
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    return np.asarray(value).tolist() if hasattr(value, "__array__") else value


def parameters_of(cls: type) -> list[str]:
    """Returns the names of the options of a class and its bases, by the signatures of `__init__`."""
    found: dict[str, None] = {}
    for base in cls.__mro__[:-1]:
        if "__init__" in vars(base):
            given = inspect.signature(vars(base)["__init__"]).parameters.values()
            several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            found |= dict.fromkeys(p.name for p in given if p.kind not in several)
    return [name for name in found if name != "self"]
