"""The commands `rap-keras patterns ...`: patterns for PatternNet and PatternAttribution."""

from pathlib import Path
from typing import Annotated

import typer

from rap_keras.cli.messages import Command, Commands
from rap_keras.cli.options import (
    A_FILE,
    BatchSizeOption,
    ImageArguments,
    ModelFlags,
    method_option,
    open_images,
    output_option,
)
from rap_keras.cli.parts import shared_flags
from rap_keras.cli.session import echo, import_backend
from rap_keras.errors import InputError
from rap_keras.patterns.cases import PATTERN_TYPES
from rap_keras.support.files import replacing_together
from rap_keras.support.options import choose
from rap_keras.support.progress import track
from rap_keras.support.text import counted, one_line

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Estimate patterns for PatternNet and PatternAttribution.",
)


@app.callback()
def _group() -> None:
    """Keeps `fit` a subcommand, although it is the only one."""


@app.command(cls=Command)
@shared_flags
def fit(
    images: ImageArguments,
    model: ModelFlags,
    *,
    pattern_type: Annotated[
        str,
        method_option(
            "--type",
            metavar="TYPE",
            help="The type of pattern: relu (the same as relu.positive), relu.negative or linear.",
        ),
    ] = "relu",
    batch_size: BatchSizeOption = 8,
    statistics: Annotated[
        Path | None,
        output_option(
            help="Statistics file to resume from. It is created if missing and updated with these "
            "images.",
            **A_FILE,
        ),
    ] = None,
    out: Annotated[Path, output_option(help="The .npz file for the patterns.", **A_FILE)] = Path(
        "patterns.npz"
    ),
) -> None:
    """Estimate the patterns of a model from images."""
    choose("pattern_type", pattern_type, PATTERN_TYPES)
    if statistics is not None and statistics.resolve() == out.resolve():
        raise InputError(
            f"Expected different files for statistics and out, got {str(out)!r} for both: name another "
            "file for the patterns.",
            ("statistics", "out"),
        )
    if out.is_dir():
        raise InputError(
            f"Expected a file for out, got the folder {str(out)!r}: name a file in it, such as "
            f"{str(out / 'patterns.npz')!r}.",
            "out",
        )
    files = open_images(images)  # strict: patterns need all images that were named
    kept = statistics or out
    with replacing_together(out.parent) as folder, replacing_together(kept.parent) as kept_folder:
        import_backend()
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
    echo(
        f"The patterns of {counted(len(patterns), 'layer')}, estimated from "
        f"{counted(sums.samples, 'image')}, are in {one_line(out)}."
    )
