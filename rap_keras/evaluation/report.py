"""The report of a benchmark: report.md, report.html, summary.json and figures.

The text is put together once, as a list of blocks; Markdown and HTML are two ways to write them.
"""

import html
import io
import json
import math
import os
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rap_keras import plot
from rap_keras.evaluation.summary import CURVES, REFERENCE, summarize

UNDEFINED = "–"
MAX_LISTED = 20
# A few extreme pixels would leave the rest of a map white.
HEATMAP_PERCENTILE = 99.5
DPI = 150
# Those of tab10, without the grey, which is for controls; and three dark ones.
COLORS = (
    *("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf"),
    *("#bcbd22", "#08306b", "#00441b", "#3f007d"),
)
CONTROL_COLORS = ("0.15", "0.45", "0.65")
MARKERS = "osD^vP<X>*hpd"
MARKERS_PER_CURVE = 7
STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; color: #222; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1em 0; border-bottom: 1px solid; }
th, td { padding: 0.2em 0.8em; text-align: left; }
.numbers th, .numbers td { white-space: nowrap; text-align: right; }
.numbers th:first-child, .numbers td:first-child { text-align: left; }
thead { border-top: 2px solid; border-bottom: 1px solid; }
.controls { border-top: 1px solid; font-style: italic; color: #555; }
.note { font-size: 0.85em; color: #555; }
pre { background: #f4f4f4; padding: 0.8em; overflow-x: auto; }
img { max-width: 100%; }
"""

Maps = Mapping[int, Mapping[str, NDArray[Any]]]


def write_report(
    folder: Path,
    protocol: Mapping[str, Any],
    images: Sequence[Mapping[str, Any]],
    maps: Maps,
    summary: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Writes what a benchmark has found.

    The tables and figures follow RAP (Nam et al., AAAI 2020, arXiv 1904.00605): outside-inside ratio
    (Table 1), segmentation (Table 2), heat maps (Fig. 5), perturbation (Fig. 7). The same records give
    the same report, byte by byte. Each file is replaced as a whole.

    Args:
        folder: Where to; it is made if need be.
        protocol: What was run, as for `summarize`, and for readers.
        images: The record of every image.
        maps: Of some images, by position: the pixels, uint8 `(height, width, 3)`, under "" (if they may
            be shown), and the heat map `(height, width)` of each method under its title.
        summary: That of `summarize`, if it is there already.

    Returns:
        The files: report.md, report.html, summary.json, and those in figures.

    Raises:
        InputError: If no image was kept.
        OSError: If a file cannot be written.
    """
    if summary is None:
        summary = summarize(protocol, images, protocol.get("resamples", 1000))
    figures = _figures(protocol, summary, images, maps)
    blocks = [
        *_introduction(protocol, summary),
        *_tables(summary),
        *(block for figure in figures for block in (Heading(figure.title), figure.block)),
        *_protocol(protocol, summary, images),
    ]
    content = json.dumps({"protocol": protocol, "summary": summary}, indent=1, ensure_ascii=False)
    files = {
        "report.md": to_markdown(blocks).encode(),
        "report.html": to_html(blocks).encode(),
        "summary.json": f"{content}\n".encode(),
    } | {figure.block.path: _png(figure.figure) for figure in figures}
    for name, data in files.items():
        _write(folder / name, data)
    return [folder / name for name in files]


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
    measured = [column for column in columns if _is_measured(summary, column[1], "quantities")]
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
    return [_what_was_run(protocol, summary), *lines]


def format_estimate(
    value: float | None, standard_error: float | None, scale: float = 1, signed: bool = False
) -> str:
    """Writes a value with its standard error, to the digits that the standard error leaves.

    The standard error gets two significant digits if it begins with 1 or 2, otherwise one.

    Args:
        value: The value; None: undefined.
        standard_error: Its standard error; None: unknown.
        scale: What both are multiplied by: 100 for percent.
        signed: Whether a positive value has a sign.

    Returns:
        Such as "0.523 ± 0.012", "(4.1 ± 0.3)e-7", "0.523" without a standard error, "–" without a value.
    """
    if value is None:
        return UNDEFINED
    sign = "+" if signed else ""
    value *= scale
    error = None if standard_error is None else standard_error * scale
    if not error:
        # Adding zero takes the sign off a negative one.
        known = f"{float(f'{value:.4g}') + 0.0:{sign}.4g}"
        return known if error is None else f"{known} ± 0"
    largest = max(abs(value), error)
    if not 1e-3 <= largest < 1e6:
        exponent = math.floor(math.log10(largest))
        return f"({_with_error(value / 10**exponent, error / 10**exponent, sign)})e{exponent}"
    return _with_error(value, error, sign)


def _with_error(value: float, error: float, sign: str) -> str:
    exponent = math.floor(math.log10(error))
    decimals = (1 if error / 10**exponent < 3 else 0) - exponent
    shown = max(decimals, 0)
    return f"{round(value, decimals) + 0.0:{sign}.{shown}f} ± {round(error, decimals):.{shown}f}"


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text; a note is in smaller letters where there are such."""

    text: str
    note: bool = False


@dataclass(frozen=True)
class Code:
    """Lines as they are typed."""

    text: str


@dataclass(frozen=True)
class Image:
    """A picture in a file beside the report."""

    path: str
    caption: str


@dataclass(frozen=True)
class Table:
    """A table of plain text.

    Attributes:
        columns: The heads.
        rows: Cells.
        controls: More rows, set apart.
        bold: The cells (row, column) among `rows` to print bold.
        numbers: Whether all columns but the first are numbers.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    controls: Sequence[Sequence[str]] = ()
    bold: frozenset[tuple[int, int]] = frozenset()
    numbers: bool = False


Block = Heading | Paragraph | Code | Image | Table


def to_markdown(blocks: Sequence[Block]) -> str:
    """Writes blocks as Markdown (GitHub's, for its tables).

    Args:
        blocks: What to write; all of their text is escaped.

    Returns:
        The document.
    """
    return "\n\n".join(map(_markdown, blocks)) + "\n"


def to_html(blocks: Sequence[Block]) -> str:
    """Writes blocks as one HTML page that needs nothing but the pictures.

    Args:
        blocks: What to write; all of their text is escaped.

    Returns:
        The page.
    """
    title = next((b.text for b in blocks if isinstance(b, Heading) and b.level == 1), "")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            f'<head><meta charset="utf-8"><title>{html.escape(title)}</title>',
            f"<style>{STYLE}</style></head>",
            "<body>",
            *map(_html, blocks),
            "</body>",
            "</html>\n",
        ]
    )


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_escape(text)}"
        case Paragraph(text):
            return _escape(text)
        case Image(path, caption):
            return f"![{_escape(caption)}]({path})\n\n{_escape(caption)}"
        case Code(text):
            longest = max(map(len, re.findall("`+", text)), default=0)
            fence = "`" * max(3, longest + 1)
            return f"{fence}\n{text}\n{fence}"
        case Table():
            return _markdown_table(block)


def _markdown_table(table: Table) -> str:
    rule = ["---", *("---:" if table.numbers else "---" for _ in table.columns[1:])]
    lines = [map(_escape, table.columns), rule]
    for i, row in enumerate(table.rows):
        cells = map(_escape, row)
        lines.append([f"**{c}**" if (i, j) in table.bold else c for j, c in enumerate(cells)])
    for row in table.controls:
        lines.append([f"*{_escape(cell)}*" if cell else "" for cell in row])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _escape(text: str) -> str:
    """Text as one line of Markdown that shows just that."""
    text = html.escape(" ".join(text.split()), quote=False)
    text = re.sub(r"([\\`*\[\]|~$])", r"\\\1", text)
    # Inside of words an underscore is nothing but that.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Paragraph(text, note):
            start = '<p class="note">' if note else "<p>"
            return f"{start}{html.escape(text)}</p>"
        case Image(path, caption):
            alt = html.escape(caption)
            return f'<p><img src="{path}" alt="{alt}"></p>\n<p class="note">{alt}</p>'
        case Code(text):
            return f"<pre><code>{html.escape(text)}</code></pre>"
        case Table():
            return _html_table(block)


def _html_table(table: Table) -> str:
    lines = [
        '<div class="wide">',
        '<table class="numbers">' if table.numbers else "<table>",
        f"<thead><tr>{_html_cells(table.columns, 'th')}</tr></thead>",
        "<tbody>",
    ]
    for i, row in enumerate(table.rows):
        bold = {column for at, column in table.bold if at == i}
        lines.append(f"<tr>{_html_cells(row, 'td', bold)}</tr>")
    lines.append("</tbody>")
    if table.controls:
        lines.append('<tbody class="controls">')
        lines += [f"<tr>{_html_cells(row, 'td')}</tr>" for row in table.controls]
        lines.append("</tbody>")
    return "\n".join([*lines, "</table>", "</div>"])


def _html_cells(
    cells: Sequence[str], tag: str, bold: set[int] | frozenset[int] = frozenset()
) -> str:
    escaped = map(html.escape, cells)
    strong = (f"<strong>{c}</strong>" if j in bold else c for j, c in enumerate(escaped))
    return "".join(f"<{tag}>{cell}</{tag}>" for cell in strong)


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


def _tables(summary: Mapping[str, Any]) -> Iterator[Block]:
    for sheet in _SHEETS:
        columns = [c for c in sheet.columns if _is_measured(summary, c.quantity, sheet.part)]
        if not columns:
            continue
        yield Heading(sheet.title)
        yield Paragraph(sheet.text)
        yield _table(summary, columns, sheet.part)
        for note in _notes(summary, columns, sheet.part):
            yield Paragraph(note, note=True)


def _is_measured(summary: Mapping[str, Any], quantity: str, part: str) -> bool:
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
            where = f"{missing} of {_counted(kept, 'image')}, left out"
            yield f"{column.label}: undefined on {'every image' if missing == kept else where}: {whose}."


_LABELS = {
    "model": "model",
    "weights": "weights",
    "weights_crc32": "CRC-32 of the weights",
    "preprocess": "preprocessing",
    "mean": "subtracted after that",
    "std": "divided by after that",
    "input_size": "input size",
    "backend": "backend",
    "neuron": "explained neuron",
    "data": "data set",
    "data_images": "images in the data set",
    "data_crc32": "CRC-32 of their names",
    "patterns_crc32": "CRC-32 of the patterns",
    "classes": "classes",
    "objects": "masks",
    "foreground": "objects that count",
    "images": "images drawn",
    "limit": "at most",
    "seed": "seed",
    "keep": "images that count",
    "metrics": "metrics",
    "pooled": "mIOU",
    "tolerance": "tolerance of the pointing game",
    "perturbation": "perturbation",
    "figures": "images in the figure",
    "resamples": "bootstrap resamples",
    "rap_keras": "rap_keras",
    "versions": "versions",
}
_VALUES = {
    ("keep", "correct"): "those that are classified correctly",
    ("keep", "all"): "all",
    ("foreground", "class"): "those of the explained class",
    ("foreground", "any"): "all",
    ("pooled", True): "the pixels of all images counted together",
    ("pooled", False): "mean over the images, each counted by itself",
}


def _introduction(protocol: Mapping[str, Any], summary: Mapping[str, Any]) -> Iterator[Block]:
    yield Heading("Attribution methods compared", 1)
    yield Paragraph(_what_was_run(protocol, summary))
    errors = (
        "There is only one image, and so no standard error."
        if summary["kept"] == 1
        else "Values are given ± their standard errors, by "
        f"{summary['resamples']} bootstrap resamples of the kept images, the same for every method."
    )
    yield Paragraph(f"{errors} Bold is the best method of a column.")
    if any(method["control"] for method in summary["methods"].values()):
        yield Paragraph(
            "Controls, in italics below the methods, are maps that explain nothing: a method that is no "
            "better than they are has shown nothing."
        )


def _what_was_run(protocol: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    total = sum(summary[status] for status in ("kept", "misclassified", "skipped"))
    return (
        f"{protocol['model']} on {protocol['data']}: {summary['kept']} of {_counted(total, 'image')} "
        f"kept, {summary['misclassified']} misclassified, {summary['skipped']} skipped."
    )


def _protocol(
    protocol: Mapping[str, Any],
    summary: Mapping[str, Any],
    images: Sequence[Mapping[str, Any]],
) -> Iterator[Block]:
    yield Heading("Protocol")
    if "command" in protocol:
        yield Code(protocol["command"])
    # What is not known here is shown nevertheless.
    keys = [key for key in _LABELS if key in protocol]
    keys += [key for key in protocol if key not in {*_LABELS, "methods", "command"}]
    rows = [
        [_LABELS.get(key, key), _readable(key, protocol[key])]
        for key in keys
        if protocol[key] is not None
    ]
    rows.append(["images kept", str(summary["kept"])])
    rows.append(["images misclassified", str(summary["misclassified"])])
    rows.append(["images skipped", str(summary["skipped"])])
    yield Table(["what", "value"], rows)
    yield Heading("Methods", 3)
    yield Table(
        ["row", "method", "options", "foreground above"],
        [_method_row(method) for method in protocol["methods"] if not method.get("control")],
        [_method_row(method) for method in protocol["methods"] if method.get("control")],
    )
    ordered = sorted(images, key=lambda record: record["position"])
    skipped = [[r["name"], r["reason"]] for r in ordered if r["status"] == "skipped"]
    yield from _list("Skipped images", ["image", "reason"], skipped)
    wrong = [
        [r["name"], str(r["label"]), str(r["predicted"])]
        for r in ordered
        if r["status"] == "misclassified"
    ]
    yield from _list("Misclassified images", ["image", "class", "predicted"], wrong)


def _method_row(method: Mapping[str, Any]) -> list[str]:
    options = ", ".join(f"{name}={_plain(value)}" for name, value in method["options"].items())
    threshold = method["threshold"]
    where = {"zero": "zero", "mean": "the map's mean"}.get(threshold, f"percentile {threshold}")
    return [method["title"], method["method"], options, where]


def _list(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Block]:
    """The first of what may be many."""
    if not rows:
        return
    yield Heading(title, 3)
    yield Table(columns, rows[:MAX_LISTED])
    if len(rows) > MAX_LISTED:
        yield Paragraph(f"And {len(rows) - MAX_LISTED} more.", note=True)


def _readable(key: str, value: Any) -> str:
    if isinstance(value, (str, bool)) and (key, value) in _VALUES:
        return _VALUES[key, value]
    if key == "perturbation":
        return _perturbation(value)
    if key == "input_size":
        return " x ".join(map(str, value)) + " pixels"
    return _plain(value)


def _perturbation(value: Mapping[str, Any]) -> str:
    pixels = value.get("pixels_per_step")
    of = "" if pixels is None else f" of {_counted(pixels, 'pixel')}"
    share = 100 * value["fractions"][-1]
    return (
        f"{_counted(value['steps'], 'step')}{of}, {share:.4g} % of the image in the end, "
        f"replaced by: {value['replacement']}"
    )


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@dataclass(frozen=True)
class _Drawn:
    """A figure with its place in the report."""

    title: str
    block: Image
    figure: Figure


def _figures(
    protocol: Mapping[str, Any],
    summary: Mapping[str, Any],
    images: Sequence[Mapping[str, Any]],
    maps: Maps,
) -> list[_Drawn]:
    figures = []
    if maps:
        caption = (
            "Images and their heat maps (in the manner of Fig. 5 of arXiv 1904.00605): red speaks for "
            "the class, blue against it. Each map has a scale of its own; its colours saturate at the "
            f"{HEATMAP_PERCENTILE}th percentile of the absolute values."
        )
        image = Image("figures/heatmaps.png", caption)
        figures.append(_Drawn("Heat maps", image, heatmap_figure(protocol, images, maps)))
    for name in CURVES:
        if name not in protocol["metrics"]:
            continue
        order, title = ("least", "LeRF") if name == "lerf" else ("most", "MoRF")
        caption = (
            f"Accuracy and explained logit, means over the images, while pixels are replaced from the "
            f"{order} relevant on (in the manner of Fig. 7 of arXiv 1904.00605): the curves of good "
            f"methods stay {'high' if name == 'lerf' else 'low'}. Bands: one standard error. Dashed: "
            "controls."
        )
        image = Image(f"figures/{name}.png", caption)
        drawn = perturbation_figure(protocol, summary, name)
        figures.append(_Drawn(f"Perturbation, {order} relevant first ({title})", image, drawn))
    return figures


def heatmap_figure(
    protocol: Mapping[str, Any], images: Sequence[Mapping[str, Any]], maps: Maps
) -> Figure:
    """Draws images and their heat maps, a row for each image, in the manner of the paper's Fig. 5.

    Args:
        protocol: What was run: `methods`, in the order of the columns.
        images: The records, for the names of the images.
        maps: As for `write_report`; a method is drawn if every image has its map.

    Returns:
        The figure.
    """
    positions = sorted(maps)
    names = {record["position"]: record["name"] for record in images}
    titles = [
        method["title"]
        for method in protocol["methods"]
        if all(method["title"] in maps[position] for position in positions)
    ]
    has_photos = all("" in maps[position] for position in positions)
    figure = plot.grid(
        _stacked([maps[position][""] for position in positions], 255) if has_photos else None,
        {title: _stacked([maps[position][title] for position in positions], 0) for title in titles},
        percentile=HEATMAP_PERCENTILE,
        row_titles=[_label(names.get(position, str(position)), 26) for position in positions],
    )
    for ax, title in zip(figure.axes[has_photos:], titles, strict=False):
        ax.set_title(_label(title), fontsize="small")
    return figure


def perturbation_figure(
    protocol: Mapping[str, Any], summary: Mapping[str, Any], name: str
) -> Figure:
    """Draws accuracy and logit over the share of replaced pixels, in the manner of the paper's Fig. 7.

    Args:
        protocol: What was run: `perturbation`.
        summary: That of `summarize`.
        name: "lerf" or "morf".

    Returns:
        The figure: a line for each method with a band of one standard error, controls dashed.
    """
    shares = 100 * np.asarray(protocol["perturbation"]["fractions"], dtype=np.float64)
    figure = plot.NotebookFigure(figsize=(12, 4.5), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    styles = _styles(summary)
    for title, method in summary["methods"].items():
        curves = method["curves"][name]
        _draw_curve(left, shares, curves["accuracy"], 100, styles[title])
        _draw_curve(right, shares, curves["logit"], 1, styles[title])
    left.set_ylabel("accuracy (%)")
    right.set_ylabel("logit of the explained class")
    for ax in (left, right):
        ax.set_xlabel("replaced pixels (%)")
        ax.grid(color="0.9")
        ax.spines[["top", "right"]].set_visible(False)
    labels = [_label(title, 32) for title in summary["methods"]]
    figure.legend(
        left.lines, labels, loc="outside right center", fontsize="small", handlelength=3.5
    )
    return figure


def _styles(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """How each line is drawn: no two of two dozen alike, the first method on top."""
    colors, controls, markers = cycle(COLORS), cycle(CONTROL_COLORS), cycle(MARKERS)
    styles = {}
    for index, (title, method) in enumerate(summary["methods"].items()):
        control = method["control"]
        styles[title] = {
            "color": next(controls if control else colors),
            "marker": next(markers),
            "linestyle": "--" if control else "-",
            "linewidth": 2.4 if title == REFERENCE else 1.4,
            "markersize": 5,
            # Where curves lie on each other, their markers stand side by side.
            "phase": index / len(summary["methods"]),
            "zorder": 3 - index / len(summary["methods"]),
        }
    return styles


def _draw_curve(
    ax: Axes,
    shares: NDArray[np.float64],
    curve: Mapping[str, list[float | None]],
    scale: float,
    style: Mapping[str, Any],
) -> None:
    values = scale * np.array(curve["value"], dtype=np.float64)
    errors = scale * np.array(curve["standard_error"], dtype=np.float64)
    every = max(1, len(shares) // MARKERS_PER_CURVE)
    line = {key: value for key, value in style.items() if key != "phase"}
    ax.plot(shares, values, markevery=(int(style["phase"] * every), every), **line)
    if np.isfinite(errors).any():
        band = {"color": style["color"], "alpha": 0.13, "linewidth": 0}
        ax.fill_between(shares, values - errors, values + errors, zorder=1, **band)


def _stacked(arrays: Sequence[NDArray[Any]], filling: float) -> NDArray[Any]:
    """Arrays of perhaps different sizes as one, filled up at the right and below."""
    height, width = (max(array.shape[axis] for array in arrays) for axis in (0, 1))
    filled = []
    for array in arrays:
        margins = [(0, height - array.shape[0]), (0, width - array.shape[1])]
        margins += [(0, 0)] * (array.ndim - 2)
        filled.append(np.pad(array, margins, constant_values=filling))
    return np.stack(filled)


def _label(text: str, width: int = 22) -> str:
    """Text for a figure: lines that fit, and no formulas."""
    lines = textwrap.wrap(text.replace(":", ": "), width) or [""]
    return "\n".join(line.replace(": ", ":") for line in lines).replace("$", r"\$")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font does not know shows as boxes.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(buffer, format="png")
    # 256 colours make a figure of noisy maps a third of the size.
    small = io.BytesIO()
    PIL.Image.open(buffer).convert("RGB").quantize(256).save(small, "PNG", optimize=True)
    return small.getvalue()


def _write(path: Path, data: bytes) -> None:
    """Replaces a file: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
