"""A method with its options, written as NAME:OPTION=VALUE."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rap_keras.analyzers.registry import check_name, find_method, needs_patterns
from rap_keras.errors import InputError
from rap_keras.support.reading import check_npz

# Options of analyzers that are not part of a method.
_GIVEN = ("neuron_selection_mode", "output", "batch_size")


@dataclass(frozen=True)
class MethodSpec:
    """A method and the options of its analyzer."""

    title: str  # the text that it was read from: NAME or NAME:OPTION=VALUE:...
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lacks_patterns(self) -> bool:
        """Whether the method needs patterns and has none."""
        return needs_patterns(self.name) and "patterns" not in self.options

    @property
    def is_contrasted(self) -> bool:
        """Whether the method explains a class against others, so that relevance sums to 0."""
        return self.options.get("contrast") is not None


Spec = TypeVar("Spec", bound=MethodSpec)


def read_spec(text: str) -> MethodSpec:
    """Reads a method with its options: NAME, or NAME:OPTION=VALUE:OPTION=VALUE.

    NAME may be FILE.py:function. Values are numbers, true, false, null or words. `check_early` checks
    the name and the options.

    Example:
        >>> read_spec("smoothgrad:augment_by_n=8").options
        {'augment_by_n': 8}
    """
    name, *assignments = (part.strip() for part in text.strip().split(":"))
    if name.endswith(".py") and assignments:  # FILE.py:function
        name = f"{name}:{assignments.pop(0)}"
    options: dict[str, Any] = {}
    for assignment in assignments:
        option, equals, value = (part.strip() for part in assignment.partition("="))
        if not (option and equals and value) or option in options:
            raise InputError(
                f"Expected a method as NAME:OPTION=VALUE, with each option once, got {text!r}."
            )
        try:
            options[option] = json.loads(value)
        except ValueError:
            options[option] = value
    return MethodSpec(text.strip(), name, options)


def with_patterns(method: Spec, patterns: str | Path | None) -> Spec:
    """Adds a patterns file to a method that needs patterns and has none."""
    if not method.lacks_patterns:
        return method
    if patterns is None:
        raise InputError(
            f"The method {method.title!r} needs patterns=FILE.npz: create it with "
            "rap-keras patterns fit.",
            "patterns",
        )
    return dataclasses.replace(method, options={"patterns": patterns} | dict(method.options))


def with_contrast(method: Spec, contrast: Any, argument: str) -> Spec:
    """Adds the option `contrast` to a method, unless its options already include it.

    Args:
        method: The method.
        contrast: The value of the option; None adds nothing.
        argument: The argument that the value was passed to, for errors.

    Raises:
        InputError: The method has no such option.
    """
    if contrast is None:
        return method
    record = find_method(method.name)
    try:
        if record is not None:
            record.check_options(["contrast"])
    except InputError:
        raise InputError(
            f"Expected no {argument} for the method {method.title!r}, which has no option contrast: "
            "leave it out, or use a method that propagates relevance, such as rap.",
            argument,
        ) from None
    return dataclasses.replace(method, options={"contrast": contrast} | dict(method.options))


def check_early(method: MethodSpec) -> None:
    """Checks the name, the options and the patterns of a method without loading Keras."""
    check_name(method.name)
    record = find_method(method.name)
    if record is not None:
        record.check_options(method.options)
    if needs_patterns(method.name) and isinstance(
        file := method.options.get("patterns"), str | Path
    ):
        check_npz(file, "file with patterns")


def check_given(method: MethodSpec, by: str) -> None:
    """Raises an error for options that must be the same for all methods.

    Args:
        method: The method.
        by: What sets these options: "command" or "benchmark".

    Raises:
        InputError: The method has such an option.
    """
    for option in method.options:
        if option in _GIVEN:
            raise InputError(
                f"Expected no {option} in the method {method.title!r}, because the {by} sets it: leave "
                "it out."
            )
