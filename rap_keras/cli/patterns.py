"""The commands `rap-keras patterns ...`: patterns for PatternNet and PatternAttribution."""

from pathlib import Path
from typing import Annotated

import typer

from rap_keras.cli.options import (
    BatchSizeOption,
    Commands,
    ImageArguments,
    MeanOption,
    ModelOption,
    PreprocessOption,
    SizeOption,
    StdOption,
    WeightsOption,
    read_numbers,
)
from rap_keras.cli.session import import_tensorflow, output_folder
from rap_keras.support.images import collect_images, read_image
from rap_keras.support.progress import track
from rap_keras.support.text import counted

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Estimates the patterns of PatternNet and PatternAttribution.",
)

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
    shift, scale = read_numbers("--mean", mean), read_numbers("--std", std)
    paths = collect_images(images)
    for path in paths:
        read_image(path)
    kept = statistics or out
    with output_folder(out.parent) as folder, output_folder(kept.parent) as kept_folder:
        import_tensorflow()
        from rap_keras.inputs.batches import image_batches
        from rap_keras.models.loading import load_model
        from rap_keras.patterns.patterns import PATTERN_TYPES
        from rap_keras.patterns.statistics import Statistics
        from rap_keras.support.options import choose

        choose("--type", pattern_type, PATTERN_TYPES)
        loaded = load_model(model, weights, preprocess, shift, scale, size)
        if statistics is not None and statistics.exists():
            sums = Statistics.load(statistics, loaded.network)
        else:
            sums = Statistics(loaded.network, pattern_type if statistics is None else None)
        parts, total = image_batches(paths, loaded.preprocess, batch_size, loaded.input_size)
        for x in track(parts, "statistics", total):
            sums.update(x)
        patterns = sums.patterns(pattern_type)
        patterns.save(folder / out.name)
        if statistics is not None:
            sums.save(kept_folder / statistics.name)
    typer.echo(
        f"The patterns of {counted(len(patterns), 'layer')}, from "
        f"{counted(sums.samples, 'image')}, are in {out}."
    )
