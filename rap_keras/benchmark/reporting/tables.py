"""The tables of the report."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count

from rap_keras.benchmark.metrics import TABLES, Column, chosen, columns
from rap_keras.benchmark.reporting.document import Block, Heading, Paragraph, Table
from rap_keras.benchmark.reporting.numbers import UNDEFINED, format_estimate, format_p
from rap_keras.benchmark.reporting.words import FEW_IMAGES, few_images, what_was_run
from rap_keras.benchmark.statistics import Json
from rap_keras.support.text import counted

MOST_NEEDED = 10_000
"""Differences that need more images than these are as good as none."""


def summary_lines(protocol: Json, summary: Json) -> list[str]:
    """What was run and found, for the terminal.

    A sentence, another where images are few, and a table of the measured quantities with a column on the
    terminal.
    """
    shown = [c for c in columns(chosen(protocol["metrics"])) if c.terminal]
    rows = [["method", *(column.on_terminal for column in shown)]]
    for title, method in summary["methods"].items():
        rows.append([title, *_estimates(method, shown, "quantities")])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = (f"<{widths[0]}", *(f">{width}" for width in widths[1:]))
    lines = ["  ".join(map(format, row, aligned)) for row in rows]
    few = [few_images(summary)] if summary["kept"] < FEW_IMAGES else []
    return [what_was_run(protocol, summary), *few, *lines]


def tables(protocol: Json, summary: Json) -> Iterator[Block]:
    """The tables of the report with their notes."""
    metrics = chosen(protocol["metrics"])
    measured = columns(metrics)
    for title in TABLES:
        among = [metric for metric in metrics if metric.table == title]
        texts = dict.fromkeys(metric.text(protocol) for metric in among)
        quantities = {column.quantity for metric in among for column in metric.columns}
        listed = sorted((c for c in measured if c.quantity in quantities), key=lambda c: c.place)
        yield from _sheet(title, " ".join(filter(None, texts)), listed, summary, "quantities")
    compared = [replace(c, label=c.difference, better="") for c in measured if c.difference]
    # After the last of the tables that are there; the first three are counted always.
    numbers = count(1 + max([3] + [TABLES.index(metric.table) + 1 for metric in metrics]))
    yield from _sheet(
        f"Table {next(numbers)}. Differences to {summary['reference']}",
        f"Each method minus {summary['reference']} on the same images, where both are defined; "
        "percentages in percentage points. The standard errors are those of the paired differences.",
        compared,
        summary,
        "differences",
    )
    yield from _tests(numbers, summary, compared)
    yield from _agreement(numbers, summary, compared)


def _tests(numbers: Iterator[int], summary: Json, compared: Sequence[Column]) -> Iterator[Block]:
    table = _rows(summary, compared, "differences", _tests_of)
    if all(cell == UNDEFINED for row in (*table.rows, *table.controls) for cell in row[1:]):
        return
    yield Heading(f"Table {next(numbers)}. Tests of the differences")
    yield Paragraph(
        "The matched-pairs rank-biserial correlation (1: larger than "
        f"{summary['reference']}'s on every image, -1: smaller on every); p of Wilcoxon's two-sided "
        "signed-rank test, corrected by Holm over the rows of a column; and how many images a "
        "difference of this mean and spread needs to be found at 0.05 with a probability of 0.8. "
        "Each image counts by its own value, of pooled measures too. –: fewer than six images differ."
    )
    yield table


def _rows(
    summary: Json,
    columns: Sequence[Column],
    part: str,
    cells: Callable[[Json, Sequence[Column], str], list[str]],
) -> Table:
    """A table of the methods, and of the controls below them, that have a part of the summary."""
    rows: dict[bool, list[list[str]]] = {False: [], True: []}
    for title, method in summary["methods"].items():
        if part in method:
            rows[method["control"]].append([title, *cells(method, columns, part)])
    heads = ["method", *(column.head for column in columns)]
    return Table(heads, rows[False], rows[True], numbers=True)


def _estimates(method: Json, columns: Sequence[Column], part: str) -> list[str]:
    """A method's values with their standard errors."""
    entries = [(method[part][column.quantity], column.scale) for column in columns]
    signed = part == "differences"
    return [format_estimate(e["value"], e["standard_error"], s, signed) for e, s in entries]


def _tests_of(method: Json, columns: Sequence[Column], part: str) -> list[str]:
    return [_tested(method[part][column.quantity]) for column in columns]


def _tested(entry: Json) -> str:
    if entry["p_value"] is None:
        return UNDEFINED
    needed = entry["images_needed"]
    enough = f"> {MOST_NEEDED}" if needed is None or needed > MOST_NEEDED else str(needed)
    return f"{entry['effect_size']:+.2f}, p {format_p(entry['p_value'])}, {enough}"


def _agreement(
    numbers: Iterator[int], summary: Json, compared: Sequence[Column]
) -> Iterator[Block]:
    titles = {c.quantity: c.title for c in compared if c.quantity in summary["agreement"]}
    taus = [tau for row in summary["agreement"].values() for tau in row.values()]
    if len(titles) < 2 or all(tau is None for tau in taus):
        return
    yield Heading(f"Table {next(numbers)}. Agreement of the measures")
    yield Paragraph(
        "Kendall's tau-b between the orders in which two measures put the methods without controls, "
        "from the best to the worst: 1 the same order, 0 none of the other, -1 the reverse."
    )
    rows = [
        [title]
        + [
            UNDEFINED if tau is None else f"{tau:.2f}"
            for tau in (summary["agreement"][quantity][other] for other in titles)
        ]
        for quantity, title in titles.items()
    ]
    yield Table(["measure", *titles.values()], rows, numbers=True)


def _sheet(
    title: str, text: str, columns: Sequence[Column], summary: Json, part: str
) -> Iterator[Block]:
    """One of the tables; `part` is where a method has its numbers."""
    if not columns or not any(part in method for method in summary["methods"].values()):
        return
    yield Heading(title)
    yield Paragraph(text)
    yield _table(summary, columns, part)
    for note in _notes(summary, columns, part):
        yield Paragraph(note, note=True)


def _table(summary: Json, columns: Sequence[Column], part: str) -> Table:
    of_methods = [m[part] for m in summary["methods"].values() if part in m and not m["control"]]
    bold = {
        (row, index)
        for index, column in enumerate(columns, start=1)
        for row in _best([entries[column.quantity]["value"] for entries in of_methods], column)
    }
    return replace(_rows(summary, columns, part, _estimates), bold=frozenset(bold))


def _best(values: Sequence[float | None], column: Column) -> list[int]:
    """Where the best values are; nowhere if there are not two that differ."""
    known = [value for value in values if value is not None]
    if not column.better or len(set(known)) < 2:
        return []
    best = min(known) if column.better == "lower" else max(known)
    return [row for row, value in enumerate(values) if value == best]


def _notes(summary: Json, columns: Sequence[Column], part: str) -> Iterator[str]:
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
