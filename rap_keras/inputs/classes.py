"""Classes by name."""

from collections.abc import Sequence
from typing import Any

from rap_keras.errors import InputError
from rap_keras.support.text import did_you_mean

MOST_NAMES = 8  # listed in an error


def as_numbers(given: Any, labels: Sequence[str] | None, argument: str = "target") -> Any:
    """Replaces names of classes by numbers, also in lists. Returns anything else unchanged."""
    if getattr(getattr(given, "dtype", None), "kind", "") == "U":
        given = given.tolist()
    if isinstance(given, str):
        return class_called(given, labels, argument)
    if isinstance(given, list):
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
