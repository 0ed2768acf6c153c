"""Flags that several commands share: each is defined once, as a field of a dataclass."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def shared_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Turns each parameter of a command that is annotated with a dataclass into one flag per field.

    Fields have the same annotations as parameters. The caller adds the flags of a `**` parameter.
    """
    expected = inspect.signature(command).parameters.values()
    groups: dict[str, Any] = {p.name: p.annotation for p in expected if is_dataclass(p.annotation)}
    flags: list[inspect.Parameter] = []
    for parameter in expected:
        if parameter.name in groups:
            flags += map(_flag, fields(parameter.annotation))
        elif parameter.kind != parameter.VAR_KEYWORD:
            flags.append(parameter.replace(kind=parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    run.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]
    run.__annotations__ = {flag.name: flag.annotation for flag in flags}
    return run


def _flag(field: "Field[Any]") -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, kind, default=default, annotation=field.type)
