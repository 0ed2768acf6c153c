"""The report of a benchmark, and its numbers for other programs.

The text is put together once, as a list of blocks; Markdown, HTML and LaTeX are ways to write them.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from rap_keras.benchmark.reporting.document import Heading, Link, to_markdown
from rap_keras.benchmark.reporting.figures import MapsOfImages, draw_figures, png
from rap_keras.benchmark.reporting.html import to_html
from rap_keras.benchmark.reporting.latex import to_latex
from rap_keras.benchmark.reporting.maps_page import PAGE, maps_page
from rap_keras.benchmark.reporting.tables import tables
from rap_keras.benchmark.reporting.words import introduction, protocol_blocks
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
        reference: What `summarize` compares the others to.

    Returns:
        The files: report.md, report.html, tables.tex, summary.json, results.csv, those in figures, and
        where maps are there, maps.html and its pictures in maps.

    Raises:
        InputError: If no image was kept.
        UnwritableError: If a file cannot be written.
    """
    summary = summarize(protocol, images, reference=reference)
    figures = draw_figures(protocol, summary, images, maps)
    blocks = [
        *introduction(protocol, summary),
        *tables(protocol, summary),
        *(block for figure in figures for block in (Heading(figure.title), figure.block)),
        *(
            [Link(PAGE, f"All {counted(len(maps), 'image')} with heat maps, method by method.")]
            if maps
            else []
        ),
        *protocol_blocks(protocol, summary, images),
    ]
    content = json.dumps({"protocol": protocol, "summary": summary}, indent=1, ensure_ascii=False)
    pictures = {figure.block.path: png(figure.figure) for figure in figures}
    # Names of files need not be UTF-8: JSON has escapes for their bytes.
    written = {
        "report.md": to_markdown(blocks).encode(),
        "report.html": to_html(blocks, pictures).encode(errors="replace"),
        "tables.tex": to_latex(blocks).encode(),
        "summary.json": f"{content}\n".encode(errors="backslashreplace"),
    }
    contents: Iterable[tuple[str, Iterable[bytes]]] = chain(
        ((name, [data]) for name, data in (written | pictures).items()),
        [("results.csv", to_csv(protocol, images))],
        ((name, [data]) for name, data in (maps_page(protocol, images, maps) if maps else ())),
    )
    files = []
    for name, data in contents:
        with replacing(folder / name) as file:
            file.writelines(data)
        files.append(folder / name)
    return files
