"""The benchmark on several processes or machines, with Ray Data."""

import contextlib
import importlib.util
import logging
import math
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rap_keras.benchmark.measure import Chunk, Measured
from rap_keras.benchmark.sameness import check_same
from rap_keras.errors import InputError
from rap_keras.support.devices import share_gpu
from rap_keras.support.options import read_integer, read_number
from rap_keras.support.quiet import silenced_stderr, warnings_once
from rap_keras.support.text import reason


class Measuring(Protocol):
    """What measures images, chunk by chunk: `Bench`, `UnitBench` or the `Channels` of an atlas."""

    chunks: Sequence[Chunk]
    most_maps: int | None
    """For how many images maps are stored; None: for all."""

    def protocol(self) -> dict[str, Any]:
        """Everything that the results depend on, JSON-serialisable."""

    def read(self, chunk: Chunk) -> Sequence[Any]:
        """Reads the images of a chunk."""

    def measure(self, readings: Sequence[Any], strict: bool = False) -> list[Measured]:
        """The record and the maps of each image; `strict` raises errors instead of skipping images."""


@dataclass(frozen=True)
class Workers:
    """The processes that measure, and their resources.

    Attributes:
        count: The number of workers.
        cpus: Cores that Ray reserves for each worker.
        gpus: GPUs for each worker, or a share of one: two workers with 0.5 use one card. With 0, workers
            see no GPU.
        address: The Ray cluster that they run on; None is this machine.
    """

    count: int
    cpus: float = 1
    gpus: float = 0
    address: str | None = None

    def __post_init__(self) -> None:
        """Refuses resources that Ray would wait for forever."""
        read_integer("workers", self.count, 1)
        for name, value in (("cpus_per_worker", self.cpus), ("gpus_per_worker", self.gpus)):
            number = read_number(name, value, 0)
            if number > 1 and number != int(number):
                raise InputError(
                    f"Expected {name} to be a whole number or a share below 1, got {number:g}.",
                    name,
                )
        if self.cpus == 0 and self.gpus == 0:
            raise InputError(
                "Expected a worker to have a CPU or a GPU, got cpus_per_worker=0 and gpus_per_worker=0.",
                ("cpus_per_worker", "gpus_per_worker"),
            )


_PATIENCE = 10  # Seconds until a cluster answers; Ray alone would try for minutes.


class Worker:
    """Loads the model once and measures the chunks that it gets; an actor of Ray Data.

    It refuses another protocol than that of the results. `keras_backend` None is the one that is
    configured on its machine.
    """

    def __init__(
        self,
        make: Callable[[], Measuring],
        protocol: Mapping[str, Any],
        strict: bool,
        keras_backend: str | None = None,
    ) -> None:
        share_gpu()
        if keras_backend is not None:
            os.environ["KERAS_BACKEND"] = keras_backend
        self._strict = strict
        self._refusal = ""
        try:
            self._bench = make()
            check_same(protocol, self._bench.protocol(), "the folder of results")
        except InputError as problem:
            self._refusal = f"A worker on {socket.gethostname()} cannot measure. {problem}"

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Measures chunks, which are given by their numbers; answers in bytes, with an error or ""."""
        answers = [self._measured(number) for number in batch["chunk"]]
        return {
            "measured": np.array([pickle.dumps(measured) for measured, _ in answers], object),
            "error": np.array([error for _, error in answers], object),
        }

    def _measured(self, number: int) -> tuple[list[Measured], str]:
        """The records of a chunk, with maps if those of all images are stored."""
        if self._refusal:
            return [], self._refusal
        try:
            with warnings_once("PIL"):
                readings = self._bench.read(self._bench.chunks[number])
                measured = self._bench.measure(readings, self._strict)
        except InputError as problem:  # for the caller, not for Ray
            return [], str(problem)
        with_maps = self._bench.most_maps is None
        return [(record, maps if with_maps else {}) for record, maps in measured], ""


def check_ray() -> None:
    """Refuses workers if Ray is not installed, without loading it."""
    if "ray" not in sys.modules and importlib.util.find_spec("ray") is None:
        raise _no_ray()


def _no_ray() -> InputError:
    return InputError(
        "Expected Ray for workers, but it is not installed: run pip install 'ray[data]>=2.40'.",
        "workers",
    )


@contextlib.contextmanager
def connected(workers: Workers) -> Iterator[None]:
    """Ray on this machine, with room for each worker, or a cluster."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise _no_ray() from error
    # Ray writes about itself to stderr.
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    address = workers.address
    options: dict[str, Any] = {"address": address}
    if address is None:
        cores = max(math.ceil(workers.count * workers.cpus), 1)
        options = {"address": "local", "num_cpus": cores, "include_dashboard": False}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if address is not None:
            _reach(address)
        with silenced_stderr():  # Ray writes that its logging is off.
            ray.init(log_to_driver=False, configure_logging=False, **options)
    except (OSError, ValueError, RuntimeError) as error:
        where = f"The Ray cluster {address!r} cannot be reached" if address else "Ray cannot start"
        raise InputError(f"{where} ({reason(error)}).", "ray_address") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's handler would end the process at once.
    try:
        _check_room(workers, ray.cluster_resources())
        yield
    finally:
        ray.shutdown()


def _check_room(workers: Workers, resources: Mapping[str, float]) -> None:
    """Refuses more workers than the resources allow, which Ray would wait for."""
    for kind, wanted in (("CPU", workers.cpus), ("GPU", workers.gpus)):
        name, there = f"{kind.lower()}s_per_worker", resources.get(kind, 0.0)
        if workers.count * wanted > there:
            raise InputError(
                f"Expected {workers.count * wanted:g} {kind}s for {workers.count} workers with "
                f"{name}={wanted:g}, but Ray has {there:g}: lower one of them.",
                name,
            )


def measure_all(
    make: Callable[[], Measuring],
    protocol: Mapping[str, Any],
    chunks: Sequence[int],
    strict: bool,
    workers: Workers,
) -> Iterator[list[Measured]]:
    """Measures chunks on Ray's workers, inside `connected`, in any order.

    The chunks of a worker that died go to another worker.
    """
    if not chunks:
        return
    import ray
    import ray.data

    from rap_keras.tensors.choice import backend_name  # here, because it loads Keras

    data = ray.data.from_items(
        [{"chunk": number} for number in chunks],
        # One chunk per block, so that only the chunk of a dead worker is measured again.
        override_num_blocks=len(chunks),
    )
    results = data.map_batches(
        Worker,
        batch_size=1,
        fn_constructor_args=(make, protocol, strict, backend_name()),
        compute=ray.data.ActorPoolStrategy(size=workers.count),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
    )
    try:
        for row in results.iter_rows():
            if row["error"]:
                raise InputError(row["error"])
            yield pickle.loads(row["measured"])
    except (ray.exceptions.RayActorError, ray.exceptions.RaySystemError) as error:
        raise InputError(
            f"Ray has lost its workers ({reason(error)}); earlier results are kept: run the "
            "same command again."
        ) from error


def _reach(address: str) -> None:
    """Checks that a cluster at HOST:PORT answers; raises OSError if not."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        with socket.create_connection((host.strip("[]"), int(port)), _PATIENCE):
            pass
