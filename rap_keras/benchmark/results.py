"""The results of a benchmark as data: a row for each image, method and quantity."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rap_keras.benchmark.comparison import per_image
from rap_keras.benchmark.metrics import of_protocol
from rap_keras.benchmark.sameness import check_kind
from rap_keras.benchmark.statistics import DIGITS, Json
from rap_keras.benchmark.store import Store
from rap_keras.benchmark.summary import kept_of, summarize
from rap_keras.errors import InputError
from rap_keras.support.text import escaped

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("position", "image", "label", "neuron", "logit", "method", "control"),
    *("metric", "quantity", "value"),
)
_TEXTS = ("image", "label", "method", "metric", "quantity")


def tidy(protocol: Json, images: Sequence[Json]) -> Iterator[tuple[Any, ...]]:
    """What was measured, one number a row: `COLUMNS` of each kept image, method and quantity.

    These are its place in the data set, its name, its class, the target and its logit; the method's
    title and whether it is a control; the metric, and the quantity by its name in the summary. The value
    is that of the image, also for pooled metrics; NaN where it is undefined.
    """
    kept = kept_of(images)
    metrics = of_protocol(protocol)
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
    for *parts, value in tidy(protocol, images):
        same = [escaped(part) if isinstance(part, str) else part for part in parts]
        yield (*same, f"{value:.{DIGITS}g}" if np.isfinite(value) else "")


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
        frame = pd.DataFrame(tidy(self.protocol, self.images), columns=list(COLUMNS))
        for name in _TEXTS:
            frame[name] = pd.Categorical(
                frame[name].astype(str), dict.fromkeys(frame[name].astype(str))
            )
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
        return summarize(self.protocol, self.images, reference=reference)


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
