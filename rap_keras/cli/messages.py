"""Errors and warnings of the library, in the words of the command line."""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from rap_keras.cli.session import tell
from rap_keras.errors import InputError
from rap_keras.support.text import printable


class Commands(TyperGroup):
    """Reports an error of the user in one line, as typer reports wrong usage."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command."""
        typed = list(ctx.args)
        try:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *place, **more: warn(str(message))
                return super().invoke(ctx)
        except InputError as error:
            # A table after the sentence is for Python sessions.
            sentence = " ".join(str(error).partition("\n\n")[0].split())
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            flags = {p.name: _flag(p.opts, typed) for p in command.params} if command else {}
            if flags.get("against") in _words(typed):
                flags["contrast"] = flags["against"]  # it sets that option of the methods
            tell(f"rap-keras: {in_flags(sentence, error.arguments, flags)}", err=True)
            raise typer.Exit(2) from error
        except Exception as error:
            if isinstance(getattr(error, "message", None), str):  # wrong usage, as typer tells it
                error.message = printable(error.message)  # type: ignore[attr-defined]
            raise


def _flag(names: Sequence[str], typed: Sequence[str]) -> str:
    """Of the names of a flag the one that was typed, or the first long one."""
    words = _words(typed)
    return next((name for name in names if name in words), max(names, key=len))


def _words(typed: Sequence[str]) -> set[str]:
    """What was typed, without the values that are joined to flags."""
    return {word.partition("=")[0] for word in typed}


def warn(text: str) -> None:
    """Prints a warning of the library in one line."""
    text = re.sub(r'\bfit="(\w+)"', r"--fit \1", " ".join(text.split()))
    tell(f"rap-keras: {text}", err=True)


def in_flags(message: str, arguments: Iterable[str], flags: Mapping[str, str]) -> str:
    """A message of the library in the words of the command line.

    Args:
        message: It names arguments as Python does.
        arguments: Those that it names: `steps=` wherever it stands, or else the first `steps`.
        flags: What the command calls its arguments; one that it does not have stays as it is.
    """
    for name in arguments:
        if name in flags:
            word = rf"(?<![\w-]){re.escape(name)}"
            message, found = re.subn(rf"""{word}=["']?(\w+)["']?""", rf"{flags[name]} \1", message)
            if not found:
                message = re.sub(rf"{word}\b", flags[name], message, count=1)
    return message
