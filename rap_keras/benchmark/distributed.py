"""The benchmark on several processes or machines, by Ray Data."""

import contextlib
import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rap_keras.benchmark.measure import Bench, Measured
from rap_keras.benchmark.metrics import Record
from rap_keras.benchmark.settings import Settings
from rap_keras.benchmark.store import check_same
from rap_keras.errors import InputError
from rap_keras.support.quiet import silenced_stderr

_PATIENCE = 10  # Seconds until a cluster answers; Ray alone would try for minutes.


class Worker:
    """Loads the model once and measures what it is sent; an actor of Ray Data.

    Args:
        settings: What to measure, and how.
        protocol: That of the results, so that no worker adds to them what is measured otherwise.
        strict: Raise what is wrong with an image.
    """

    def __init__(self, settings: Settings, protocol: Mapping[str, Any], strict: bool) -> None:
        self._strict = strict
        self._refusal = ""
        try:
            self._bench = Bench(settings)
            check_same(protocol, self._bench.protocol(), "the folder of results")
        except InputError as problem:
            self._refusal = f"A worker on {socket.gethostname()} cannot measure. {problem}"

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Turns numbers of chunks into the records of their images (as JSON, exactly)."""
        answers, errors = [], []
        for number in batch["chunk"]:
            records: list[Record] = []
            error = self._refusal
            if not error:
                try:
                    readings = self._bench.read(self._bench.chunks[number])
                    records = [record for record, _ in self._bench.measure(readings, self._strict)]
                except InputError as problem:  # the one who asked is told, not Ray
                    error = str(problem)
            answers.append(json.dumps(records))
            errors.append(error)
        return {"records": np.array(answers, object), "error": np.array(errors, object)}


@contextlib.contextmanager
def connected(workers: int, address: str | None) -> Iterator[None]:
    """Ray on this machine, with room for each worker, or a cluster.

    Args:
        workers: The number of workers.
        address: The cluster; None starts Ray on this machine.

    Raises:
        InputError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            "Expected Ray for workers, but it is not installed: run pip install "
            "'rap-keras[distributed]'.",
            "workers",
        ) from error
    # Ray would tell its own affairs on stderr.
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    options: dict[str, Any] = {"address": address}
    if address is None:
        options = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address is not None:
            _reach(address)
        with silenced_stderr():  # Ray tells that it has been told to be silent.
            ray.init(log_to_driver=False, configure_logging=False, **options)
    except (OSError, ValueError, RuntimeError) as error:
        where = f"The Ray cluster {address!r} cannot be reached" if address else "Ray cannot start"
        raise InputError(f"{where} ({_first_line(error)}).", "ray_address") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's own would end the process where it stands.
    try:
        yield
    finally:
        ray.shutdown()


def measure_all(
    settings: Settings,
    protocol: Mapping[str, Any],
    chunks: Sequence[int],
    strict: bool,
    workers: int,
) -> Iterator[list[Measured]]:
    """Measures chunks on Ray's workers, each of which loads the model once; inside of `connected`.

    What a worker had at hand when it died goes to another.

    Args:
        settings: What to measure, and how.
        protocol: That of the results.
        chunks: The numbers of the chunks.
        strict: Stop at an image that cannot be measured.
        workers: The number of workers.

    Returns:
        The records of each chunk's images, as they come; without maps.

    Raises:
        InputError: The cluster is lost; or a worker cannot load the same model; or, with `strict`, an
            image cannot be measured.
    """
    if not chunks:
        return
    import ray
    import ray.data

    data = ray.data.from_items(
        [{"chunk": number} for number in chunks],
        # One chunk a block: what a dead worker takes with it is done again, and no more.
        override_num_blocks=len(chunks),
    )
    results = data.map_batches(
        Worker,
        batch_size=1,
        fn_constructor_args=(settings, protocol, strict),
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    try:
        for row in results.iter_rows():
            if row["error"]:
                raise InputError(row["error"])
            yield [(record, {}) for record in json.loads(row["records"])]
    except (ray.exceptions.RayActorError, ray.exceptions.RaySystemError) as error:
        raise InputError(
            f"Ray has lost its workers ({_first_line(error)}); what was measured is kept: run the "
            "same command again."
        ) from error


def _reach(address: str) -> None:
    """Asks a cluster at HOST:PORT whether it is there; raises OSError if not."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        with socket.create_connection((host.strip("[]"), int(port)), _PATIENCE):
            pass


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(" .:") if lines else type(error).__name__
