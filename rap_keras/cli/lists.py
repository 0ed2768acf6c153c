"""The commands `rap-keras methods` and `models`."""

import textwrap
from typing import Annotated, get_args

import typer

from rap_keras.analyzers.colours import colours
from rap_keras.analyzers.registry import analyzer_names, check_name, read_method
from rap_keras.cli.session import import_backend

WIDTH = 100  # of docstrings, too


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="METHOD", help="Describe this method and its options.")
    ] = None,
) -> None:
    """List all methods, or describe one."""
    if name is not None:
        check_name(name)
        import_backend()
        record = read_method(name)  # the user's file may import Keras
        names = f"Options: {', '.join(record.option_names())}"
        options = textwrap.fill(names, WIDTH, subsequent_indent="    ", break_on_hyphens=False)
        meaning = textwrap.fill(f"Colours: {colours(name)}", WIDTH, subsequent_indent="    ")
        command = f"On the command line: --method {name}:OPTION=VALUE"
        typer.echo(f"{record.description()}\n\n{meaning}\n\n{command}\n\n{options}")
        return
    records = [read_method(one) for one in analyzer_names()]
    width = max(len(record.name) for record in records)
    for record in records:
        typer.echo(f"{record.name:{width}}  {record.summary}")


def models() -> None:
    """List the models that --model accepts."""
    import_backend()
    from rap_keras.models import bundled
    from rap_keras.models.applications import applications

    lines = {
        f"bundled:{name}": "small bundled model for scenes with digits, 64 x 64 pixels"
        for name in get_args(bundled.Name)
    }
    lines |= {
        name: f"Keras application, ImageNet, {one.default_size} x {one.default_size} pixels"
        for name, one in applications().items()
    }
    lines |= {
        "hub:PRESET": "KerasHub image classifier, such as hub:resnet_50_imagenet",
        "FILE.keras, FILE.h5": "saved Keras model; pass --preprocess",
        "FILE.py:function": "model that a Python function returns; pass --preprocess",
    }
    width = max(map(len, lines))
    for name, line in lines.items():
        typer.echo(f"{name:{width}}  {line}")
