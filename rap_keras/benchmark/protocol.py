"""The protocol: everything that the results of a benchmark depend on."""

import platform
import shlex
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.benchmark.explainers import Backend
from rap_keras.benchmark.grids import shape_of
from rap_keras.benchmark.metrics import chosen
from rap_keras.benchmark.settings import Settings
from rap_keras.benchmark.tuning import check_tuned
from rap_keras.datasets import Dataset
from rap_keras.errors import InputError
from rap_keras.support.python_files import names_function
from rap_keras.version import __version__


def protocol(settings: Settings, dataset: Dataset, backend: Backend, images: int) -> dict[str, Any]:
    """Everything that the results depend on. `images` is the number of drawn images."""
    names = "\0".join(dataset.names).encode(errors="surrogateescape")  # as in the file system
    checksum = weights_checksum(backend.weights())
    if settings.tuned is not None:
        check_tuned(settings.tuned, checksum)
    return (
        of_any_data(settings, backend)
        | ({} if settings.tuned is None else {"tuned": f"by {settings.tuned_by} on the other half"})
        | ({"validate": settings.validate} if settings.validate else {})
        | {
            "weights": backend.loaded.weights,
            "weights_crc32": checksum,
            "input_size": backend.loaded.input_size,
            "objects": dataset.objects,
            "data_images": len(dataset.names),
            "data_crc32": zlib.crc32(names),
            "images": images,
            "neuron": "predicted class",
            "methods": methods_of(settings),
            "patterns_crc32": None
            if settings.patterns is None
            else _file_checksum(settings.patterns),
            "perturbation": _recorded_steps(settings, backend.loaded.input_size)
            if settings.perturbs
            else None,
        }
        | _of_metrics(settings, backend)
    )


def of_any_data(settings: Settings, backend: Backend) -> dict[str, Any]:
    """The entries that do not depend on the model and the data."""
    return (
        ({} if settings.title is None else {"title": settings.title})
        | settings.recorded()
        | ({} if settings.half == "both" else {"half": settings.half})
        | {
            "rap_keras": __version__,
            "versions": {"python": platform.python_version(), "numpy": np.__version__}
            | backend.versions,
            "device": backend.device,
            "command": command(settings),
        }
    )


def methods_of(settings: Settings) -> list[dict[str, Any]]:
    """The entry of each row."""
    return [
        {
            "title": row.title,
            "method": row.name,
            "options": dict(row.options),
            "threshold": row.threshold,
            "control": row.is_control,
        }
        | (
            {"file_crc32": _file_checksum(row.name.rpartition(":")[0])}
            if names_function(row.name)
            else {}
        )
        for row in settings.rows()
    ]


def _of_metrics(settings: Settings, backend: Backend) -> dict[str, Any]:
    """The entries of some models and metrics only."""
    s = settings
    found: dict[str, Any] = {}
    if backend.loaded.head == "sigmoid":
        found["head"] = "sigmoid"
    if "grid" in s.metrics:
        rows, columns = shape_of(s.grid)
        found["grid"] = {
            "shape": s.grid,
            "count": rows * columns,
            "cells": s.grid_cells,
            "confidence": s.grid_confidence,
        }
    if "single_deletion" in s.metrics:
        found["deletion_grid"] = s.deletion_grid
    if "top_k" in s.metrics:
        found["top_k"] = s.top_k
    if any({"draws", "neighbours"} & {*metric.settings} for metric in chosen(s.metrics)):
        found["changes"] = {name: getattr(s, name) for name in ("draws", "neighbours", "radius")}
    return found


def weights_checksum(weights: Iterable[NDArray[Any]]) -> int:
    """The CRC-32 of the weights of a model."""
    checksum = 0
    for array in weights:
        checksum = zlib.crc32(np.ascontiguousarray(array).tobytes(), checksum)
    return checksum


def command(settings: Settings) -> str:
    """The command line of these settings, without defaults."""
    words, defaults = ["rap-keras", "benchmark"], Settings()
    # Mechanism tests have other metrics by default.
    of_data = replace(defaults, data=settings.data)
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value == getattr(defaults if field.name == "data" else of_data, field.name):
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            several = isinstance(value, tuple | list)
            listed = ",".join(map(_plain, value)) if several else _plain(value)
            words += [f"--{flag}", listed]
    return shlex.join(words)


def _plain(value: Any) -> str:
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else str(value)


def _file_checksum(path: str) -> int:
    try:
        return zlib.crc32(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"The file {path!r} cannot be read ({error.strerror}).") from error


def check_steps(settings: Settings, size: Sequence[int] | None) -> None:
    """Refuses more steps than an image of a size has pixels for, and fixed steps for any size (None)."""
    if not settings.perturbs:
        return
    if size is None:
        if settings.pixels_per_step is not None:
            raise InputError(
                "Expected images of one size for pixels_per_step=N, got a model for any size: pass "
                "size=N, or steps=N alone.",
                ("pixels_per_step", "size", "steps"),
            )
        return
    regions, patch = _regions(settings, size), settings.patch
    wanted = settings.steps * max(_pixels_each_step(settings, size) // patch**2, 1)
    if wanted > regions:
        what = "pixels" if patch == 1 else f"patches of {patch} x {patch} pixels"
        raise InputError(
            f"Expected at most the {regions} {what} of an image to be replaced, but "
            f"{settings.steps} steps need {wanted}: lower steps or pixels_per_step.",
            ("steps", "pixels_per_step"),
        )


def _recorded_steps(settings: Settings, size: Sequence[int] | None) -> dict[str, Any]:
    """The protocol's entries of the steps, for images of a size; None is any size."""
    steps, patch = settings.steps, settings.patch
    pixels, whole = None, steps
    if size is not None:
        pixels, whole = _pixels_each_step(settings, size), _regions(settings, size) * patch**2
    return {
        "steps": steps,
        "pixels_per_step": pixels,
        "replacement": settings.replacement[0],
        **({"replacements": list(settings.replacement)} if settings.replacement[1:] else {}),
        "fractions": [k * (pixels or 1) / whole for k in range(steps + 1)],
        **({} if patch == 1 else {"patch": patch}),
    }


def _regions(settings: Settings, size: Sequence[int]) -> int:
    """The number of patches, or pixels, of an image of this size."""
    return -(-size[0] // settings.patch) * -(-size[1] // settings.patch)


def _pixels_each_step(settings: Settings, size: Sequence[int]) -> int:
    """The number of pixels of an image of this size that each step replaces."""
    regions = _regions(settings, size)
    return settings.pixels_per_step or regions // settings.steps * settings.patch**2
