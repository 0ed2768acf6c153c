"""A document as a list of blocks, and its Markdown."""

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rap_keras.support.text import printable, spaced

Write = Callable[[str], str]


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text; notes are in smaller letters in HTML."""

    text: str
    note: bool = False


@dataclass(frozen=True)
class Code:
    """Lines of code."""

    text: str


@dataclass(frozen=True)
class Link:
    """A paragraph with a link to a file next to the report."""

    path: str
    text: str


@dataclass(frozen=True)
class Image:
    """A figure in a file next to the report, with a heading and a caption."""

    path: str
    title: str
    caption: str


@dataclass(frozen=True)
class Table:
    """A table of plain text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    controls: Sequence[Sequence[str]] = ()  # further rows in a separate part below
    bold: frozenset[tuple[int, int]] = frozenset()  # (row, column) of cells of `rows`
    numbers: bool = False  # whether all columns except the first contain numbers

    def written(self, write: Write, strong: Write) -> list[list[str]]:
        """The rows with their cells as they are written in a format, and those in bold marked."""
        rows = [[write(cell) for cell in row] for row in self.rows]
        for row, column in self.bold:
            rows[row][column] = strong(rows[row][column])
        return rows


Block = Heading | Paragraph | Code | Link | Image | Table


def to_markdown(blocks: Sequence[Block]) -> str:
    """Blocks as GitHub's Markdown, which has tables; all text is escaped."""
    return "\n\n".join(map(_markdown, blocks)) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_escape(text)}"
        case Paragraph(text):
            return _escape(text)
        case Link(path, text):
            return f"[{_escape(text)}]({path})"
        case Image(path, title, caption):
            return f"![{_escape(title)}]({path})\n\n{_escape(caption)}"
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
    lines += table.written(_escape, lambda cell: f"**{cell}**")
    for row in table.controls:
        lines.append([f"*{_escape(cell)}*" if cell else "" for cell in row])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _escape(text: str) -> str:
    """Escapes text as one line of Markdown."""
    text = html.escape(spaced(text), quote=False)
    text = re.sub(r"([\\`*\[\]|~$])", r"\\\1", text)
    # An underscore inside a word has no meaning in Markdown.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)
