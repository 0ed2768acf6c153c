"""The tables of the report."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, count

import numpy as np

from rap_keras.benchmark.metrics import TABLES, Column, columns, is_of_units, of_protocol
from rap_keras.benchmark.reporting.document import Block, Heading, Paragraph, Table
from rap_keras.benchmark.reporting.numbers import UNDEFINED, format_estimate, format_p, two_digits
from rap_keras.benchmark.reporting.words import counts, few_images, subject
from rap_keras.benchmark.statistics import Json, mean_of_defined, rounded
from rap_keras.benchmark.validation import FEWEST, LEAST, NOISE, SHIFT
from rap_keras.support.text import counted

Show = Callable[[Json, Column], str]
"""A function from a method's entry of a column to its cell."""
Numbered = tuple[str, str, Table, Sequence[Column]]
"""A table with its title and text, and the columns that may be marked."""

MOST_NEEDED = 10_000
"""Larger numbers of needed images are not written out."""
VALIDATION = "Validation of the metrics"
FAILED = f"†: this metric failed its validation in this run. See the table {VALIDATION!r}."
_VERDICTS = {True: "yes", False: "no †", None: UNDEFINED}


def summary_lines(protocol: Json, summary: Json) -> list[str]:
    """What was run and the quantities that have a column on the terminal, as lines of a terminal."""
    shown = [c for c in marked(columns(of_protocol(protocol)), summary) if c.terminal]
    rows = [["method", *(column.on_terminal for column in shown)]]
    for title, method in summary["methods"].items():
        rows.append([title, *(_estimate(method["quantities"][c.quantity], c) for c in shown)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = (f"<{widths[0]}", *(f">{width}" for width in widths[1:]))
    lines = ["  ".join(map(format, row, aligned)) for row in rows]
    run = f"{subject(protocol)}: {counts(protocol, summary)}"
    notes = (paragraph.text for paragraph in note(shown))
    return [run, *few_images(protocol, summary), *lines, *notes]


def tables(protocol: Json, summary: Json) -> Iterator[Block]:
    """The tables of the report with their notes."""
    metrics = of_protocol(protocol)
    measured = marked(columns(metrics), summary)
    for title in TABLES:
        among = [metric for metric in metrics if metric.table == title]
        texts = dict.fromkeys(metric.text(protocol) for metric in among)
        quantities = {column.quantity for metric in among for column in metric.columns}
        listed = sorted((c for c in measured if c.quantity in quantities), key=lambda c: c.place)
        yield from _sheet(title, " ".join(filter(None, texts)), listed, summary, "quantities")
    yield from _imputers(summary, measured)
    compared = [replace(c, label=c.difference, better="") for c in measured if c.difference]
    # They follow the last table of a metric. The first three tables always have their numbers.
    last = max([3] + [TABLES.index(metric.table) + 1 for metric in metrics])
    numbers = count(1 if is_of_units(protocol) else 1 + last)
    yield from _sheet(
        f"Table {next(numbers)}. Differences from {summary['reference']}",
        f"Each method minus {summary['reference']}, over the images where both are defined. Percentages "
        "differ in percentage points. The standard errors are those of the paired differences.",
        compared,
        summary,
        "differences",
    )
    further = chain(
        _tests(summary, compared),
        _agreement(summary, compared),
        _validation(summary, measured),
        _costs(summary),
    )
    for title, text, table, shown in further:
        yield Heading(f"Table {next(numbers)}. {title}")
        yield Paragraph(text)
        yield table
        yield from note(shown)


def _tests(summary: Json, compared: Sequence[Column]) -> Iterator[Numbered]:
    tests = (m["differences"] for m in summary["methods"].values() if "differences" in m)
    if all(of[c.quantity]["p_value"] is None for of in tests for c in compared):
        return
    texts = {
        "p-values": "p-values of Wilcoxon's two-sided signed-rank test, with Holm's correction over the "
        "rows of a column. Each image contributes one value, also for pooled metrics. –: fewer than six "
        "images differ.",
        "effect sizes": "The matched-pairs rank-biserial correlation: 1 if the value of a method is "
        f"larger than that of {summary['reference']} on every image, -1 if it is smaller on every "
        "image.",
        "images needed": "The number of images needed to detect a difference with this mean and spread "
        "at the 0.05 level with probability 0.8.",
    }
    for what, text in texts.items():
        table = _rows(summary, compared, "differences", partial(_test, what))
        yield f"Tests of the differences: {what}", text, table, compared


def _test(what: str, entry: Json, column: Column) -> str:
    """A part of the test of a difference; undefined if there is no test."""
    if entry["p_value"] is None:
        return UNDEFINED
    if what == "p-values":
        return format_p(entry["p_value"]).removeprefix("= ")
    if what == "effect sizes":
        return f"{entry['effect_size']:+.2f}"
    images = entry["images_needed"]
    return f"> {MOST_NEEDED}" if images is None or images > MOST_NEEDED else str(images)


def _rows(summary: Json, columns: Sequence[Column], part: str, show: Show) -> Table:
    """A table of the methods, and the controls below them, that have this part of the summary."""
    rows: dict[bool, list[list[str]]] = {False: [], True: []}
    for title, method in summary["methods"].items():
        if part in method:
            cells = (show(method[part][column.quantity], column) for column in columns)
            rows[method["control"]].append([title, *cells])
    heads = ["method", *(column.head for column in columns)]
    return Table(heads, rows[False], rows[True], numbers=True)


def _estimate(entry: Json, column: Column, signed: bool = False) -> str:
    return format_estimate(entry["value"], entry["standard_error"], column.scale, signed)


def _agreement(summary: Json, compared: Sequence[Column]) -> Iterator[Numbered]:
    titles = {c.quantity: c.title for c in compared if c.quantity in summary["agreement"]}
    taus = [tau for row in summary["agreement"].values() for tau in row.values()]
    if len(titles) < 2 or all(tau is None for tau in taus):
        return
    text = (
        "Kendall's tau-b between the orders in which two metrics rank the methods, without controls: 1 "
        "for the same order, 0 for unrelated orders, -1 for the reverse order."
    )
    agreement = summary["agreement"]
    rows = [
        [title, *(two_digits(agreement[quantity][other]) for other in titles)]
        for quantity, title in titles.items()
    ]
    table = Table(["metric", *titles.values()], rows, numbers=True)
    yield "Agreement of the metrics", text, table, [c for c in compared if c.quantity in titles]


def _costs(summary: Json) -> Iterator[Numbered]:
    if "costs" not in summary:
        return
    costs = summary["costs"]
    text = (
        f"Measured once, on a batch of {counted(costs['images'], 'image')}: the seconds for one map, "
        "also as a multiple of the model's forward pass for one image, "
        f"{costs['seconds']:.3g} seconds. Memory: the growth of the memory of the process while the "
        "batch is explained, without the memory of a GPU. These numbers depend on the machine and on "
        "what else it does."
    )
    rows = [
        [
            title,
            f"{cost['seconds']:.3g}",
            f"{cost['seconds'] / costs['seconds']:.1f}",
            UNDEFINED if cost["megabytes"] is None else f"{cost['megabytes']:.0f}",
        ]
        for title, cost in costs["methods"].items()
    ]
    heads = ["method", "seconds ↓", "forward passes ↓", "memory (MB) ↓"]
    yield "Cost of a map", text, Table(heads, rows, numbers=True), ()


def _imputers(summary: Json, columns: Sequence[Column]) -> Iterator[Block]:
    """How much the order of methods depends on the replacement of pixels."""
    if "imputers" not in summary:
        return
    scores, taus = summary["imputers"]["r_oms"], summary["imputers"]["agreement"]
    titles = {c.quantity: c.title for c in columns if c.quantity in taus}
    names = list(next(iter(taus.values())))
    *_, detailed = titles
    yield Paragraph(
        "How much the order of the methods depends on the replacement: Kendall's tau-b between the "
        "orders with two replacements, 1 for the same order. R-OMS: the probability of the predicted "
        "class while pixels are replaced at random, averaged over their share (Blücher et al. 2024). "
        "The lower it is, the less the model knows images with this replacement; but infill lowers it "
        "because it removes the object."
    )
    heads = [f"{title}, mean tau" for title in titles.values()]
    heads += [f"{titles[detailed]}, tau with {name}" for name in names]
    rows = []
    for name in names:
        others = [[taus[q][name][other] for other in names if other != name] for q in titles]
        means = map(rounded, mean_of_defined(np.array(others, np.float64)))
        shown = [*means, *(None if n == name else taus[detailed][name][n] for n in names)]
        score = scores.get(name, {"value": None, "standard_error": None})
        estimate = format_estimate(score["value"], score["standard_error"])
        rows.append([name, estimate, *map(two_digits, shown)])
    yield Table(["replacement", "R-OMS ↑", *heads], rows, numbers=True)
    yield from note([c for c in columns if c.quantity in taus])


def _sheet(
    title: str, text: str, columns: Sequence[Column], summary: Json, part: str
) -> Iterator[Block]:
    """A table with its heading, text and notes. `part` of a method has its numbers."""
    if not columns or not any(part in method for method in summary["methods"].values()):
        return
    yield Heading(title)
    yield Paragraph(text)
    yield _table(summary, columns, part)
    for text in _notes(summary, columns, part):
        yield Paragraph(text, note=True)
    yield from note(columns)


def _table(summary: Json, columns: Sequence[Column], part: str) -> Table:
    of_methods = [m[part] for m in summary["methods"].values() if part in m and not m["control"]]
    bold = {
        (row, index)
        for index, column in enumerate(columns, start=1)
        for row in _best([entries[column.quantity]["value"] for entries in of_methods], column)
    }
    show = partial(_estimate, signed=part == "differences")
    return replace(_rows(summary, columns, part, show), bold=frozenset(bold))


def _best(values: Sequence[float | None], column: Column) -> list[int]:
    """The rows with the best value; none if all values are equal."""
    known = [value for value in values if value is not None]
    if not column.better or len(set(known)) < 2:
        return []
    best = min(known) if column.better == "lower" else max(known)
    return [row for row, value in enumerate(values) if value == best]


def _notes(summary: Json, columns: Sequence[Column], part: str) -> Iterator[str]:
    """On how many images each quantity is undefined, and for which methods."""
    kept = summary["kept"]
    listed = {title: method for title, method in summary["methods"].items() if part in method}
    for column in columns:
        if column.is_median:
            continue  # the same images as for its mean
        without: dict[int, list[str]] = {}
        for title, method in listed.items():
            missing = kept - method[part][column.quantity]["images"]
            if missing:
                without.setdefault(missing, []).append(title)
        for missing, titles in sorted(without.items()):
            whose = "every method" if len(titles) == len(listed) else ", ".join(titles)
            where = f"{missing} of {counted(kept, 'image')}, which are left out"
            where = "every image" if missing == kept else where
            yield f"{column.title} is undefined for {whose} on {where}."


def marked(columns: Iterable[Column], summary: Json) -> list[Column]:
    """The columns; those of metrics that failed their validation are marked."""
    found = summary.get("validation", {})
    return [
        replace(column, failed=found.get(column.mean, {}).get("valid") is False)
        for column in columns
    ]


def note(columns: Sequence[Column]) -> list[Paragraph]:
    """The note below a table with marked columns."""
    return [Paragraph(FAILED, note=True)] if any(column.failed for column in columns) else []


def _validation(summary: Json, columns: Sequence[Column]) -> Iterator[Numbered]:
    found = summary.get("validation", {})
    if not found:
        return
    titles = {c.mean: replace(c, failed=False).title for c in reversed(columns)}
    entries = [(titles[quantity], found[quantity]) for quantity in found if quantity in titles]
    images = max(entry[NOISE]["images"] for entry in found.values())
    text = (
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
    heads = ["metric", "noise ↑", "shift ↑", "re-test ↓", "valid"]
    yield VALIDATION, text, Table(heads, rows, numbers=True), ()
    text = (
        "The correlation with noise. The order is known only if a method's maps are better than noise. "
        "A negative number shows a metric that rewards noise, or a method whose maps are worse than "
        "noise."
    )
    rows = [[title, *map(two_digits, entry["methods"].values())] for title, entry in entries]
    heads = ["metric", *next(iter(found.values()))["methods"]]
    yield f"{VALIDATION} by the maps of each method", text, Table(heads, rows, numbers=True), ()
