"""The flags of the commands, and how they are read."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rap_keras.errors import InputError


class Commands(TyperGroup):
    """Tells an error of the user in one line, as typer tells those of usage."""

    def invoke(self, ctx: Any) -> Any:
        """Runs a command."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            # Tables that a message goes on with are for Python sessions.
            sentence = " ".join(str(error).partition("\n\n")[0].split())
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            flags = {p.name: max(p.opts, key=len) for p in command.params} if command else {}
            typer.echo(f"rap-keras: {in_flags(sentence, error.arguments, flags)}", err=True)
            raise typer.Exit(2) from error


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
            message, found = re.subn(rf'{word}="?(\w+)"?', rf"{flags[name]} \1", message)
            if not found:
                message = re.sub(rf"{word}\b", flags[name], message, count=1)
    return message


ImageArguments = Annotated[
    list[str], typer.Argument(metavar="IMAGE...", help="Image files, folders of them, or patterns.")
]
ImageArgument = Annotated[str, typer.Argument(metavar="IMAGE", help="An image file.")]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        help="An application of Keras (vgg16, resnet50, ...), embedded:vgg, embedded:residual, "
        "FILE.keras, FILE.h5, or FILE.py:function that returns the model.",
    ),
]
WeightsOption = Annotated[
    str, typer.Option(help="An application's weights: imagenet, none (random), or a file.")
]
PreprocessOption = Annotated[
    str,
    typer.Option(
        help="From pixels to the model's input: auto, none, unit, tf, caffe, torch, or the name of "
        "an application."
    ),
]
MeanOption = Annotated[
    str | None, typer.Option(help="Subtract this after --preprocess: one number or R,G,B.")
]
StdOption = Annotated[str | None, typer.Option(help="Then divide by this: one number or R,G,B.")]
SizeOption = Annotated[
    int | None, typer.Option(help="Height and width of the images, if the model takes any.")
]
MethodOption = Annotated[str, typer.Option(help="The method: rap, gradient, ...")]
NeuronOption = Annotated[
    str, typer.Option(help="What to explain: the neuron with the max logit, all, or an INDEX.")
]
PercentileOption = Annotated[
    float | None,
    typer.Option(help="Colours saturate at this percentile of |relevance|; default: its maximum."),
]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Images computed at a time.")]
OutOption = Annotated[Path, typer.Option(help="The folder for the results.")]


def read_numbers(argument: str, text: str | None) -> list[float] | None:
    """One number or three, separated by commas; None where nothing was given."""
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise InputError(f"{argument} is one number or R,G,B, not {text!r}.", argument) from None


def check_percentile(percentile: float | None) -> None:
    """Refuses a percentile that is none."""
    if percentile is not None and not 0 < percentile <= 100:
        raise InputError(
            f"percentile is above 0 and at most 100, not {percentile:g}.", "percentile"
        )
