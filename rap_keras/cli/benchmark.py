"""The commands `rap-keras benchmark` and `rap-keras merge`: methods compared where objects are known."""

import json
import os
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from rap_keras.benchmark.settings import METRICS, Settings
from rap_keras.cli.options import (
    MeanOption,
    ModelOption,
    PreprocessOption,
    SizeOption,
    StdOption,
    WeightsOption,
    read_numbers,
)
from rap_keras.cli.session import import_tensorflow
from rap_keras.errors import InputError

DEFAULT = Settings()


def _tell(out: Path) -> None:
    """Prints the results in short, and where they are."""
    from rap_keras.benchmark.report.tables import summary_lines
    from rap_keras.benchmark.store import Store

    with Store(out) as store:
        summary = json.loads((out / "summary.json").read_text("utf-8"))["summary"]
        typer.echo("\n".join(summary_lines(store.protocol, summary)))
    typer.echo(f"The tables and figures are in {out}: report.md and report.html.")


def _config(context: typer.Context, path: Path | None) -> Path | None:
    """Takes the file's entries for the defaults of the flags, so that flags win over it."""
    if path is None:
        return None
    try:
        entries = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"The config file {str(path)!r} cannot be read ({error}).") from error
    known = {parameter.name for parameter in context.command.params} - {"config", "help"}
    unknown = [key for key in entries if key.replace("-", "_") not in known]
    if unknown:
        raise InputError(
            f"Expected the entries of {str(path)!r} to be flags of this command without --, got "
            f"{unknown[0]!r}."
        )
    context.default_map = {k.replace("-", "_"): _as_flag(path, k, v) for k, v in entries.items()}
    return path


def _as_flag(path: Path, key: str, value: Any) -> str:
    """A value as it is typed on the command line, so that it is read and refused like that."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(_as_flag(path, key, one) for one in value)
    if not isinstance(value, str | int | float):
        raise InputError(
            f"Expected text, a number, true, false or a list of these for {key!r} in {str(path)!r}."
        )
    return str(value)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    try:
        return int(number), int(count)
    except ValueError:
        raise InputError(f"Expected --shard I/N, as in 2/4, got {text!r}.") from None


def benchmark(
    out: Annotated[Path, typer.Option(help="The folder for results and report.")] = Path(
        "rap-benchmark"
    ),
    config: Annotated[
        Path | None,
        typer.Option(
            callback=_config,
            is_eager=True,
            help="A .toml file with any of these flags, without --.",
        ),
    ] = None,
    model: ModelOption = DEFAULT.model,
    weights: WeightsOption = DEFAULT.weights,
    preprocess: PreprocessOption = DEFAULT.preprocess,
    mean: MeanOption = None,
    std: StdOption = None,
    size: SizeOption = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="What the data set calls the model's classes, in the order of its neurons: names, "
            "separated by commas, a .txt or a .csv (class_index, synset)."
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            help="imagenet-boxes:DIR, imagenet-segmentation:FILE.mat, voc:DIR, folder:DIR or "
            "cluttered-digits[:N]."
        ),
    ] = DEFAULT.data,
    methods: Annotated[
        str,
        typer.Option(help="Methods, separated by commas, with options: NAME:OPTION=VALUE:..."),
    ] = ",".join(DEFAULT.methods),
    controls: Annotated[
        bool, typer.Option(help="Add the control maps: random, mean-shifted, edges.")
    ] = True,
    patterns: Annotated[
        str | None, typer.Option(help="The patterns of pattern.net and pattern.attribution, .npz.")
    ] = None,
    metrics: Annotated[
        str, typer.Option(help=f"Metrics, separated by commas, of {', '.join(METRICS)}.")
    ] = ",".join(DEFAULT.metrics),
    limit: Annotated[
        int | None, typer.Option(help="Images drawn from the data set; default: all.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of the images drawn, random maps and bootstrap.")
    ] = DEFAULT.seed,
    keep: Annotated[
        str, typer.Option(help="correct: only images that are classified right; or all.")
    ] = DEFAULT.keep,
    foreground: Annotated[
        str, typer.Option(help="class: pixels of the explained class only; any: of all objects.")
    ] = DEFAULT.foreground,
    percentile: Annotated[
        float | None,
        typer.Option(
            help="Foreground is above this percentile of each map; default: above its mean where no "
            "relevance is negative, else above 0."
        ),
    ] = None,
    pooled: Annotated[
        bool,
        typer.Option(help="Count the pixels of all images together for mIOU, or of each apart."),
    ] = True,
    steps: Annotated[int, typer.Option(help="Steps of LeRF and MoRF.")] = DEFAULT.steps,
    pixels_per_step: Annotated[
        int | None, typer.Option(help="Pixels replaced at each; default: all are, at the end.")
    ] = None,
    replacement: Annotated[
        str,
        typer.Option(
            help="By what: zero (of the model's input), mean (colour of the image), uniform (random "
            "colours) or a level of grey, 0 to 255."
        ),
    ] = DEFAULT.replacement,
    tolerance: Annotated[
        int, typer.Option(help="Of the pointing game, in pixels.")
    ] = DEFAULT.tolerance,
    backend: Annotated[
        str, typer.Option(help="keras, or innvestigate: its own baselines, on Keras 2.")
    ] = DEFAULT.backend,
    batch_size: Annotated[
        int, typer.Option(help="Steps or samples of one image computed at a time.")
    ] = DEFAULT.batch_size,
    figures: Annotated[
        int, typer.Option(help="Images in the figure of heat maps.")
    ] = DEFAULT.figures,
    photos: Annotated[
        bool, typer.Option(help="Show the images in it, beside their maps.")
    ] = DEFAULT.photos,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap.")] = DEFAULT.resamples,
    shard: Annotated[
        str, typer.Option(help="I/N: only the I-th of N parts of the images.")
    ] = "1/1",
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an image that cannot be measured.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Measure in this many processes, by Ray.")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="The Ray cluster to measure on; default: this machine.")
    ] = None,
) -> None:
    """Measures how well methods find objects; run again, it goes on where it was stopped."""
    flags = dict(locals())
    # Every field of Settings is a flag; several numbers or words come as one text.
    given = {field.name: flags[field.name] for field in fields(Settings)}
    for name, numbers in (("mean", mean), ("std", std)):
        read = read_numbers(f"--{name}", numbers)
        given[name] = None if read is None else tuple(read)
    settings = Settings(**given | {"methods": _words(methods), "metrics": _words(metrics)})
    part = _shard(shard)
    if ray_address is not None and workers is None:
        workers = 1
    from rap_keras.benchmark.run import check_shard, run

    check_shard(part)
    if backend == "innvestigate":
        # Keras 2 is chosen before TensorFlow is imported.
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    import_tensorflow()
    files = run(settings, out, part, strict, workers, ray_address)
    if not files:
        typer.echo(f"Part {shard} is measured: {out}. Put all parts together by rap-keras merge.")
        return
    _tell(out)


def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="The folders of all shards.")
    ],
    out: Annotated[Path, typer.Option(help="The folder for results and report.")] = Path(
        "rap-benchmark"
    ),
) -> None:
    """Puts the shards of a benchmark together."""
    from rap_keras.benchmark.run import merge as merge_stores

    merge_stores(folders, out)
    _tell(out)
