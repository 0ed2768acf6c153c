"""The command line: all commands.

What the user got wrong is one sentence on stderr and exit code 2, and leaves no files behind.
TensorFlow takes seconds to import, so only the commands that compute import it.
"""

from typing import Annotated

import typer

from rap_keras.cli import patterns
from rap_keras.cli.benchmark import benchmark, merge, report
from rap_keras.cli.demo import demo
from rap_keras.cli.doctor import doctor
from rap_keras.cli.explain import compare, explain, layers
from rap_keras.cli.lists import methods, models
from rap_keras.cli.messages import Commands
from rap_keras.version import __version__

app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rap-keras {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Show which pixels drove an image classifier's decision."""


for _command in (explain, compare, layers, benchmark, report, merge, demo, methods, models, doctor):
    app.command()(_command)
app.add_typer(patterns.app, name="patterns")
