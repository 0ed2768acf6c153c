"""The reports of several benchmarks, as they are read to compare them."""

import json
import os.path
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rap_keras.benchmark.metrics import is_of_units
from rap_keras.benchmark.results import load
from rap_keras.benchmark.sameness import check_kind
from rap_keras.benchmark.statistics import Json
from rap_keras.benchmark.store import FILE
from rap_keras.errors import InputError
from rap_keras.support.reading import read_text, understood

# Values that agree to these digits are ties: further digits are rounding errors of the maps.
_DIGITS = 5


@dataclass(frozen=True)
class Report:
    """The results of one benchmark, as in its summary.json."""

    name: str  # the folder, without the path that all folders share
    protocol: Json
    summary: Json

    @property
    def network(self) -> tuple[Any, ...]:
        """What reports of the same network share: the checksum of the weights, or else the model."""
        known = self.protocol.get("weights_crc32")
        return ("model", self.protocol["model"]) if known is None else ("weights", known)

    def value(self, title: str, quantity: str) -> float:
        """The value of a method; NaN if it was not measured or is undefined."""
        method = self.summary["methods"].get(title, {"quantities": {}})
        value = method["quantities"].get(quantity, {"value": None})["value"]
        return np.nan if value is None else float(f"{value:.{_DIGITS}g}")


def read_reports(folders: Sequence[str | Path]) -> list[Report]:
    """Reads the results in folders with results.sqlite or only summary.json, sorted by their names."""
    if len(folders) < 2:
        raise InputError(
            f"Expected the reports of at least two networks, got {len(folders)}: give more folders."
        )
    paths = [os.path.abspath(folder) for folder in folders]
    shared = os.path.commonpath(paths)
    found: list[Report] = []
    for path, folder in sorted(zip(paths, map(Path, folders), strict=True)):
        protocol, summary = _read(folder)
        if is_of_units(protocol):
            raise InputError(
                f"Expected results of images in each folder, got mechanism tests in {str(folder)!r}, "
                "whose networks are not the models of other reports: leave it out."
            )
        for earlier in found:
            if (earlier.protocol, earlier.summary) == (protocol, summary):
                raise InputError(
                    f"Expected different results in each folder, got the same in {str(folder)!r} as "
                    f"in {earlier.name!r}: leave one out."
                )
        name = os.path.basename(path) if path == shared else os.path.relpath(path, shared)
        found.append(Report(Path(name).as_posix(), protocol, summary))
    return found


def _read(folder: Path) -> tuple[Json, Json]:
    """The protocol and the summary in a folder."""
    if (folder / FILE).is_file():
        results = load(folder)
        return results.protocol, results.summary()
    path = folder / "summary.json"
    if not path.is_file():
        raise InputError(f"There are no results in {str(folder)!r} (no {FILE} or summary.json).")
    text = read_text(path, "summary")
    with understood(
        f"Expected {str(path)!r} to be the summary of a benchmark, got another file",
        "write it again with rap-keras report",
    ):
        read = json.loads(text)
        protocol, summary = read["protocol"], read["summary"]
        # What is needed of them.
        _ = protocol["data"], protocol["metrics"], is_of_units(protocol) or protocol["model"]
        _ = summary["kept"], [method["quantities"] for method in summary["methods"].values()]
    check_kind(protocol, "benchmark", str(folder))
    return protocol, summary
