"""Runs a benchmark over a data set, resumes it, and merges the results of several machines."""

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rap_keras.benchmark.distributed import Workers, connected, measure_all
from rap_keras.benchmark.measure import Bench, Measured
from rap_keras.benchmark.reporting.report import write_report
from rap_keras.benchmark.results import Results
from rap_keras.benchmark.sameness import check_same
from rap_keras.benchmark.settings import Settings
from rap_keras.benchmark.store import Store
from rap_keras.errors import InputError, UnwritableError
from rap_keras.support.files import replacing
from rap_keras.support.progress import track
from rap_keras.support.quiet import warnings_once

Shard = tuple[int, int]
Read = TypeVar("Read")


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
    bench = Bench(settings)
    protocol = bench.protocol() | {"shard": list(shard)}
    number, count = shard
    # Ray first: if it is not available, nothing is written.
    ray = contextlib.nullcontext() if workers is None else connected(workers)
    with ray, _begun(Path(out), protocol) as store, contextlib.ExitStack() as stack:
        _check_shard_of(store, shard)
        store.rename(settings.title)
        stack.enter_context(_without_empty_results(store, shard))
        stack.enter_context(warnings_once("PIL"))  # many chunks may give the same warning
        wanted = range(number - 1, len(bench.chunks), count)
        done = store.finished()
        missing = [k for k in wanted if not done.issuperset(bench.chunks[k])]
        measured: Iterator[list[Measured]]
        if workers is None:
            readings = _ahead(lambda k: bench.read(bench.chunks[k]), missing)
            measured = (bench.measure(images, strict) for images in readings)
        else:
            measured = measure_all(settings, store.protocol, missing, strict, workers)
        figures = settings.figures - len(store.positions_of_maps())
        for chunk in track(measured, "measuring", len(missing)):
            with_maps = []
            for record, maps in chunk:
                with_maps.append((record, maps if figures > 0 else {}))
                figures -= bool(maps)
            store.add(with_maps)
        _complete_figures(store, bench)
        return _report(store) if count == 1 else []


def _ahead(read: Callable[[int], Read], items: Sequence[int]) -> Iterator[Read]:
    """Reads the items, each on another thread while the item before is processed."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        coming: concurrent.futures.Future[Read] | None = None
        for item in items:
            following = thread.submit(read, item)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()


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
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(Store(Path(folder))) for folder in folders]
        first = stores[0]
        for store in stores[1:]:
            check_same(first.protocol, store.protocol, str(first.folder))
        shards = [tuple(store.protocol["shard"]) for store in stores]
        count = shards[0][1]
        if sorted(shards) != [(number, count) for number in range(1, count + 1)]:
            listed = ", ".join(f"{number}/{of}" for number, of in shards)
            raise InputError(f"Expected each of the {count} shards once, got {listed}.")
        total = first.protocol["images"]
        held = sum(len(store.positions()) for store in stores)
        if held != total:
            raise InputError(
                f"Expected the results of all {total} images, got {held}: finish each shard with the "
                "command that started it."
            )
        titles = [store.protocol["title"] for store in stores if "title" in store.protocol]
        with _begun(Path(out), first.protocol | {"shard": [1, 1]}) as whole:
            _check_shard_of(whole, (1, 1))
            whole.rename(titles[0] if titles else None)
            with _without_empty_results(whole, (1, 1)):
                for store in stores:
                    maps = store.maps()
                    for record in store.images():
                        whole.add([(record, maps.get(record["position"], {}))])
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
        table = _parquet(Results(store.protocol, store.images())) if parquet else None
        files = _report(store, reference)
        if table is not None:
            with replacing(store.folder / "results.parquet") as file:
                file.write(table)
            files.append(store.folder / "results.parquet")
    return files


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
    try:
        maps = store.maps(protocol["figures"])
        return write_report(store.folder, protocol, images, maps, reference=reference)
    except UnwritableError as error:
        raise InputError(
            f"The report cannot be written to {str(store.folder)!r} ({error.reason}); the "
            "results are kept: fix this and run the same command again."
        ) from error


def _begun(out: Path, protocol: Mapping[str, Any]) -> Store:
    """Opens the results in a folder; results of another protocol without a kept image are replaced."""
    try:
        return Store(out, protocol)
    except InputError:
        with contextlib.suppress(InputError), Store(out) as before:
            if not before.has_kept():
                before.discard()
        return Store(out, protocol)


@contextlib.contextmanager
def _without_empty_results(store: Store, shard: Shard) -> Iterator[None]:
    """Removes results without a kept image, which would block the corrected command.

    A shard may have no kept image and is still needed by `merge`. It is removed only if nothing was
    measured.
    """
    try:
        yield
    finally:
        with contextlib.suppress(InputError):  # the error was reported before
            measured = len(store.positions())
            empty = not store.has_kept() if shard[1] == 1 else not measured
            # Results of another process stay, unless everything is measured.
            if empty and (store.created or measured == store.protocol.get("images")):
                store.discard()


def check_shard(shard: Shard) -> None:
    """Refuses a shard that does not exist.

    Raises:
        InputError: The number of the shard is not from 1 to n.
    """
    number, count = shard
    if not 1 <= number <= count:
        raise InputError(f"Expected shard I/N with I from 1 to N, got {number}/{count}.", "shard")


def _check_shard_of(store: Store, shard: Shard) -> None:
    held = tuple(store.protocol["shard"])
    if held != shard:
        names = [
            "all images" if count == 1 else f"the shard {n}/{count}" for n, count in (shard, held)
        ]
        raise InputError(
            f"Expected {str(store.folder)!r} to have results of {names[0]}, got {names[1]}: use a "
            "separate folder for each."
        )


def _complete_figures(store: Store, bench: Bench) -> None:
    """Adds missing maps of the first kept images, because chunks may be measured in another order."""
    kept = [record["position"] for record in store.images() if record["status"] == "kept"]
    held = store.positions_of_maps()
    lacking = set(kept[: bench.settings.figures]) - held
    for chunk in bench.chunks:
        if lacking.intersection(chunk):
            maps = bench.maps(bench.read(chunk))
            for position in lacking.intersection(chunk, maps):
                store.add_maps(position, maps[position])
