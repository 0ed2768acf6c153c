"""Seconds and memory of a map by each method. They differ from run to run, unlike all other numbers."""

import ctypes
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rap_keras.benchmark.measure import Bench, by_size
from rap_keras.benchmark.metrics import Reading, Scene
from rap_keras.errors import InputError

REPEATS = 3
_STATUS = Path("/proc/self/status")  # Linux only
_RESET = Path("/proc/self/clear_refs")


def measure_costs(bench: Bench) -> dict[str, Any]:
    """Explains the first batch of kept images with each method.

    Returns:
        `images` of the batch, `seconds` of the model's forward pass for one of them, and `methods`: for
        each title the `seconds` for one map, as the shortest of `REPEATS` runs after a first one, and
        `megabytes`, the growth of the memory of the process while the batch is explained. The memory of
        a GPU is not part of it; None where it is not known.
    """
    scenes = _first_scenes(bench)
    x, targets = np.stack([scene.x for scene in scenes]), [scene.target for scene in scenes]
    explainers = bench.maker.explainers[None]
    calls = {
        row.title: functools.partial(explainers[row.title], x, targets)
        for row in bench.maker.rows
        if not row.is_control
    }
    forward = _seconds(lambda: bench.scenes.backend.logits(x))
    return {
        "images": len(scenes),
        "seconds": forward / len(scenes),
        "methods": {
            title: {"seconds": _seconds(call) / len(scenes), "megabytes": _megabytes(call)}
            for title, call in calls.items()
        },
    }


def _first_scenes(bench: Bench) -> list[Scene]:
    """The kept images of one size of the first chunk that has any; one of them if another is bad."""

    def explained(group: Sequence[Reading]) -> list[list[Scene]]:
        scenes = bench.scenes.kept(group)
        if scenes:
            bench.maker.views(scenes)  # raises an error for an image that the run has skipped
        return [scenes]

    for chunk in bench.chunks:
        for scenes in by_size(bench.read(chunk), explained, lambda *_: []):
            if scenes:
                return scenes
    raise InputError(
        "Expected an image that all methods can explain for costs, got none: put images back that are "
        "missing now, or leave it out.",
        "costs",
    )


def _seconds(call: Callable[[], Any]) -> float:
    call()
    shortest = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest


def _megabytes(call: Callable[[], Any]) -> float | None:
    """How much the memory of the process grows during a call, from a state without free pools."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _RESET.write_text("5")  # resets the peak
        before = _kilobytes("VmRSS")
        call()
        return (_kilobytes("VmHWM") - before) * 1024 / 1e6
    except (OSError, AttributeError, KeyError):
        return None


def _kilobytes(entry: str) -> int:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[entry].split()[0])
