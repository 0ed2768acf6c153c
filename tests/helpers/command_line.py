"""Runs the command line and checks its exit code, output and files."""

import functools
import re

from typer import testing
from typer.testing import CliRunner

from rap_keras.cli.app import app

# To read the signatures of all commands, at each call, takes longer than most calls that fail.
testing._get_command = functools.cache(testing._get_command)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# What a command may tell of pictures and of what was there; tests/cli/test_fit.py has when it does.
NOTICES = re.compile(r"rap-keras: (Images such as .* are stretched|.* was not empty).*\n")


def succeed(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert NOTICES.sub("", result.stderr) == ""
    return result.stdout


def fail(*arguments):
    """The one line of an error."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    line = NOTICES.sub("", result.stderr)
    assert re.fullmatch(r"rap-keras: [^\n]+\n", line)
    return line


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
