"""Classes and outputs by name."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rap_keras.errors import InputError
from rap_keras.support.text import did_you_mean, shown

MOST_NAMES = 8  # listed in an error


def as_numbers(given: Any, labels: Sequence[str] | None, argument: str = "target") -> Any:
    """Replaces names of classes by numbers, also in lists. Returns anything else unchanged."""
    if getattr(getattr(given, "dtype", None), "kind", "") in ("U", "O", "T"):
        given = given.tolist()  # of pandas, too
    if isinstance(given, str):
        return class_called(given, labels, argument)
    # Other tuples are regions.
    names = isinstance(given, tuple) and bool(given) and all(isinstance(p, str) for p in given)
    if isinstance(given, list) or names:
        return [as_numbers(part, labels, argument) for part in given]
    return given


def class_called(name: str, labels: Sequence[str] | None, argument: str = "target") -> int:
    """Returns the number of the class of a name. `argument` is what the name was passed to."""
    found = [k for k, label in enumerate(labels or ()) if label == name]
    if len(found) == 1:
        return found[0]
    if not labels:
        raise InputError(
            f"Expected {argument} to be a number, because the classes have no names, got {name!r}: pass "
            "the index of a class.",
            argument,
        )
    if found:
        numbers = ", ".join(map(str, found))
        raise InputError(
            f"Expected {argument} to be the name of one class, got {name!r}, which is the name of "
            f"{numbers}: pass a number.",
            argument,
        )
    hint = did_you_mean(name, labels, 1)
    listed = f" ({', '.join(labels)})" if not hint and len(labels) <= MOST_NAMES else ""
    raise InputError(
        f"Expected {argument} to be one of {len(labels)} classes{listed}, got {name!r}"
        + (f": {hint}" if hint else ": pass a name or a number."),
        argument,
    )


def read_output(output: str | int | None, names: Sequence[str]) -> int:
    """Returns the number of an output, which is given by name or number; None is the only one."""
    listed = ", ".join(map(repr, names))
    if output is None:
        if len(names) > 1:
            raise InputError(
                f"Expected output=NAME, because the model has {len(names)} outputs, got none: choose "
                f"one of {listed}, or its number.",
                "output",
            )
        return 0
    if isinstance(output, str) and output in names:
        return names.index(output)
    is_number = isinstance(output, int | np.integer) and not isinstance(output, bool)
    if is_number and 0 <= int(output) < len(names):
        return int(output)
    raise InputError(
        f"Expected output to be one of {listed}, or a number from 0 to {len(names) - 1}, got "
        f"{shown(output)}.",
        "output",
    )
