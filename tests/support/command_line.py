"""Runs the command line, and says what it should leave behind."""

import re

from typer.testing import CliRunner

from rap_keras.cli.app import app


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def succeed(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def fail(*arguments):
    """The one line a command fails with."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert re.fullmatch(r"rap-keras: [^\n]+\n", result.stderr)
    return result.stderr


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
