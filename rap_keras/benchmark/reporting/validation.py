"""The validation of the metrics in the report: its table, and the marks of metrics that failed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from rap_keras.benchmark.metrics import Column
from rap_keras.benchmark.reporting.document import Block, Heading, Paragraph, Table
from rap_keras.benchmark.reporting.numbers import UNDEFINED, format_estimate, two_digits
from rap_keras.benchmark.statistics import Json
from rap_keras.benchmark.validation import FEWEST, LEAST, NOISE, SHIFT
from rap_keras.support.text import counted

HEADING = "Validation of the metrics"
FAILED = f"†: this metric failed its validation in this run. See the table {HEADING!r}."
_VERDICTS = {True: "yes", False: "no †", None: UNDEFINED}


def marked(columns: Iterable[Column], summary: Json) -> list[Column]:
    """The columns; those of metrics that failed their validation are marked."""
    found = summary.get("validation", {})
    return [
        replace(column, failed=found.get(_mean(column), {}).get("valid") is False)
        for column in columns
    ]


def note(columns: Sequence[Column]) -> list[Paragraph]:
    """The note below a table with marked columns."""
    return [Paragraph(FAILED, note=True)] if any(column.failed for column in columns) else []


def validation_table(
    number: Iterator[int], summary: Json, columns: Sequence[Column]
) -> Iterator[Block]:
    """The table of the validation, if there was one."""
    found = summary.get("validation", {})
    if not found:
        return
    titles = {_mean(c): replace(c, failed=False).title for c in reversed(columns)}
    entries = [(titles[quantity], found[quantity]) for quantity in found if quantity in titles]
    images = max(entry[NOISE]["images"] for entry in found.values())
    yield Heading(f"Table {next(number)}. {HEADING}")
    yield Paragraph(
        f"Each method's maps of {counted(images, 'image')} were degraded in five steps: mixed with "
        "noise, and mixed with a copy that is shifted by half the height and width. Noise and shift are "
        "Spearman's correlations between the metric and the known order of the maps: 1 if each map gets "
        "a worse value than the map before, 0 if the metric does not see the difference. They are those "
        "of the median method on each image, as means over the images. Shift is undefined for metrics "
        "that do not depend on the place of relevance. Re-test is the variance between two draws of the "
        "noise, as a share of the variance of all values. A metric is valid if the 95 % intervals lie "
        f"above {LEAST[NOISE]:g} (noise) and above {LEAST[SHIFT]:g} (shift), so with few images it may "
        f"fail although it is good; with fewer than {FEWEST}, it is not judged. Metrics without "
        "a better direction are not validated."
    )
    rows = []
    for title, entry in entries:
        estimates = (entry[kind] for kind in (NOISE, SHIFT))
        cells = [format_estimate(e["value"], e["standard_error"]) for e in estimates]
        retest = UNDEFINED if entry["retest"] is None else f"{entry['retest']:.2g}"
        rows.append([title, *cells, retest, _VERDICTS[entry["valid"]]])
    yield Table(["metric", "noise ↑", "shift ↑", "re-test ↓", "valid"], rows, numbers=True)
    yield Heading(f"Table {next(number)}. {HEADING} by the maps of each method")
    yield Paragraph(
        "The correlation with noise. The order is known only if a method's maps are better than noise. "
        "A negative number shows a metric that rewards noise, or a method whose maps are worse than "
        "noise."
    )
    rows = [[title, *map(two_digits, entry["methods"].values())] for title, entry in entries]
    yield Table(["metric", *next(iter(found.values()))["methods"]], rows, numbers=True)


def _mean(column: Column) -> str:
    """The quantity whose values are validated."""
    return column.quantity.removesuffix("_median")
