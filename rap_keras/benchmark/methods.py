"""What a benchmark compares: methods with their options, and control maps that explain nothing."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rap_keras.analyzers.registry import check_name, find_method, needs_patterns
from rap_keras.benchmark.controls import CONTROLS, EDGES
from rap_keras.errors import InputError
from rap_keras.support.reading import check_npz

# Options of every analyzer that say what is explained, and how much at a time.
_GIVEN = ("neuron_selection_mode", "output", "batch_size")


@dataclass(frozen=True)
class Method:
    """A row of the benchmark.

    Attributes:
        title: What the row is called, and what it was asked for by: NAME or NAME:OPTION=VALUE:...
        name: The method: one of `rap_keras.analyzer_names()`, or of `CONTROLS`.
        options: The options of its analyzer.
        own_threshold: Where the foreground of its maps begins, if not where `threshold` says by default.
    """

    title: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    own_threshold: str | float | None = None

    @property
    def is_control(self) -> bool:
        """Whether this is a map that explains nothing."""
        return self.name in CONTROLS

    @property
    def lacks_patterns(self) -> bool:
        """Whether it needs patterns that its options do not name."""
        return needs_patterns(self.name) and "patterns" not in self.options

    @property
    def is_contrasted(self) -> bool:
        """Whether it explains a neuron against others, so that relevance sums to 0."""
        return self.options.get("contrast") is not None

    @property
    def threshold(self) -> str | float:
        """Where foreground begins: at the "mean" if no relevance is negative, else at "zero"."""
        if self.own_threshold is not None:
            return self.own_threshold
        record = find_method(self.name)
        signed = self.name != EDGES if record is None else record.signed(self.options)
        return "zero" if signed else "mean"


def read_method(text: str) -> Method:
    """A method as it is written on the command line.

    Args:
        text: NAME, or NAME:OPTION=VALUE:OPTION=VALUE, where NAME may be FILE.py:function; values are
            numbers, true, false, null or words. Beside the options of its analyzer there is
            threshold: mean, zero or a percentile.

    Returns:
        The method; whether its analyzer knows the name and the options is not asked here.

    Raises:
        InputError: An option has no value, or comes twice; or the threshold is none.
    """
    name, *assignments = (part.strip() for part in text.strip().split(":"))
    if name.endswith(".py") and assignments:  # FILE.py:function
        name = f"{name}:{assignments.pop(0)}"
    options: dict[str, Any] = {}
    for assignment in assignments:
        option, equals, value = (part.strip() for part in assignment.partition("="))
        if not (option and equals and value) or option in options:
            raise InputError(
                f"Expected a method as NAME:OPTION=VALUE with each option once, got {text!r}."
            )
        try:
            options[option] = json.loads(value)
        except ValueError:
            options[option] = value
    threshold = options.pop("threshold", "default")
    is_percentile = type(threshold) in (int, float) and 0 < threshold < 100
    if threshold not in ("default", "mean", "zero") and not is_percentile:
        raise InputError(
            f"Expected the threshold of {text!r} to be mean, zero or a percentile between 0 and 100."
        )
    return Method(text.strip(), name, options, None if threshold == "default" else threshold)


def with_patterns(method: Method, patterns: str | Path | None) -> Method:
    """The method with the patterns that it needs, if it needs any.

    Args:
        method: The method; patterns among its own options stay.
        patterns: The file of patterns of all methods.

    Raises:
        InputError: It needs patterns, and there are none.
    """
    if not method.lacks_patterns:
        return method
    if patterns is None:
        raise InputError(
            f"The method {method.title!r} needs patterns=FILE.npz, as rap-keras patterns fit writes it.",
            "patterns",
        )
    return dataclasses.replace(method, options={"patterns": patterns} | dict(method.options))


def check_early(method: Method) -> None:
    """Refuses a wrong name, options or patterns without loading TensorFlow.

    Raises:
        InputError: There is no such method, option or file.
    """
    check_name(method.name)
    record = find_method(method.name)
    if record is not None:
        record.check_options(method.options)
    if needs_patterns(method.name) and isinstance(
        file := method.options.get("patterns"), str | Path
    ):
        check_npz(file, "file with patterns")


def check_given(method: Method, by: str) -> None:
    """Refuses options that all methods are given alike.

    Args:
        method: The method.
        by: Whose they are.

    Raises:
        InputError: It has one.
    """
    for option in method.options:
        if option in _GIVEN:
            raise InputError(
                f"Expected no {option} in the method {method.title!r}: it is the {by}'s own."
            )
