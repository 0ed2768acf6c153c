"""The flags of the commands, and how to read them."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from rap_keras.cli.messages import warn
from rap_keras.errors import InputError
from rap_keras.inputs.contrast import CONTRASTS
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
from rap_keras.support.fitting import FITS, check_fit
from rap_keras.support.images import collect_images
from rap_keras.support.options import read_numbers
from rap_keras.support.progress import announced
from rap_keras.support.text import one_line


def read_path(text: str | Path) -> Path:
    """Returns a path as typed. Refuses an empty text, which an unset shell variable leaves."""
    if not str(text).strip():
        raise typer.BadParameter("Expected a path, got an empty text.")
    return Path(text)


# The typer settings of every option or argument that is a path.
A_FILE: dict[str, Any] = {"parser": read_path, "metavar": "FILE"}
A_FOLDER: dict[str, Any] = {"parser": read_path, "metavar": "DIR"}

# The typer settings of a switch: it takes no value.
A_SWITCH: dict[str, Any] = {"metavar": ""}


def in_group(title: str) -> Callable[..., Any]:
    """Returns `typer.Option` for a group of `--help`."""
    return functools.partial(typer.Option, rich_help_panel=title)


model_option = in_group("Model")
method_option = in_group("Method")
target_option = in_group("Target")
image_option = in_group("Images")
output_option = in_group("Output")
speed_option = in_group("Performance")

ImageArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE", help="Image files, folders or patterns such as 'photos/*.jpg'."
    ),
]
ImageArgument = Annotated[str, typer.Argument(metavar="IMAGE", help="An image file.")]
MethodOption = Annotated[
    str,
    method_option(
        metavar="METHOD",
        help="The method, with options if needed: rap, rap:variant=released, FILE.py:function. See "
        "rap-keras methods.",
    ),
]
ClassesOption = Annotated[
    str | None,
    target_option(
        metavar="NAMES",
        help="Names of the classes, separated by commas, or a file with one name per line. For a single "
        "sigmoid output, name classes 0 and 1, or only class 1.",
    ),
]
FitOption = Annotated[
    str,
    image_option(
        metavar="|".join(FITS),
        help="Fit images to the model's input: stretch them, crop the middle or pad with black bars.",
    ),
]
PercentileOption = Annotated[
    float | None,
    output_option(
        metavar="NUMBER", help="Colours saturate at this percentile of |relevance|. Default: 99.5."
    ),
]
ColormapOption = Annotated[
    str | None,
    output_option(
        metavar="NAME", help="A matplotlib colour map: seismic (default), RdBu_r, PuOr_r, ..."
    ),
]
StrictOption = Annotated[
    bool,
    image_option(
        "--strict", help="Stop at an image that cannot be read, instead of skipping it.", **A_SWITCH
    ),
]
BatchSizeOption = Annotated[
    int, speed_option(min=1, metavar="N", help="Number of images in a batch.")
]
OutOption = Annotated[Path, output_option(help="The folder for the results.", **A_FOLDER)]


def open_images(sources: Sequence[str], fit: str | None = None, strict: bool = True) -> Images:
    """Returns the images of files, folders and patterns, each once. Prints warnings."""
    return Images(collect_images(sources), fit or "warp", strict, warn, fit is not None)


def open_image(source: str, fit: str | None = None) -> Images:
    """Returns the only image of a file, folder or pattern."""
    images = open_images([source], fit)
    if len(images) > 1:
        raise InputError(f"Expected one image, got {len(images)} in {source!r}: name one of them.")
    return images


@dataclass(frozen=True)
class ModelFlags:
    """The flags of every command that loads a model."""

    model: Annotated[
        str,
        model_option(
            "--model",
            metavar="MODEL",
            help="A Keras application (vgg16, resnet50, ...), bundled:NAME, hub:PRESET, FILE.keras, "
            "FILE.h5 or FILE.py:function. See rap-keras models.",
        ),
    ] = "vgg16"
    weights: Annotated[
        str,
        model_option(
            metavar="WEIGHTS",
            help="Weights of an application or preset: imagenet, none (random) or a file.",
        ),
    ] = "imagenet"
    preprocess: Annotated[
        str,
        model_option(
            metavar="NAME",
            help="How pixels become the model's input: none (0 to 255), unit (0 to 1), tf (-1 to 1), "
            "caffe (BGR minus ImageNet's mean), torch (0 to 1, standardized as ImageNet) or the name of "
            "an application. auto: as --model expects, except for files.",
        ),
    ] = "auto"
    mean: Annotated[
        str | None,
        model_option(
            metavar="NUMBERS", help="Subtract this after --preprocess: one number or three, R,G,B."
        ),
    ] = None
    std: Annotated[
        str | None,
        model_option(metavar="NUMBERS", help="Then divide by this: one number or three, R,G,B."),
    ] = None
    size: Annotated[
        int | None,
        model_option(
            metavar="PIXELS", help="Height and width of the images, if the model accepts any size."
        ),
    ] = None
    output: Annotated[
        str | None,
        model_option(
            metavar="NAME",
            help="The output to explain, by name or number, if the model has several.",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Checks the flags before Keras is loaded."""
        check_request(self.model, self.weights, self.preprocess, self.shift, self.scale, self.size)

    @property
    def shift(self) -> list[float] | None:
        """The numbers in `mean`."""
        return read_numbers("mean", self.mean)

    @property
    def scale(self) -> list[float] | None:
        """The numbers in `std`."""
        return read_numbers("std", self.std)

    @property
    def loading(self) -> dict[str, Any]:
        """The arguments of `load_model` after the model."""
        output = self.output
        return {
            "weights": self.weights,
            "preprocess": self.preprocess,
            "mean": self.shift,
            "std": self.scale,
            "size": self.size,
            "output": int(output) if output and output.isdecimal() else output,
        }

    def load(self) -> Any:
        """Loads the model."""
        with announced(f"loading {one_line(self.model)}"):
            return load_model(self.model, **self.loading)


@dataclass(frozen=True)
class MapFlags:
    """The flags of every command that explains images."""

    patterns: Annotated[
        Path | None,
        method_option(
            help="Patterns for pattern.net and pattern.attribution, made by rap-keras patterns fit.",
            **A_FILE,
        ),
    ] = None
    target: Annotated[
        str,
        target_option(
            "--target",
            "--neuron",
            metavar="CLASS",
            help="The class to explain: an index, a name or max (the largest logit). For one map of "
            "each class: 3,7 or top:K. For all classes together: all. A single sigmoid output has the "
            "classes 0 and 1 (max is 1).",
        ),
    ] = "max"
    classes: ClassesOption = None
    fit: FitOption = "warp"
    region: Annotated[
        str | None,
        target_option(
            metavar="REGION",
            help="Where to explain, if the model predicts classes at each position: a pixel Y,X, a box "
            "Y0:Y1,X0:X1, the image file of a mask, or class (where --target has the largest logit). "
            "Default: everywhere.",
        ),
    ] = None
    contrast: Annotated[
        str | None,
        target_option(
            metavar="|".join(CONTRASTS),
            help="Explain the class against all others, with softmax or uniform weights.",
        ),
    ] = None
    against: Annotated[
        str | None,
        target_option(
            metavar="CLASSES",
            help="Explain the class against these classes: indices or names, separated by commas.",
        ),
    ] = None
    percentile: PercentileOption = None
    colormap: ColormapOption = None
    scale: Annotated[
        str | None,
        output_option(
            metavar="SCALE",
            help="Colour limits: each map's own (default), shared by all maps of a figure, or a number.",
        ),
    ] = None

    def __post_init__(self) -> None:
        """Checks the flags before Keras is loaded."""
        _ = self.selection, self.names
        check_fit(self.fit)
        if self.colormap is not None or self.scale is not None:
            from rap_keras.plot import drawing  # here, because matplotlib loads slowly

            drawing.colors_of(drawing.COLORMAP if self.colormap is None else self.colormap)
            drawing.read_scale("each" if self.scale is None else self.scale)
        if self.percentile is not None and not 0 < self.percentile <= 100:
            raise InputError(
                f"Expected percentile to be above 0 and at most 100, got {self.percentile:g}.",
                "percentile",
            )

    @property
    def drawing(self) -> dict[str, Any]:
        """The arguments for `rap_keras.plot` that were given."""
        given = {"percentile": self.percentile, "colormap": self.colormap, "scale": self.scale}
        return {name: value for name, value in given.items() if value is not None}

    @functools.cached_property
    def names(self) -> tuple[str, ...] | None:
        """The names of the classes, if they were given."""
        return None if self.classes is None else read_classes(self.classes)

    def named(self, loaded: LoadedModel) -> LoadedModel:
        """Returns the model, with the names of its classes if they were given."""
        return loaded if self.names is None else loaded.with_labels(self.names)

    @functools.cached_property
    def selection(self) -> tuple[Any, Region | None]:
        """The target and the region, in the form that `Explainer.explain` takes."""
        return parse_target(self.target), read_region(self.region, self.fit)

    def methods(self, texts: Sequence[str]) -> list[MethodSpec]:
        """Reads methods, NAME:OPTION=VALUE:..., and completes their options, which win over flags."""
        methods = [read_spec(text) for text in texts]
        for method in methods:
            check_given(method, "command")
        if self.patterns is not None and not any(method.lacks_patterns for method in methods):
            raise InputError(
                f"Expected no patterns, because {', '.join(texts)} does not use any: leave them out, or "
                "choose pattern.net or pattern.attribution.",
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
