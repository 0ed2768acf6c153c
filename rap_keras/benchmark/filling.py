"""Fills a store chunk by chunk: resumes, divides the work among machines, and merges their results."""

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rap_keras.benchmark.distributed import Measuring, Workers, connected, measure_all
from rap_keras.benchmark.measure import Measured
from rap_keras.benchmark.sameness import check_kind, check_same
from rap_keras.benchmark.store import Store
from rap_keras.errors import InputError
from rap_keras.support.progress import track
from rap_keras.support.quiet import warnings_once

Shard = tuple[int, int]
Read = TypeVar("Read")


@contextlib.contextmanager
def filled(
    out: Path,
    bench: Measuring,
    make: Callable[[], Measuring],
    shard: Shard = (1, 1),
    strict: bool = False,
    workers: Workers | None = None,
    title: str | None = None,
) -> Iterator[Store]:
    """Measures the chunks that are not in a store yet. Yields the store with all of them.

    `make` makes `bench` again, in the process of a worker. See `running.run` for the other arguments.
    """
    check_shard(shard)
    protocol = bench.protocol() | {"shard": list(shard)}
    number, count = shard
    # Ray first: if it is not available, nothing is written.
    ray = contextlib.nullcontext() if workers is None else connected(workers)
    with ray, _begun(out, protocol) as store, contextlib.ExitStack() as stack:
        _check_shard_of(store, shard)
        store.rename(title)
        stack.enter_context(_without_empty_results(store, shard))
        stack.enter_context(warnings_once("PIL"))  # many chunks may give the same warning
        wanted = range(number - 1, len(bench.chunks), count)
        done = store.finished()
        missing = [k for k in wanted if not done.issuperset(bench.chunks[k])]
        measured: Iterator[list[Measured]]
        if workers is None:
            readings = ahead(lambda k: bench.read(bench.chunks[k]), missing)
            measured = (bench.measure(images, strict) for images in readings)
        else:
            measured = measure_all(make, store.protocol, missing, strict, workers)
        left = float("inf")
        if bench.most_maps is not None:
            left = bench.most_maps - len(store.positions_of_maps())
        for chunk in track(measured, "measuring", len(missing)):
            with_maps = []
            for record, maps in chunk:
                with_maps.append((record, maps if left > 0 else {}))
                left -= bool(maps)
            store.add(with_maps)
        yield store


@contextlib.contextmanager
def merged(folders: Sequence[Path], out: Path, kind: str = "benchmark") -> Iterator[Store]:
    """Merges the stores of all shards into one, and yields it. `kind` is the command that made them."""
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(Store(folder)) for folder in folders]
        first = stores[0]
        check_kind(first.protocol, kind, str(first.folder))
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
        with _begun(out, first.protocol | {"shard": [1, 1]}) as whole:
            _check_shard_of(whole, (1, 1))
            whole.rename(titles[0] if titles else None)
            with _without_empty_results(whole, (1, 1)):
                for store in stores:
                    for record in store.images():
                        whole.add([(record, store.maps_of(record["position"]))])
                measured = [costs for store in stores if (costs := store.costs()) is not None]
                if measured:
                    whole.set_costs(measured[0])
                yield whole


def ahead(read: Callable[[int], Read], items: Sequence[int]) -> Iterator[Read]:
    """Reads the items, each on another thread while the item before is processed."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        futures = (thread.submit(read, item) for item in items)
        coming = next(futures, None)
        while coming is not None:
            following = next(futures, None)
            yield coming.result()
            coming = following


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

    A shard may have no kept image, or no image at all, and is still needed by `merge`. It is removed
    only if it failed before anything was measured.
    """
    failed = True
    try:
        yield
        failed = False
    finally:
        with contextlib.suppress(InputError):  # the error was reported before
            measured = len(store.positions())
            empty = not store.has_kept() if shard[1] == 1 else failed and not measured
            # Results of another process stay, unless everything is measured.
            if empty and (store.created or measured == store.protocol.get("images")):
                store.discard()


def check_shard(shard: Shard) -> None:
    """Refuses a shard that does not exist."""
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
