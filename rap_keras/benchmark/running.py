"""Runs a benchmark over a data set, resumes it, and merges the results of several machines."""

import functools
from collections.abc import Sequence
from pathlib import Path

from rap_keras.benchmark.costs import measure_costs
from rap_keras.benchmark.distributed import Workers
from rap_keras.benchmark.filling import Shard, check_shard, filled, merged
from rap_keras.benchmark.measure import Bench, UnitBench
from rap_keras.benchmark.metrics import METRICS
from rap_keras.benchmark.networks import over_networks
from rap_keras.benchmark.reporting.across import write_across
from rap_keras.benchmark.reporting.report import write_report
from rap_keras.benchmark.results import Results, read_reports
from rap_keras.benchmark.sameness import check_kind
from rap_keras.benchmark.seeds import states_kept
from rap_keras.benchmark.settings import Settings
from rap_keras.benchmark.store import Store
from rap_keras.errors import InputError, UnwritableError
from rap_keras.support.files import replacing
from rap_keras.support.warn import warn


@states_kept()
def run(
    settings: Settings,
    out: str | Path,
    shard: Shard = (1, 1),
    strict: bool = False,
    workers: Workers | None = None,
) -> list[Path]:
    """Measures the images that are not measured yet, and writes the report.

    Args:
        settings: What to measure, and how.
        out: The folder for the results. Results of an earlier run with the same settings are kept.
        shard: (i, n): only the i-th of n parts of the chunks, counted from 1.
        strict: Stop at an image that cannot be measured, instead of skipping it.
        workers: Ray processes that measure; None measures in this process.

    Returns:
        The files of the report; none for a shard (see `merge`).

    Raises:
        InputError: The settings do not fit together, or a file cannot be read or written.

    Example:
        >>> import tempfile
        >>> settings = rap_keras.benchmark.Settings(methods=("gradient",), metrics=("ratio",), limit=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = rap_keras.benchmark.run(settings, folder)
        >>> [file.name for file in files if file.suffix == ".html"]
        ['report.html', 'maps.html']
    """
    check_shard(shard)
    make = functools.partial(UnitBench if settings.has_units else Bench, settings)
    bench = make()
    with filled(Path(out), bench, make, shard, strict, workers, settings.title) as store:
        if isinstance(bench, Bench):
            _complete_figures(store, bench)
            # The batch may be that of another shard.
            if settings.costs and shard[0] == 1 and (store.has_kept() or shard[1] > 1):
                store.set_costs(measure_costs(bench))
        return _report(store) if shard[1] == 1 else []


def merge(folders: Sequence[str | Path], out: str | Path) -> list[Path]:
    """Merges the shards of one benchmark, and writes the report.

    Args:
        folders: The folders of all shards.
        out: The folder for the merged results.

    Returns:
        The files of the report.

    Raises:
        InputError: A shard is missing, unfinished, given twice or of another protocol.

    Example:
        >>> import os, tempfile
        >>> settings = rap_keras.benchmark.Settings(
        ...     methods=("gradient",), metrics=("ratio",), limit=2, chunk=1
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     parts = [os.path.join(folder, str(k)) for k in (1, 2)]
        ...     for k, part in enumerate(parts):
        ...         _ = rap_keras.benchmark.run(settings, part, shard=(k + 1, 2))
        ...     files = rap_keras.benchmark.merge(parts, os.path.join(folder, "whole"))
        >>> files[0].name
        'report.md'
    """
    with merged([Path(folder) for folder in folders], Path(out)) as whole:
        return _report(whole)


def report(folder: str | Path, reference: str | None = None, parquet: bool = False) -> list[Path]:
    """Rewrites the report of the results in a folder.

    Args:
        folder: The folder of results of `run` or `merge`.
        reference: The title of the method that the others are compared to; None: "rap", or the first
            if there is none.
        parquet: Write results.parquet as well: `load(folder).frame`.

    Returns:
        The files of the report.

    Raises:
        InputError: There are no results, no image was kept, there is no such method, a file cannot be
            written, or pandas or pyarrow is missing for Parquet.

    Example:
        >>> import tempfile
        >>> settings = rap_keras.benchmark.Settings(
        ...     methods=("gradient", "input_t_gradient"), metrics=("ratio",), limit=2
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = rap_keras.benchmark.run(settings, folder)
        ...     files = rap_keras.benchmark.report(folder, reference="input_t_gradient")
        >>> files[0].name
        'report.md'
    """
    with Store(Path(folder)) as store:
        check_kind(store.protocol, "benchmark", str(folder))
        table = _parquet(Results(store.protocol, store.images())) if parquet else None
        files = _report(store, reference)
        if table is not None:
            with replacing(store.folder / "results.parquet") as file:
                file.write(table)
            files.append(store.folder / "results.parquet")
    return files


def across(
    folders: Sequence[str | Path], out: str | Path, quantities: Sequence[str] = ()
) -> list[Path]:
    """Compares methods over networks, from the results of several benchmarks.

    Each network is one block (Demsar 2006): the methods are ranked in each network, their mean ranks are
    tested with Friedman's test, and methods differ if their mean ranks differ by more than Nemenyi's
    critical difference. Within a network with several reports the ranks are averaged. Methods are the
    same if their titles are. The standard deviation of a method's mean rank over the metrics shows how
    much its place depends on the metric (LATEC, Klein et al. 2024).

    Args:
        folders: The folders of results of `run` or `merge`, or folders with only their summary.json.
        out: The folder for across.md, across.html and across.json.
        quantities: The names of the quantities to compare, as in summary.json; none: those that are
            compared in reports and that at least three of the folders have (of two folders, both).

    Returns:
        The three files.

    Raises:
        InputError: A folder has no results, all are of one network, no quantity can be compared, or a
            file cannot be written.

    Example:
        >>> import json, pathlib, tempfile
        >>> def summary(network, **values):  # the part of a summary.json that is needed
        ...     methods = {
        ...         title: {"quantities": {"average_precision": {"value": value}}}
        ...         for title, value in values.items()
        ...     }
        ...     protocol = {"model": network, "data": "voc", "metrics": ["average_precision"]}
        ...     return {"protocol": protocol, "summary": {"kept": 100, "methods": methods}}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     parts = [pathlib.Path(folder, name) for name in ("vgg", "residual")]
        ...     for part, rap in zip(parts, (0.9, 0.7)):
        ...         part.mkdir()
        ...         content = json.dumps(summary(part.name, rap=rap, gradient=0.2))
        ...         _ = (part / "summary.json").write_text(content)
        ...     files = rap_keras.benchmark.across(parts, pathlib.Path(folder, "across"))
        ...     found = json.loads(files[2].read_text())
        >>> found["quantities"]["average_precision"]["methods"]
        {'rap': 1.0, 'gradient': 2.0}
        >>> [file.name for file in files]
        ['across.md', 'across.html', 'across.json']
    """
    return write_across(Path(out), over_networks(read_reports(folders), quantities))


def _parquet(results: Results) -> bytes:
    try:
        return results.frame.to_parquet(index=False, engine="pyarrow")
    except ImportError:
        raise InputError(
            "Parquet needs pyarrow, which is not installed: pip install pyarrow, or use results.csv."
        ) from None


def _report(store: Store, reference: str | None = None) -> list[Path]:
    images = store.images()
    skipped = [record for record in images if record["status"] == "skipped"]
    if skipped and not any(record["status"] == "kept" for record in images):
        raise InputError(
            f"No image was kept: {len(images) - len(skipped)} misclassified, {len(skipped)} "
            f"skipped. The first that was skipped: {skipped[0]['reason']}"
        )
    protocol = {k: v for k, v in store.protocol.items() if k != "shard"}
    unknown = [name for name in protocol["metrics"] if name not in METRICS]
    if unknown:
        warn(
            f"The report leaves out {', '.join(unknown)}: no such metric in this process. If it is your "
            "own, add it to METRICS first, and call rap_keras.benchmark.report."
        )
    try:
        maps = store.maps(protocol.get("figures", 0))
        return write_report(
            store.folder, protocol, images, maps, reference=reference, costs=store.costs()
        )
    except UnwritableError as error:
        raise InputError(
            f"The report cannot be written to {str(store.folder)!r} ({error.reason}); the "
            "results are kept: fix this and run the same command again."
        ) from error


def _complete_figures(store: Store, bench: Bench) -> None:
    """Adds missing maps of the first kept images, because chunks may be measured in another order."""
    kept = [record["position"] for record in store.images() if record["status"] == "kept"]
    lacking = set(kept[: bench.settings.figures]) - store.positions_of_maps()
    for chunk in bench.chunks:
        if lacking.intersection(chunk):
            maps = bench.maps(bench.read(chunk))
            for position in lacking.intersection(chunk, maps):
                store.add_maps(position, maps[position])
