"""The report of a benchmark: report.md, report.html, summary.json and figures.

The text is put together once, as a list of blocks; Markdown and HTML are two ways to write them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rap_keras.benchmark.reporting.document import Heading, to_html, to_markdown
from rap_keras.benchmark.reporting.figures import Maps, draw_figures, png
from rap_keras.benchmark.reporting.tables import tables
from rap_keras.benchmark.reporting.words import introduction, protocol_blocks
from rap_keras.benchmark.summary import summarize
from rap_keras.support.files import replacing


def write_report(
    folder: Path,
    protocol: Mapping[str, Any],
    images: Sequence[Mapping[str, Any]],
    maps: Maps,
    summary: Mapping[str, Any] | None = None,
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
        summary: That of `summarize`, if it is there already.
        reference: What `summarize` compares the others to.

    Returns:
        The files: report.md, report.html, summary.json, and those in figures.

    Raises:
        InputError: If no image was kept.
        UnwritableError: If a file cannot be written.
    """
    if summary is None:
        summary = summarize(protocol, images, protocol.get("resamples", 1000), reference)
    figures = draw_figures(protocol, summary, images, maps)
    blocks = [
        *introduction(protocol, summary),
        *tables(protocol, summary),
        *(block for figure in figures for block in (Heading(figure.title), figure.block)),
        *protocol_blocks(protocol, summary, images),
    ]
    content = json.dumps({"protocol": protocol, "summary": summary}, indent=1, ensure_ascii=False)
    files = {
        # Names of files need not be UTF-8: JSON has escapes for their bytes.
        "report.md": to_markdown(blocks).encode(),
        "report.html": to_html(blocks).encode(errors="replace"),
        "summary.json": f"{content}\n".encode(errors="backslashreplace"),
    } | {figure.block.path: png(figure.figure) for figure in figures}
    for name, data in files.items():
        with replacing(folder / name) as file:
            file.write(data)
    return [folder / name for name in files]
