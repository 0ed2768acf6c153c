"""Writes the report of a benchmark, and its numbers for other programs.

The text is built once, as a list of blocks, and written as Markdown, HTML and LaTeX.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from rap_keras.benchmark.reporting.answer import answer
from rap_keras.benchmark.reporting.document import Heading, Link, to_markdown
from rap_keras.benchmark.reporting.figures import MapsOfImages, draw_figures, png
from rap_keras.benchmark.reporting.html import to_html
from rap_keras.benchmark.reporting.latex import to_latex
from rap_keras.benchmark.reporting.maps_page import PAGE, maps_page
from rap_keras.benchmark.reporting.tables import tables
from rap_keras.benchmark.reporting.words import introduction, protocol_blocks, subject
from rap_keras.benchmark.results import to_csv
from rap_keras.benchmark.statistics import Json
from rap_keras.benchmark.summary import summarize
from rap_keras.support.files import replacing
from rap_keras.support.text import counted


def write_report(
    folder: Path,
    protocol: Json,
    images: Sequence[Json],
    maps: MapsOfImages,
    reference: str | None = None,
    costs: Json | None = None,
) -> list[Path]:
    """Writes the results of a benchmark.

    The tables and figures follow RAP (Nam et al., AAAI 2020, arXiv 1904.00605): outside-inside ratio
    (Table 1), segmentation (Table 2), heat maps (Fig. 5), perturbation (Fig. 7). The same records give
    the same bytes. Each file is replaced as a whole.

    Args:
        folder: The folder to write to. It is created if missing.
        protocol: What was run: the entries that `summarize` needs, and any others to show.
        images: The record of every image.
        maps: The maps of some images, by position: the pixels, uint8 `(height, width, 3)`, under "" (if
            they may be shown), and the heat map `(height, width)` of each method under its title.
        reference: The method that `summarize` compares the others to.
        costs: The result of `measure_costs`, if it was measured.

    Returns:
        The files: report.md, report.html, tables.tex, summary.json, results.csv, the figures, and, if
        there are maps, maps.html and the images in maps.

    Raises:
        InputError: No image was kept.
        UnwritableError: A file cannot be written.
    """
    summary = summarize(protocol, images, reference=reference)
    if costs is not None:
        summary["costs"] = costs
    figures = draw_figures(protocol, summary, images, maps)
    blocks = [
        Heading(subject(protocol), 1),
        *answer(protocol, summary),
        *introduction(protocol, summary),
        *tables(protocol, summary),
        *(block for f in figures for block in (Heading(f.block.title), f.block)),
        *(
            [Link(PAGE, f"Heat maps of {counted(len(maps), 'image')} by all methods")]
            if maps
            else []
        ),
        *protocol_blocks(protocol, summary, images),
    ]
    drawn = {figure.block.path: png(figure.figure) for figure in figures}
    # File names need not be UTF-8; JSON escapes their bytes.
    written = {
        "report.md": to_markdown(blocks).encode(),
        "report.html": to_html(blocks, drawn).encode(errors="replace"),
        "tables.tex": to_latex(blocks).encode(),
        "summary.json": summary_json(protocol, summary).encode(errors="backslashreplace"),
    }
    contents: Iterable[tuple[str, Iterable[bytes]]] = chain(
        ((name, [data]) for name, data in (written | drawn).items()),
        [("results.csv", to_csv(protocol, images))],
        ((name, [data]) for name, data in (maps_page(protocol, images, maps) if maps else ())),
    )
    files = []
    for name, data in contents:
        with replacing(folder / name) as file:
            file.writelines(data)
        files.append(folder / name)
    return files


def summary_json(protocol: Json, summary: Json) -> str:
    """The protocol and the summary as JSON: one line for each entry of the protocol and each method."""
    parts = [f'"protocol":{_lines(protocol)}', f'"summary":{_lines(summary)}']
    return "{" + ",\n".join(parts) + "}\n"


def _lines(entries: Json) -> str:
    """An object with one line per entry; `methods` of a summary has one line per method."""
    written = []
    for name, value in entries.items():
        nested = name == "methods" and isinstance(value, dict)
        text = (
            _lines(value)
            if nested
            else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        )
        written.append(f"{json.dumps(name)}:{text}")
    return "{" + ",\n".join(written) + "}"
