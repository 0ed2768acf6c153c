"""The flags of the commands, and how they are read."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from rap_keras.cli.messages import warn
from rap_keras.errors import InputError
from rap_keras.models.classes import read_classes
from rap_keras.models.loading import LoadedModel, load_model
from rap_keras.models.request import check_request
from rap_keras.pipeline.images import Images
from rap_keras.pipeline.methods import (
    MethodSpec,
    check_early,
    check_given,
    read_spec,
    with_contrast,
    with_patterns,
)
from rap_keras.pipeline.target import Region, parse_contrast, parse_target, read_region
from rap_keras.support.fitting import check_fit
from rap_keras.support.images import collect_images
from rap_keras.support.progress import announced
from rap_keras.support.text import one_line


def read_path(text: str | Path) -> Path:
    """A path as typed. Refuses an empty text, which an unset shell variable leaves."""
    if not str(text).strip():
        raise typer.BadParameter("Expected a path, got an empty text.")
    return Path(text)


# The typer settings of every option or argument that is a path.
A_PATH: dict[str, Any] = {"parser": read_path, "metavar": "PATH"}

ImageArguments = Annotated[
    list[str], typer.Argument(metavar="IMAGE...", help="Image files, folders of them, or patterns.")
]
ImageArgument = Annotated[str, typer.Argument(metavar="IMAGE", help="An image file.")]
ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        help="An application of Keras (vgg16, resnet50, ...), bundled:vgg (residual, convnext, vit), "
        "hub:PRESET of KerasHub, FILE.keras, FILE.h5, or FILE.py:function that returns the model.",
    ),
]
WeightsOption = Annotated[
    str,
    typer.Option(help="An application's or preset's weights: imagenet, none (random), or a file."),
]
PreprocessOption = Annotated[
    str,
    typer.Option(
        help="How pixels become the model's input: auto, none, unit, tf, caffe, torch, or the name of "
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
OutputOption = Annotated[
    str | None,
    typer.Option(help="The output to explain, of a model with several: its NAME or number."),
]
PatternsOption = Annotated[
    Path | None,
    typer.Option(help="The patterns of pattern.net and pattern.attribution, .npz.", **A_PATH),
]
MethodOption = Annotated[
    str,
    typer.Option(
        help="The method: rap, gradient, ... or FILE.py:function; with options as "
        "rap:variant=released."
    ),
]
TargetOption = Annotated[
    str,
    typer.Option(
        "--target",
        "--neuron",
        help="What to explain: max (the class with the largest logit), all, a class by INDEX or name, "
        "several separated by commas, or top:K, with a map of each. For one output with a sigmoid: "
        "class 0 or 1 (max is 1).",
    ),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(
        help="Names of the classes, in the order of the neurons: separated by commas, or a file with "
        "one name per line. For one output with a sigmoid: the names of 0 and 1, or of 1."
    ),
]
FitOption = Annotated[
    str,
    typer.Option(
        help="How images get the size of the model's input: warp (whole), crop (their middle) or pad "
        "(with black bars)."
    ),
]
RegionOption = Annotated[
    str | None,
    typer.Option(
        help="Where, if the output is a map of classes: a pixel Y,X of it, a box Y0:Y1,X0:X1, the image "
        "FILE of a mask, or class: where the class --target is the largest. Default: everywhere."
    ),
]
ContrastOption = Annotated[
    str | None,
    typer.Option(help="Explain against the other classes, weighted by softmax or uniform."),
]
AgainstOption = Annotated[
    str | None,
    typer.Option(help="Explain against these classes: one or several, by INDEX or name."),
]
PercentileOption = Annotated[
    float | None,
    typer.Option(
        help="Colours saturate at this percentile of |relevance|, 99.5 by default; 100: at its maximum."
    ),
]
ColormapOption = Annotated[
    str | None,
    typer.Option(help="A colour map of matplotlib: seismic (default), RdBu_r, PuOr_r, ..."),
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="Stop at an image that cannot be read, instead of skipping it."),
]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Images computed at a time.")]
OutOption = Annotated[Path, typer.Option(help="The folder for the results.", **A_PATH)]


def open_images(sources: Sequence[str], fit: str | None = None, strict: bool = True) -> Images:
    """The images of files, folders and patterns, each once; warnings are printed."""
    return Images(collect_images(sources), fit or "warp", strict, warn, fit is not None)


def open_image(source: str, fit: str | None = None) -> Images:
    """The image of a file.

    Raises:
        InputError: There is more than one.
    """
    images = open_images([source], fit)
    if len(images) > 1:
        raise InputError(f"Expected one image, got {len(images)} in {source!r}: name one.")
    return images


def read_numbers(argument: str, text: str | None) -> list[float] | None:
    """One number or three, separated by commas; None where nothing was given."""
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise InputError(f"{argument} is one number or R,G,B, not {text!r}.", argument) from None


@dataclass(frozen=True)
class ModelFlags:
    """A model and its preprocessing: the flags of every command that loads one."""

    model: ModelOption = "vgg16"
    weights: WeightsOption = "imagenet"
    preprocess: PreprocessOption = "auto"
    mean: MeanOption = None
    std: StdOption = None
    size: SizeOption = None
    output: OutputOption = None

    def __post_init__(self) -> None:
        """Refuses at once what cannot be read."""
        check_request(self.model, self.weights, self.preprocess, self.shift, self.scale, self.size)

    @property
    def shift(self) -> list[float] | None:
        """The numbers of `mean`."""
        return read_numbers("mean", self.mean)

    @property
    def scale(self) -> list[float] | None:
        """The numbers of `std`."""
        return read_numbers("std", self.std)

    def load(self) -> Any:
        """The model, as `load_model` gives it."""
        output = self.output
        with announced(f"loading {one_line(self.model)}"):
            return load_model(
                self.model,
                self.weights,
                self.preprocess,
                self.shift,
                self.scale,
                self.size,
                int(output) if output and output.isdecimal() else output,
            )


@dataclass(frozen=True)
class MapFlags:
    """What is explained and how it is drawn: the flags of every command that explains."""

    patterns: PatternsOption = None
    target: TargetOption = "max"
    classes: ClassesOption = None
    fit: FitOption = "warp"
    region: RegionOption = None
    contrast: ContrastOption = None
    against: AgainstOption = None
    percentile: PercentileOption = None
    colormap: ColormapOption = None

    def __post_init__(self) -> None:
        """Refuses at once what cannot be read."""
        _ = self.wanted, self.names
        check_fit(self.fit)
        if self.colormap is not None:
            from rap_keras.plot.drawing import colors_of  # it takes time: matplotlib

            colors_of(self.colormap)
        if self.percentile is not None and not 0 < self.percentile <= 100:
            raise InputError(
                f"percentile is above 0 and at most 100, not {self.percentile:g}.", "percentile"
            )

    @property
    def drawing(self) -> dict[str, Any]:
        """Arguments of `rap_keras.plot`, as far as they were given."""
        given = {"percentile": self.percentile, "colormap": self.colormap}
        return {name: value for name, value in given.items() if value is not None}

    @functools.cached_property
    def names(self) -> tuple[str, ...] | None:
        """What the classes are called."""
        return None if self.classes is None else read_classes(self.classes)

    def named(self, loaded: LoadedModel) -> LoadedModel:
        """The model, with the names of its classes if they were given."""
        return loaded if self.names is None else loaded.with_labels(self.names)

    @functools.cached_property
    def wanted(self) -> tuple[Any, Region | None]:
        """The target and the region, as `Explainer.explain` takes them."""
        return parse_target(self.target), read_region(self.region)

    def methods(self, texts: Sequence[str]) -> list[MethodSpec]:
        """The methods, each with all its options; an option of its own wins over a flag.

        Args:
            texts: The methods, as NAME:OPTION=VALUE:...

        Raises:
            InputError: A method cannot be read; or patterns are needed and not given, or given and not
                needed.
        """
        methods = [read_spec(text) for text in texts]
        for method in methods:
            check_given(method, "command")
        if self.patterns is not None and not any(method.lacks_patterns for method in methods):
            raise InputError(
                f"No patterns are needed by {', '.join(texts)}: leave them out, or choose "
                "pattern.net or pattern.attribution.",
                "patterns",
            )
        others = parse_contrast(self.contrast, self.against)
        argument = "contrast" if self.against is None else "against"
        completed = []
        for method in methods:
            method = with_patterns(method, self.patterns)
            check_early(method)
            completed.append(with_contrast(method, others, argument))
        return completed
