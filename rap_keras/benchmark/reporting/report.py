"""Writes the report of a benchmark, and its numbers for other programs.

The text is built once, as a list of blocks, and written as Markdown, HTML and LaTeX.
"""

import json
from collections.abc import Container, Iterable, Sequence
from itertools import chain
from pathlib import Path

from rap_keras.benchmark.reporting.answer import answer
from rap_keras.benchmark.reporting.document import Heading, Link, to_html, to_latex, to_markdown
from rap_keras.benchmark.reporting.figures import MapsOfImages, draw_figures, png
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
    """Writes the results of a benchmark, and returns the files.

    The tables and figures follow RAP (Nam et al., AAAI 2020, arXiv 1904.00605): outside-inside ratio
    (Table 1), segmentation (Table 2), heat maps (Fig. 5), perturbation (Fig. 7). The same records give
    the same bytes. Each file is replaced as a whole; one that cannot be written is an UnwritableError.
    """
    summary = summarize(protocol, images, reference)
    if costs is not None:
        summary["costs"] = costs
    figures = list(draw_figures(protocol, summary, images, maps))
    link = Link(PAGE, f"Heat maps of {counted(len(maps), 'image')} by all methods")
    blocks = [
        Heading(subject(protocol), 1),
        *answer(protocol, summary),
        *introduction(protocol, summary),
        *tables(protocol, summary),
        *(block for image, _ in figures for block in (Heading(image.title), image)),
        *([link] if maps else ()),
        *protocol_blocks(protocol, summary, images),
    ]
    drawn = {image.path: png(figure) for image, figure in figures}
    lines, numbers = json_lines(protocol), json_lines(summary, ["methods"])
    content = f'{{"protocol":{lines},\n"summary":{numbers}}}\n'
    # File names need not be UTF-8; JSON escapes their bytes.
    written = {
        "report.md": to_markdown(blocks).encode(),
        "report.html": to_html(blocks, drawn).encode(errors="replace"),
        "tables.tex": to_latex(blocks).encode(),
        "summary.json": content.encode(errors="backslashreplace"),
    }
    csv = [("results.csv", to_csv(protocol, images))]
    pages = maps_page(protocol, images, maps) if maps else ()
    return write_files(folder, chain((written | drawn).items(), csv, pages))


def write_files(
    folder: Path, contents: Iterable[tuple[str, bytes | Iterable[bytes]]]
) -> list[Path]:
    """Writes files with these names, each as a whole or in parts, and returns their paths."""
    files = []
    for name, data in contents:
        with replacing(folder / name) as file:
            file.writelines([data] if isinstance(data, bytes) else data)
        files.append(folder / name)
    return files


def json_lines(entries: Json, nested: Container[str] = ()) -> str:
    """An object with one line per entry, and one per entry of a dict that is `nested`."""
    lines = []
    for name, value in entries.items():
        if name in nested and isinstance(value, dict):
            text = json_lines(value)
        else:
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        lines.append(f"{json.dumps(name)}:{text}")
    return "{" + ",\n".join(lines) + "}"
