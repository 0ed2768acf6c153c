"""The tables of the report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rap_keras.benchmark.metrics import TABLES, Column, chosen, columns
from rap_keras.benchmark.reporting.document import Block, Heading, Paragraph, Table
from rap_keras.benchmark.reporting.numbers import format_estimate
from rap_keras.benchmark.reporting.words import what_was_run
from rap_keras.benchmark.summary import REFERENCE
from rap_keras.support.text import counted


def summary_lines(protocol: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """Says for the terminal what was run and found.

    Args:
        protocol: What was run.
        summary: That of `summarize`.

    Returns:
        One sentence, and then a table: the quantities that have a column on the terminal, as far as
        they were measured.
    """
    shown = [c for c in columns(chosen(protocol["metrics"])) if c.terminal]
    rows = [["method", *(column.on_terminal for column in shown)]]
    for title, method in summary["methods"].items():
        entries = [(method["quantities"][c.quantity], c.scale) for c in shown]
        rows.append(
            [title]
            + [
                format_estimate(entry["value"], entry["standard_error"], scale)
                for entry, scale in entries
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for title, *cells in rows:
        padded = [f"{title:{widths[0]}}"]
        padded += [f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join(padded))
    return [what_was_run(protocol, summary), *lines]


def tables(protocol: Mapping[str, Any], summary: Mapping[str, Any]) -> Iterator[Block]:
    """The tables of the report with their notes."""
    metrics = chosen(protocol["metrics"])
    measured = columns(metrics)
    for title in TABLES:
        among = [metric for metric in metrics if metric.table == title]
        texts = dict.fromkeys(metric.text(protocol) for metric in among)
        own = {column.quantity for metric in among for column in metric.columns}
        listed = sorted((c for c in measured if c.quantity in own), key=lambda c: c.place)
        yield from _sheet(title, " ".join(filter(None, texts)), listed, summary, "quantities")
    # After the last of the tables that are there; the first three are counted always.
    number = 1 + max([3] + [TABLES.index(metric.table) + 1 for metric in metrics])
    yield from _sheet(
        f"Table {number}. Differences to {REFERENCE}",
        f"Each method minus {REFERENCE} on the same images, where both are defined; percentages in "
        "percentage points. The standard errors are those of the paired differences.",
        [replace(c, label=c.difference, better="") for c in measured if c.difference],
        summary,
        "differences",
    )


def _sheet(
    title: str, text: str, columns: Sequence[Column], summary: Mapping[str, Any], part: str
) -> Iterator[Block]:
    """One of the tables; `part` is where a method has its numbers."""
    if not columns or not any(part in method for method in summary["methods"].values()):
        return
    yield Heading(title)
    yield Paragraph(text)
    yield _table(summary, columns, part)
    for note in _notes(summary, columns, part):
        yield Paragraph(note, note=True)


def _table(summary: Mapping[str, Any], columns: Sequence[Column], part: str) -> Table:
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


def _best(values: Sequence[float | None], column: Column) -> list[int]:
    """Where the best values are; nowhere if there are not two to compare."""
    known = [value for value in values if value is not None]
    if not column.better or len(known) < 2:
        return []
    best = min(known) if column.better == "lower" else max(known)
    return [row for row, value in enumerate(values) if value == best]


def _notes(summary: Mapping[str, Any], columns: Sequence[Column], part: str) -> Iterator[str]:
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
            yield f"{column.title}: undefined on {'every image' if missing == kept else where}: {whose}."
