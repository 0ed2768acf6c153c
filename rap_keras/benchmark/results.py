"""The results of a benchmark as data: a row for each image, method and quantity."""

import csv
import io
import os.path
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rap_keras.benchmark.comparison import per_image
from rap_keras.benchmark.metrics import is_of_units, of_protocol
from rap_keras.benchmark.sameness import check_kind
from rap_keras.benchmark.statistics import DIGITS, Json
from rap_keras.benchmark.store import FILE, Store
from rap_keras.benchmark.summaries import read_summary
from rap_keras.benchmark.summary import kept_of, summarize
from rap_keras.errors import InputError
from rap_keras.support.text import escaped

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("position", "image", "label", "neuron", "logit", "method", "control"),
    *("metric", "quantity", "value"),
)
# Values that agree to these digits are ties: further digits are rounding errors of the maps.
_EXACT = 5
_TEXTS = ("image", "label", "method", "metric", "quantity")


def tidy(protocol: Json, images: Sequence[Json]) -> Iterator[tuple[Any, ...]]:
    """What was measured, one number a row: `COLUMNS` of each kept image, method and quantity.

    These are its place in the data set, its name, its class, the target and its logit; the method's
    title and whether it is a control; the metric, and the quantity by its name in the summary. The value
    is that of the image, also for pooled metrics; NaN where it is undefined.
    """
    kept = kept_of(images)
    metrics = of_protocol(protocol) if kept else ()  # numbers of no image have no shape
    columns = []
    for method in protocol["methods"]:
        numbers = [record["results"][method["title"]] for record in kept]
        for metric in metrics:
            for quantity, ratio in metric.quantities(protocol, numbers).items():
                same = (method["title"], bool(method.get("control")), metric.name, quantity)
                columns.append((same, per_image(ratio)))
    for k, record in enumerate(kept):
        # Mechanism tests have no label, neuron and logit: a record has the inputs of several networks.
        of_image = tuple(
            record.get(name) for name in ("position", "name", "label", "neuron", "logit")
        )
        for same, values in columns:
            yield (*of_image, *same, float(values[k]))


def to_csv(protocol: Json, images: Sequence[Json]) -> Iterator[bytes]:
    """The rows of `tidy` as CSV with a header, in UTF-8; an undefined value is an empty cell."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    for row in (COLUMNS, *_written(protocol, images)):
        writer.writerow(row)
        # File names need not be UTF-8.
        yield line.getvalue().encode(errors="backslashreplace")
        line.seek(0)
        line.truncate()


def _written(protocol: Json, images: Sequence[Json]) -> Iterator[tuple[Any, ...]]:
    for *same, value in _printable(protocol, images):
        yield (*same, f"{value:.{DIGITS}g}" if np.isfinite(value) else "")


def _printable(protocol: Json, images: Sequence[Json]) -> Iterator[tuple[Any, ...]]:
    """The rows of `tidy` without characters that CSV, pandas or Parquet cannot contain."""
    for row in tidy(protocol, images):
        yield tuple(escaped(part) if isinstance(part, str) else part for part in row)


@dataclass(frozen=True)
class Results:
    """The results of a benchmark.

    Attributes:
        protocol: What was run, and how.
        images: The stored record of every measured image.
    """

    protocol: dict[str, Any]
    images: list[dict[str, Any]]

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """A row for each kept image, method and quantity, with the columns of `tidy`.

        Characters of names that cannot be printed are escaped, as in results.csv, and a label that is
        not known is missing.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise InputError(
                "A frame of the results needs pandas, which is not installed: pip install pandas, or "
                "read results.csv."
            ) from None
        rows = _printable(self.protocol, self.images)
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        for name in _TEXTS:
            texts = frame[name].dropna().astype(str)
            frame[name] = pd.Categorical(frame[name], dict.fromkeys(texts))
        return frame

    def summary(self, reference: str | None = None) -> dict[str, Any]:
        """Means, standard errors and tests, as in summary.json.

        Args:
            reference: The title of the method that the others are compared to; None: "rap", or the
                first if there is none.

        Returns:
            The dict of the benchmark's `summarize`.

        Raises:
            InputError: No image was kept, or there is no such method.
        """
        return summarize(self.protocol, self.images, reference)


def load(folder: str | Path) -> Results:
    """Reads the results of a benchmark, which need not be finished.

    Args:
        folder: The folder of results of `rap-keras benchmark` or `run`.

    Returns:
        The results: `.frame` is a tidy `pandas.DataFrame`.

    Raises:
        InputError: There are no results, or they cannot be read.
    """
    with Store(Path(folder)) as store:
        check_kind(store.protocol, "benchmark", str(folder))
        return Results(store.protocol, store.images())


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
        return np.nan if value is None else float(f"{value:.{_EXACT}g}")


def read_reports(folders: Sequence[str | Path]) -> list[Report]:
    """Reads the results in folders with results.sqlite or only summary.json, sorted by their names."""
    if len(folders) < 2:
        raise InputError(
            f"Expected the reports of at least two networks, got {len(folders)}: give more folders."
        )
    paths = [os.path.abspath(folder) for folder in folders]
    shared = os.path.commonpath(paths)
    if shared in paths:  # one is in another
        shared = os.path.dirname(shared)
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
        name = Path(os.path.relpath(path, shared)).as_posix()
        found.append(Report(name, protocol, summary))
    return found


def _read(folder: Path) -> tuple[Json, Json]:
    """The protocol and the summary in a folder with results.sqlite or only summary.json."""
    if (folder / FILE).is_file():
        results = load(folder)
        return results.protocol, results.summary()
    return read_summary(folder)
