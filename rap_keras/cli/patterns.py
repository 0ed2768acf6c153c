"""The commands `rap-keras patterns ...`: patterns for PatternNet and PatternAttribution."""

from pathlib import Path
from typing import Annotated

import typer

from rap_keras.cli.flags import shared_flags
from rap_keras.cli.messages import Commands
from rap_keras.cli.options import (
    A_PATH,
    BatchSizeOption,
    ImageArguments,
    ModelFlags,
    open_images,
)
from rap_keras.cli.session import import_tensorflow, tell
from rap_keras.patterns.cases import PATTERN_TYPES
from rap_keras.support.files import replacing_together
from rap_keras.support.options import choose
from rap_keras.support.progress import track
from rap_keras.support.text import counted, one_line

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Estimate the patterns of PatternNet and PatternAttribution.",
)

TypeOption = Annotated[
    str, typer.Option("--type", help="relu (or relu.positive), relu.negative or linear.")
]
OutOption = Annotated[Path, typer.Option(help="The file for the patterns, .npz.", **A_PATH)]
StatisticsOption = Annotated[
    Path | None,
    typer.Option(
        help="Statistics file to resume from. It is created if missing and updated with these images.",
        **A_PATH,
    ),
]


@app.callback()
def _group() -> None:
    """Keeps `fit` a command of its own, though it is the only one."""


@app.command()
@shared_flags
def fit(
    images: ImageArguments,
    model: ModelFlags,
    *,
    pattern_type: TypeOption = "relu",
    batch_size: BatchSizeOption = 8,
    statistics: StatisticsOption = None,
    out: OutOption = Path("patterns.npz"),
) -> None:
    """Estimate the patterns of a model from images, in one pass."""
    choose("pattern_type", pattern_type, PATTERN_TYPES)
    files = open_images(images)  # patterns are of all images that were named
    kept = statistics or out
    with replacing_together(out.parent) as folder, replacing_together(kept.parent) as kept_folder:
        import_tensorflow()
        from rap_keras.patterns.statistics import Statistics

        loaded = model.load()
        if statistics is not None and statistics.exists():
            sums = Statistics.load(statistics, loaded.network)
        else:
            sums = Statistics(loaded.network, pattern_type if statistics is None else None)
        total = -(-len(files) // batch_size) if loaded.input_size else None
        batches = files.batches(loaded, batch_size)
        for _, _, x in track(batches, "statistics", total):
            sums.update(x)
        patterns = sums.patterns(pattern_type)
        patterns.save(folder / out.name)
        if statistics is not None:
            sums.save(kept_folder / statistics.name)
    tell(
        f"The patterns of {counted(len(patterns), 'layer')}, from "
        f"{counted(sums.samples, 'image')}, are in {one_line(out)}."
    )
