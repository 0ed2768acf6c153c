"""Errors and warnings of the library, with the flags of the command line."""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from rap_keras.cli.session import echo
from rap_keras.errors import InputError
from rap_keras.support.text import printable


class _Grouped:
    """Shows `--help` in the group of the options, or in a last group if there are several.

    Types of Python, such as <list[str]> of an argument and <bool> of a switch, are not shown.
    """

    params: list[Any]

    def get_help_option(self, ctx: Any) -> Any:
        """Returns the option `--help`."""
        option: Any = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            titles = [*{getattr(p, "rich_help_panel", None) for p in self.params} - {None}]
            option.metavar = ""
            option.rich_help_panel = "Other" if len(titles) > 1 else next(iter(titles), None)
        for parameter in self.params:
            if parameter.param_type_name == "argument":
                parameter.display_type_rich = lambda ctx: None
            elif parameter.is_flag and parameter.metavar is None:
                parameter.metavar = ""
        return option


class Command(_Grouped, TyperCommand):
    """A command."""


class Commands(_Grouped, TyperGroup):
    """A group of commands that reports an error of the user in one line."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command."""
        typed = list(ctx.args)
        try:
            with warnings.catch_warnings():
                warnings.showwarning = lambda message, *place, **more: warn(str(message))
                return super().invoke(ctx)
        except InputError as error:
            # The table after the sentence is for Python sessions.
            sentence = " ".join(str(error).partition("\n\n")[0].split())
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            flags = {p.name: _flag(p.opts, typed) for p in command.params} if command else {}
            words = _words(typed)
            if flags.get("against") in words and flags.get("contrast") not in words:
                flags["contrast"] = flags["against"]  # --against sets the option contrast
            echo(f"rap-keras: {in_flags(sentence, error.arguments, flags)}", err=True)
            raise typer.Exit(2) from error
        except Exception as error:
            if isinstance(getattr(error, "message", None), str):  # typer reports wrong usage
                error.message = printable(error.message)  # type: ignore[attr-defined]
            raise


def _flag(names: Sequence[str], typed: Sequence[str]) -> str:
    """Returns the name of a flag that was typed, or its longest name."""
    words = _words(typed)
    return next((name for name in names if name in words), max(names, key=len))


def _words(typed: Sequence[str]) -> set[str]:
    """Returns what was typed, without values that are joined to flags by `=`."""
    return {word.partition("=")[0] for word in typed}


def warn(text: str) -> None:
    """Prints a warning of the library in one line."""
    text = re.sub(r'\bfit="(\w+)"', r"--fit \1", " ".join(text.split()))
    echo(f"rap-keras: {text}", err=True)


def in_flags(message: str, arguments: Iterable[str], flags: Mapping[str, str]) -> str:
    """Replaces arguments by flags: each `steps=` or, if there is none, the first `steps`."""
    for name in arguments:
        if name in flags:
            word = rf"(?<![\w-]){re.escape(name)}"
            message, found = re.subn(rf"""{word}=["']?(\w+)["']?""", rf"{flags[name]} \1", message)
            if not found:
                message = re.sub(rf"{word}\b", flags[name], message, count=1)
    return message
