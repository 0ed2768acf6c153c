"""The commands `rap-keras benchmark`, `report` and `merge`."""

import contextlib
import importlib.util
import inspect
import json
import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from rap_keras.benchmark.settings import Settings, described
from rap_keras.cli.options import A_FILE, A_FOLDER, A_SWITCH, ModelFlags, in_group, output_option
from rap_keras.cli.parts import WorkFlags, reporting_progress, shared_flags
from rap_keras.cli.session import echo, import_backend
from rap_keras.datasets import open_dataset
from rap_keras.errors import InputError
from rap_keras.models.classes import read_classes
from rap_keras.models.request import check_request
from rap_keras.pipeline.methods import check_early
from rap_keras.support.files import check_writable
from rap_keras.support.options import read_numbers
from rap_keras.support.reading import read_text, understood
from rap_keras.support.text import one_line

# Settings that are flags of every command with a model.
_SHARED = {field.name: field.type for field in fields(ModelFlags)}

# Groups of `--help`: the first setting of each => its title.
_GROUPS = {
    "model": "Model",
    "data": "Data",
    "methods": "Methods",
    "metrics": "Metrics",
    "limit": "Data",
    "percentile": "Localization metrics",
    "steps": "Perturbation metrics",
    "top_k": "Other metrics",
    "backend": "Methods",
    "chunk": "Performance",
    "figures": "Output",
    "resamples": "Metrics",
    "title": "Output",
}
_METAVARS = {bool: "", int: "N", float: "NUMBER", int | None: "N", float | None: "NUMBER"}


def _flags() -> Iterator[inspect.Parameter]:
    """Yields a parameter for each setting. Lists are typed as one text."""
    hints, defaults, group = get_type_hints(Settings), Settings(), ""
    for name, setting in described().items():
        group = _GROUPS.get(name, group)
        default = getattr(defaults, name)
        optional = default is None
        if name in _TUPLES:
            kind: Any = str | None if optional else str
            default = None if optional else ", ".join(default)
        else:
            kind = hints[name]
        metavar = "|".join(map(str, setting.values)) or name.rpartition("_")[2].upper()
        option = in_group(group)(help=setting.help, metavar=_METAVARS.get(kind, metavar))
        annotation = _SHARED.get(name, Annotated[kind, option])
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


def _print_results(out: Path) -> None:
    """Prints a summary of the results, and where to find them."""
    from rap_keras.benchmark.reporting.answer import answer_lines
    from rap_keras.benchmark.reporting.tables import summary_lines
    from rap_keras.benchmark.store import Store

    with Store(out) as store:
        summary = json.loads((out / "summary.json").read_text("utf-8"))["summary"]
        lines = summary_lines(store.protocol, summary) + answer_lines(store.protocol, summary)
        echo("\n".join(lines))
    echo(f"The report is in {one_line(out)}: report.html and report.md.")


def _config(context: typer.Context, path: Path | None) -> Path | None:
    """Uses the file's entries as defaults of the flags, so that flags override them."""
    if path is None:
        return None
    text = read_text(path, "config file")
    with understood(f"Expected {str(path)!r} to be a TOML file, got one that cannot be read"):
        entries = tomllib.loads(text)
    known = {parameter.name for parameter in context.command.params} - {"config", "help"}
    unknown = [key for key in entries if key.replace("-", "_") not in known]
    if unknown:
        raise InputError(
            f"Expected the entries of {str(path)!r} to be flags of this command, without --, got "
            f"{unknown[0]!r}: see rap-keras benchmark --help."
        )
    context.default_map = {k.replace("-", "_"): _as_flag(path, k, v) for k, v in entries.items()}
    return path


def _as_flag(path: Path, key: str, value: Any) -> str:
    """Returns a value as it is typed on the command line, so that it is checked in the same way."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(_as_flag(path, key, one) for one in value)
    if not isinstance(value, str | int | float):
        raise InputError(
            f"Expected text, a number, true, false or a list of these for {key!r} in {str(path)!r}."
        )
    return str(value)


def _check_early(settings: Settings) -> None:
    """Checks the settings before Keras is loaded."""
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
            "Expected iNNvestigate to be installed for backend=innvestigate, got no such package: see "
            "docs/install.md, or use backend=keras.",
            "backend",
        )
    if not s.has_units:
        open_dataset(s.data)


def _check_resumed(settings: Settings, out: Path) -> None:
    """Raises an error if settings differ from those of existing results."""
    from rap_keras.benchmark.sameness import check_same
    from rap_keras.benchmark.store import Store

    earlier = None
    # A full disk leaves a file without a protocol. Other faults of the file are reported later.
    with contextlib.suppress(InputError), Store(out) as store:
        earlier = store.protocol if store.has_kept() else None
    if earlier is not None:
        given = settings.recorded()
        check_same({key: earlier[key] for key in given if key in earlier}, given, str(out))


@shared_flags
def benchmark(
    *,
    out: Annotated[
        Path, output_option(help="The folder for the results and the report.", **A_FOLDER)
    ] = Path("rap-benchmark"),
    strict: Annotated[
        bool,
        in_group("Data")(
            "--strict",
            help="Stop at an image that cannot be measured, instead of skipping it.",
            **A_SWITCH,
        ),
    ] = False,
    work: WorkFlags,
    config: Annotated[
        Path | None,
        in_group("Other")(
            callback=_config,
            is_eager=True,
            help="TOML file with flags of this command, without --. Flags override it.",
            **A_FILE,
        ),
    ] = None,
    **settings: Any,
) -> None:
    """Compare attribution methods on a data set. Rerun the command to resume."""
    for name, read in _TUPLES.items():
        settings[name] = read(name, settings[name])
    chosen = Settings(**settings)
    part = work.read_shard()
    _check_early(chosen)
    with reporting_progress(out):
        from rap_keras.benchmark.running import run

        distributed = work.read_workers()
        check_writable(out)
        _check_resumed(chosen, out)
        if chosen.backend == "innvestigate":
            # Choose Keras 2 before TensorFlow is imported.
            os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
        import_backend()
        files = run(chosen, out, part, strict, distributed)
        if not files:
            echo(
                f"Part {work.shard} is measured: {one_line(out)}. Merge all parts with rap-keras merge."
            )
            return
        _print_results(out)


_others = inspect.signature(benchmark).parameters.values()
benchmark.__signature__ = inspect.Signature([*_flags(), *_others])  # type: ignore[attr-defined]


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="The output folder of rap-keras benchmark; several with --across.", **A_FOLDER
        ),
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="TITLE",
            help="Title of the method that the others are compared with. Default: rap.",
        ),
    ] = None,
    parquet: Annotated[
        bool,
        typer.Option(
            "--parquet", help="Also write results.parquet (needs pandas and pyarrow).", **A_SWITCH
        ),
    ] = False,
    across: Annotated[
        bool,
        typer.Option(
            "--across",
            help="Compare the methods over networks: one or more folders for each network. A folder "
            "with only summary.json is enough.",
            **A_SWITCH,
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="With --across: the folder for across.html and across.md. Default: rap-across.",
            **A_FOLDER,
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="QUANTITY",
            help="With --across: a quantity to compare, as named in summary.json, or several separated "
            "by commas. Default: all.",
        ),
    ] = None,
) -> None:
    """Rewrite the report of a benchmark, or compare methods over several reports.

    Needs neither the models nor the data.
    """
    if across:
        if reference is not None or parquet:
            raise InputError(
                "Expected across without reference and parquet, which belong to a single report: leave "
                "them out.",
                ("across", "reference", "parquet"),
            )
        _report_across(folders, Path("rap-across") if out is None else out, metric or ())
        return
    if len(folders) > 1 or out is not None or metric:
        raise InputError(
            "Expected one folder, without out and metric: use across to compare several reports over "
            "networks, or rap-keras merge for the parts of one benchmark.",
            ("across", "out", "metric"),
        )
    from rap_keras.benchmark.running import report as write

    write(folders[0], reference, parquet)
    _print_results(folders[0])


def _report_across(folders: list[Path], out: Path, metric: Sequence[str]) -> None:
    """Writes the report over networks, and prints its answers."""
    from rap_keras.benchmark.reporting.across import across_lines
    from rap_keras.benchmark.running import across as write

    write(folders, out, tuple(word for given in metric for word in _words("metric", given)))
    echo("\n".join(across_lines(json.loads((out / "across.json").read_text("utf-8")))))
    echo(f"The report is in {one_line(out)}: across.html and across.md.")


def merge(
    folders: Annotated[
        list[Path], typer.Argument(help="The output folders of all parts.", **A_FOLDER)
    ],
    out: Annotated[
        Path, typer.Option(help="The folder for the results and the report.", **A_FOLDER)
    ] = Path("rap-benchmark"),
) -> None:
    """Merge the parts of a benchmark that ran with --shard."""
    with reporting_progress(out):
        from rap_keras.benchmark.running import merge as merge_stores

        merge_stores(folders, out)
        _print_results(out)
