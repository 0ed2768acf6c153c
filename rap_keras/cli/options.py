"""The flags of the commands, and how they are read."""

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
            typer.echo(f"rap-keras: {sentence}", err=True)
            raise typer.Exit(2) from error


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


def read_numbers(option: str, text: str | None) -> list[float] | None:
    """One number or three, separated by commas; None where nothing was given."""
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise InputError(f"{option} is one number or R,G,B, not {text!r}.") from None


def check_percentile(percentile: float | None) -> None:
    """Refuses a percentile that is none."""
    if percentile is not None and not 0 < percentile <= 100:
        raise InputError(f"--percentile is above 0 and at most 100, not {percentile:g}.")
