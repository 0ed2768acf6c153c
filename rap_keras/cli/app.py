"""The command line: all commands.

A mistake of the user ends a command with one sentence on stderr, exit code 2 and no files left behind.
Keras and its backend take seconds to import, so only commands that compute import them.
"""

from typing import Annotated

import typer

from rap_keras.cli import concepts, patterns
from rap_keras.cli.benchmark import benchmark, merge, report
from rap_keras.cli.demo import demo
from rap_keras.cli.doctor import doctor
from rap_keras.cli.explain import compare, explain, layers
from rap_keras.cli.lists import methods, models
from rap_keras.cli.messages import Command, Commands
from rap_keras.cli.options import A_SWITCH
from rap_keras.support.keras_backend import choose
from rap_keras.version import __version__

app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"rap-keras {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the version and exit.",
            **A_SWITCH,
        ),
    ] = False,
) -> None:
    """Show which pixels drove an image classifier's decision."""
    choose()


_COMMANDS = {
    "Explain images": (explain, compare, layers, demo),
    "Compare methods on a data set": (benchmark, report, merge),
    "Models and methods": (methods, models, doctor),
}
for _title, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(cls=Command, rich_help_panel=_title)(_command)
app.add_typer(concepts.app, name="concepts", rich_help_panel="Explain images")
app.add_typer(patterns.app, name="patterns", rich_help_panel="Models and methods")
