"""A document as blocks, written as Markdown and as HTML."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rap_keras.support.text import printable

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
            text = printable(text)
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
    text = html.escape(printable(" ".join(text.split())), quote=False)
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
