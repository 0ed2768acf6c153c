"""The tables of the report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rap_keras.benchmark.report.document import Block, Heading, Paragraph, Table
from rap_keras.benchmark.report.numbers import format_estimate
from rap_keras.benchmark.report.words import what_was_run
from rap_keras.benchmark.summary import REFERENCE
from rap_keras.support.text import counted


def summary_lines(protocol: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """Says for the terminal what was run and found.

    Args:
        protocol: What was run.
        summary: That of `summarize`.

    Returns:
        One sentence, and then a table: the outside-inside ratios, the mean IOU in percent and the area
        under the LeRF curve, as far as they were measured.
    """
    columns = [
        ("ratio ALL", "ratio_all", 1),
        ("POS", "ratio_positive", 1),
        ("mIOU %", "mean_iou", 100),
        ("LeRF area", "lerf_area", 1),
    ]
    measured = [column for column in columns if is_measured(summary, column[1], "quantities")]
    rows = [["method", *(label for label, _, _ in measured)]]
    for title, method in summary["methods"].items():
        entries = (method["quantities"][name] for _, name, _ in measured)
        scales = (scale for _, _, scale in measured)
        rows.append(
            [title]
            + [
                format_estimate(entry["value"], entry["standard_error"], scale)
                for entry, scale in zip(entries, scales, strict=True)
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for title, *cells in rows:
        padded = [f"{title:{widths[0]}}"]
        padded += [f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join(padded))
    return [what_was_run(protocol, summary), *lines]


@dataclass(frozen=True)
class _Column:
    """A quantity as a column: `better` is "lower", "higher" or "" where neither is."""

    label: str
    quantity: str
    better: str = ""
    scale: float = 1

    @property
    def head(self) -> str:
        return self.label + {"lower": " ↓", "higher": " ↑", "": ""}[self.better]


@dataclass(frozen=True)
class _Sheet:
    """One of the report's tables of numbers: `part` is where a method has them."""

    title: str
    text: str
    columns: tuple[_Column, ...]
    part: str = "quantities"


_SHEETS = (
    _Sheet(
        "Table 1. Outside-inside ratio",
        "The mean relevance outside of the object over that inside of it (eq. 11 of arXiv 1904.00605, "
        "whose Table 1 this follows). ALL: negative relevance is in the right place outside, in the "
        "wrong place inside; POS: it is left out. Means over the images, and medians, since ratios have "
        "heavy tails. Lower is better.",
        (
            _Column("ALL", "ratio_all", "lower"),
            _Column("POS", "ratio_positive", "lower"),
            _Column("ALL, median", "ratio_all_median", "lower"),
            _Column("POS, median", "ratio_positive_median", "lower"),
        ),
    ),
    _Sheet(
        "Table 2. Segmentation",
        "The pixels above each method's threshold against the object, in percent (Table 2 of arXiv "
        "1904.00605). Higher is better.",
        (
            _Column("pixel accuracy (%)", "pixel_accuracy", "higher", 100),
            _Column("mIOU (%)", "mean_iou", "higher", 100),
        ),
    ),
    _Sheet(
        "Table 3. Further measures",
        "Means over the images. ↑: higher is better, ↓: lower is better. Average precision, pointing "
        "game and sparsity (the Gini index) go from 0 to 1. Conservation error: how far the sum of the "
        "relevance is from the logit, relative to the logit. LeRF and MoRF: pixels are replaced from "
        "the least or from the most relevant on; the area is that under the accuracy (0 to 1) over the "
        "share of replaced pixels, AOPC the mean drop of the explained logit over all steps.",
        (
            _Column("average precision", "average_precision", "higher"),
            _Column("pointing game", "pointing_game", "higher"),
            _Column("conservation error", "conservation_error", "lower"),
            _Column("its median", "conservation_error_median", "lower"),
            _Column("sparsity", "sparsity"),
            _Column("LeRF area", "lerf_area", "higher"),
            _Column("MoRF area", "morf_area", "lower"),
            _Column("LeRF AOPC", "lerf_logit_aopc", "lower"),
            _Column("MoRF AOPC", "morf_logit_aopc", "higher"),
        ),
    ),
    _Sheet(
        f"Table 4. Differences to {REFERENCE}",
        f"Each method minus {REFERENCE} on the same images, where both are defined; percentages in "
        "percentage points. The standard errors are those of the paired differences.",
        (
            _Column("ratio ALL", "ratio_all"),
            _Column("ratio POS", "ratio_positive"),
            _Column("pixel accuracy (%)", "pixel_accuracy", scale=100),
            _Column("mIOU (%)", "mean_iou", scale=100),
            _Column("average precision", "average_precision"),
            _Column("pointing game", "pointing_game"),
            _Column("LeRF area", "lerf_area"),
        ),
        "differences",
    ),
)


def tables(summary: Mapping[str, Any]) -> Iterator[Block]:
    """The tables of the report with their notes."""
    for sheet in _SHEETS:
        columns = [c for c in sheet.columns if is_measured(summary, c.quantity, sheet.part)]
        if not columns:
            continue
        yield Heading(sheet.title)
        yield Paragraph(sheet.text)
        yield _table(summary, columns, sheet.part)
        for note in _notes(summary, columns, sheet.part):
            yield Paragraph(note, note=True)


def is_measured(summary: Mapping[str, Any], quantity: str, part: str) -> bool:
    """Whether any method has a quantity."""
    return any(quantity in method.get(part, {}) for method in summary["methods"].values())


def _table(summary: Mapping[str, Any], columns: Sequence[_Column], part: str) -> Table:
    listed = {title: method for title, method in summary["methods"].items() if part in method}
    rows: dict[bool, list[list[str]]] = {False: [], True: []}
    for title, method in listed.items():
        entries = (method[part][column.quantity] for column in columns)
        signed = part == "differences"
        cells = [
            format_estimate(entry["value"], entry["standard_error"], column.scale, signed)
            for entry, column in zip(entries, columns, strict=True)
        ]
        rows[method["control"]].append([title, *cells])
    methods = [method for method in listed.values() if not method["control"]]
    bold = {
        (row, index)
        for index, column in enumerate(columns, start=1)
        for row in _best([method[part][column.quantity]["value"] for method in methods], column)
    }
    heads = ["method", *(column.head for column in columns)]
    return Table(heads, rows[False], rows[True], frozenset(bold), numbers=True)


def _best(values: Sequence[float | None], column: _Column) -> list[int]:
    """Where the best values are; nowhere if there are not two to compare."""
    known = [value for value in values if value is not None]
    if not column.better or len(known) < 2:
        return []
    best = min(known) if column.better == "lower" else max(known)
    return [row for row, value in enumerate(values) if value == best]


def _notes(summary: Mapping[str, Any], columns: Sequence[_Column], part: str) -> Iterator[str]:
    """What is undefined, and for whom."""
    kept = summary["kept"]
    listed = {title: method for title, method in summary["methods"].items() if part in method}
    for column in columns:
        if column.quantity.endswith("_median"):
            continue  # as of its mean
        without: dict[int, list[str]] = {}
        for title, method in listed.items():
            missing = kept - method[part][column.quantity]["images"]
            if missing:
                without.setdefault(missing, []).append(title)
        for missing, titles in sorted(without.items()):
            whose = "every method" if len(titles) == len(listed) else ", ".join(titles)
            where = f"{missing} of {counted(kept, 'image')}, left out"
            yield f"{column.label}: undefined on {'every image' if missing == kept else where}: {whose}."
