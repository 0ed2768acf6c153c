"""The commands `rap-keras benchmark`, `report` and `merge`."""

import contextlib
import importlib.util
import inspect
import json
import os
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from rap_keras.benchmark.settings import Settings, described
from rap_keras.cli.options import A_PATH, ModelFlags, read_numbers, read_path
from rap_keras.cli.session import import_tensorflow, tell
from rap_keras.datasets import open_dataset
from rap_keras.errors import InputError
from rap_keras.models.classes import read_classes
from rap_keras.models.request import check_request
from rap_keras.pipeline.methods import check_early
from rap_keras.support.files import check_writable
from rap_keras.support.reading import read_text, understood
from rap_keras.support.signals import Stopped
from rap_keras.support.text import counted, one_line

# The settings that all commands with a model have are told there.
_SHARED = {field.name: field.type for field in fields(ModelFlags)}


def _flags() -> Iterator[inspect.Parameter]:
    """A parameter for each setting; several words or numbers are typed as one text."""
    hints, defaults = get_type_hints(Settings), Settings()
    for name, setting in described().items():
        default = getattr(defaults, name)
        optional = default is None
        if name in _TUPLES:
            kind: Any = str | None if optional else str
            default = None if optional else ",".join(default)
        else:
            kind = hints[name]
        annotation = _SHARED.get(name, Annotated[kind, typer.Option(help=setting.text)])
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )


def _words(name: str, text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    read = read_numbers(name, text)
    return None if read is None else tuple(read)


_READERS = {tuple[str, ...]: _words, tuple[float, ...] | None: _numbers}
_TUPLES = {
    name: _READERS[kind] for name, kind in get_type_hints(Settings).items() if kind in _READERS
}


@contextlib.contextmanager
def _telling_what_is_kept(out: Path) -> Iterator[None]:
    """Where the command is told to stop, says what is there and how to go on."""
    try:
        yield
    except Stopped as stop:
        from rap_keras.benchmark.store import FILE, Store

        kept = 0
        if (out / FILE).is_file():
            with contextlib.suppress(InputError), Store(out) as store:
                kept = len(store.positions())
        tell(
            f"rap-keras: stopped by {stop}; {counted(kept, 'image')} measured and kept in "
            f"{one_line(out)}: rerun the same command to resume.",
            err=True,
        )
        raise typer.Exit(128 + stop.number) from stop


def _tell(out: Path) -> None:
    """Prints the results in short, and where they are."""
    from rap_keras.benchmark.reporting.tables import summary_lines
    from rap_keras.benchmark.store import Store

    with Store(out) as store:
        summary = json.loads((out / "summary.json").read_text("utf-8"))["summary"]
        tell("\n".join(summary_lines(store.protocol, summary)))
    tell(f"The tables and figures are in {one_line(out)}: report.md and report.html.")


def _config(context: typer.Context, path: Path | None) -> Path | None:
    """Takes the file's entries for the defaults of the flags, so that flags win over it."""
    if path is None:
        return None
    text = read_text(path, "config file")
    with understood(f"The config file {str(path)!r} cannot be read", "write it as TOML"):
        entries = tomllib.loads(text)
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


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    try:
        return int(number), int(count)
    except ValueError:
        raise InputError(f"Expected shard I/N, as in 2/4, got {text!r}.", "shard") from None


def _check_early(settings: Settings) -> None:
    """Refuses wrong settings before TensorFlow is loaded."""
    s = settings
    check_request(s.model, s.weights, s.preprocess, s.mean, s.std, s.size)
    if s.classes is not None:
        read_classes(s.classes)
    if s.backend == "keras":
        for method in s.rows():
            if not method.is_control:
                check_early(method)
    elif importlib.util.find_spec("innvestigate") is None:
        raise InputError(
            'backend="innvestigate" needs iNNvestigate, which is not installed.',
            "backend",
        )
    open_dataset(s.data)


def _check_resumed(settings: Settings, out: Path) -> None:
    """Refuses simple settings that differ from those of existing results."""
    from rap_keras.benchmark.sameness import check_same
    from rap_keras.benchmark.store import Store

    held = None
    # A full disk leaves a file without a protocol; anything else wrong with it is reported later.
    with contextlib.suppress(InputError), Store(out) as store:
        held = store.protocol if store.has_kept() else None
    if held is not None:
        given = settings.recorded()
        check_same({key: held[key] for key in given if key in held}, given, str(out))


def benchmark(
    out: Annotated[Path, typer.Option(help="The folder for results and report.", **A_PATH)] = Path(
        "rap-benchmark"
    ),
    config: Annotated[
        Path | None,
        typer.Option(
            callback=_config,
            is_eager=True,
            help="A .toml file with any of these flags, without --.",
            **A_PATH,
        ),
    ] = None,
    *,
    shard: Annotated[
        str, typer.Option(help="I/N: only the I-th of N parts of the images.")
    ] = "1/1",
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an image that cannot be measured.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Measure in this many processes, by Ray.")
    ] = None,
    cpus_per_worker: Annotated[
        float | None, typer.Option(help="Cores that Ray reserves for each; default: 1.")
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(help="GPUs for each, or a share of one, as 0.5; default: 0, none is seen."),
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="The Ray cluster to measure on; default: this machine.")
    ] = None,
    **settings: Any,
) -> None:
    """Compare attribution methods on a data set. Rerun the command to resume."""
    for name, read in _TUPLES.items():
        settings[name] = read(name, settings[name])
    chosen = Settings(**settings)
    part = _shard(shard)
    asked: dict[str, Any] = {
        "cpus": cpus_per_worker,
        "gpus": gpus_per_worker,
        "address": ray_address,
    }
    told = {name: value for name, value in asked.items() if value is not None}
    _check_early(chosen)
    with _telling_what_is_kept(out):
        from rap_keras.benchmark.distributed import Workers, check_ray
        from rap_keras.benchmark.running import check_shard, run

        check_shard(part)
        spread = Workers(workers or 1, **told) if workers is not None or told else None
        if spread is not None:
            check_ray()
        check_writable(out)
        _check_resumed(chosen, out)
        if chosen.backend == "innvestigate":
            # Keras 2 is chosen before TensorFlow is imported.
            os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
        import_tensorflow()
        files = run(chosen, out, part, strict, spread)
        if not files:
            tell(
                f"Part {shard} is measured: {one_line(out)}. Combine all parts with rap-keras merge."
            )
            return
        _tell(out)


def _with_flags() -> inspect.Signature:
    """The command's parameters, with those of the settings where it takes any."""
    own = list(inspect.signature(benchmark).parameters.values())[:-1]
    return inspect.Signature([*own[:2], *_flags(), *own[2:]])


benchmark.__signature__ = _with_flags()  # type: ignore[attr-defined]


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            parser=read_path, metavar="DIR", help="The output folder of rap-keras benchmark."
        ),
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            help="The method that the others are compared to, by its title; default: rap."
        ),
    ] = None,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Write results.parquet too; needs pandas and pyarrow.")
    ] = False,
) -> None:
    """Rewrite the report of a benchmark, without its model and data."""
    from rap_keras.benchmark.running import report as write

    write(folder, reference, parquet)
    _tell(folder)


def merge(
    folders: Annotated[
        list[Path],
        typer.Argument(parser=read_path, metavar="DIR...", help="The folders of all shards."),
    ],
    out: Annotated[Path, typer.Option(help="The folder for results and report.", **A_PATH)] = Path(
        "rap-benchmark"
    ),
) -> None:
    """Merge the shards of a benchmark."""
    with _telling_what_is_kept(out):
        from rap_keras.benchmark.running import merge as merge_stores

        merge_stores(folders, out)
        _tell(out)
