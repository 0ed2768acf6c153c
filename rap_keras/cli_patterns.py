"""The commands `rap-keras patterns ...`: patterns for PatternNet and PatternAttribution."""

from pathlib import Path
from typing import Annotated

import typer

from rap_keras.cli import (
    BatchSizeOption,
    ImageArguments,
    MeanOption,
    ModelOption,
    PreprocessOption,
    SizeOption,
    StdOption,
    WeightsOption,
    _Commands,
    _counted,
    _import_tensorflow,
    _numbers,
    _output_folder,
)
from rap_keras.cli import app as _commands
from rap_keras.images import collect_images, read_image
from rap_keras.progress import track

app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    help="Estimates the patterns of PatternNet and PatternAttribution.",
)
_commands.add_typer(app, name="patterns")

TypeOption = Annotated[
    str, typer.Option("--type", help="relu (or relu.positive), relu.negative or linear.")
]
PatternsOption = Annotated[Path, typer.Option(help="The file for the patterns, .npz.")]
StatisticsOption = Annotated[
    Path | None,
    typer.Option(
        help="A file with statistics: they are gone on with, if it exists, and written back with those "
        "of these images, so that images can come in parts."
    ),
]


@app.callback()
def _group() -> None:
    """Keeps `fit` a command of its own, though it is the only one."""


@app.command()
def fit(
    images: ImageArguments,
    model: ModelOption = "vgg16",
    weights: WeightsOption = "imagenet",
    preprocess: PreprocessOption = "auto",
    mean: MeanOption = None,
    std: StdOption = None,
    size: SizeOption = None,
    pattern_type: TypeOption = "relu",
    batch_size: BatchSizeOption = 8,
    statistics: StatisticsOption = None,
    out: PatternsOption = Path("patterns.npz"),
) -> None:
    """Estimates a model's patterns from images, in one pass."""
    shift, scale = _numbers("--mean", mean), _numbers("--std", std)
    paths = collect_images(images)
    for path in paths:
        read_image(path)
    kept = statistics or out
    with _output_folder(out.parent) as folder, _output_folder(kept.parent) as kept_folder:
        _import_tensorflow()
        from rap_keras.batches import image_batches
        from rap_keras.models import load_model
        from rap_keras.options import choose
        from rap_keras.patterns import PATTERN_TYPES, Statistics

        choose("--type", pattern_type, PATTERN_TYPES)
        loaded = load_model(model, weights, preprocess, shift, scale, size)
        if statistics is not None and statistics.exists():
            sums = Statistics.load(statistics, loaded.model)
        else:
            sums = Statistics(loaded.model, pattern_type if statistics is None else None)
        parts, total = image_batches(paths, loaded.preprocess, batch_size, loaded.input_size)
        for x in track(parts, "statistics", total):
            sums.update(x)
        patterns = sums.patterns(pattern_type)
        patterns.save(folder / out.name)
        if statistics is not None:
            sums.save(kept_folder / statistics.name)
    typer.echo(
        f"The patterns of {_counted(len(patterns), 'layer')}, from "
        f"{_counted(sums.samples, 'image')}, are in {out}."
    )
