"""A document as a list of blocks, and its Markdown, HTML and LaTeX."""

import base64
import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from rap_keras.support.text import printable, spaced

Write = Callable[[str], str]

_LATEX = {
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"±": r"$\pm$", "†": r"$\dagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
}


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
            return f"{'#' * level} {_markdown_text(text)}"
        case Paragraph(text):
            return _markdown_text(text)
        case Link(path, text):
            return f"[{_markdown_text(text)}]({path})"
        case Image(path, title, caption):
            return f"![{_markdown_text(title)}]({path})\n\n{_markdown_text(caption)}"
        case Code(text):
            text = printable(text)
            longest = max(map(len, re.findall("`+", text)), default=0)
            fence = "`" * max(3, longest + 1)
            return f"{fence}\n{text}\n{fence}"
        case Table():
            return _markdown_table(block)


def _markdown_table(table: Table) -> str:
    rule = ["---", *("---:" if table.numbers else "---" for _ in table.columns[1:])]
    lines = [map(_markdown_text, table.columns), rule]
    lines += table.written(_markdown_text, lambda cell: f"**{cell}**")
    for row in table.controls:
        lines.append([f"*{_markdown_text(cell)}*" if cell else "" for cell in row])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _markdown_text(text: str) -> str:
    """Escapes text as one line of Markdown."""
    text = html.escape(spaced(text), quote=False)
    text = re.sub(r"([\\`*\[\]|~$])", r"\\\1", text)
    # An underscore inside a word has no meaning in Markdown.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def page(title: str, body: Sequence[str], script: str) -> str:
    """A complete page of lines of HTML in the report's style, with a script of this folder."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
            f"<style>\n{_read('report.css')}</style></head>",
            "<body>",
            *body,
            f"<script>\n{_read(script)}</script>",
            "</body>",
            "</html>\n",
        ]
    )


def to_html(blocks: Sequence[Block], figures: Mapping[str, bytes]) -> str:
    """Blocks as a page with sortable tables and embedded figures, which are given by their paths."""
    title = next((b.text for b in blocks if isinstance(b, Heading) and b.level == 1), "")
    return page(title, [_html(block, figures) for block in blocks], "sortable.js")


def _read(name: str) -> str:
    return resources.files("rap_keras.benchmark.reporting").joinpath(name).read_text("utf-8")


def _html(block: Block, figures: Mapping[str, bytes]) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{plain_html(text)}</h{level}>"
        case Paragraph(text, note):
            start = '<p class="note">' if note else "<p>"
            return f"{start}{plain_html(text)}</p>"
        case Link(path, text):
            return f'<p><a href="{path}">{plain_html(text)}</a></p>'
        case Image(path, title, caption):
            source = f"data:image/png;base64,{base64.b64encode(figures[path]).decode()}"
            image = f'<p><img src="{source}" alt="{plain_html(title)}"></p>'
            return f'{image}\n<p class="note">{plain_html(caption)}</p>'
        case Code(text):
            return f"<pre><code>{html.escape(printable(text))}</code></pre>"
        case Table():
            return _html_table(block)


def _html_table(table: Table) -> str:
    lines = [
        '<div class="wide">',
        '<table class="numbers">' if table.numbers else "<table>",
        f"<thead>{_html_row(map(plain_html, table.columns), 'th')}</thead>",
        "<tbody>",
        *map(_html_row, table.written(plain_html, lambda cell: f"<strong>{cell}</strong>")),
        "</tbody>",
    ]
    if table.controls:
        rows = (_html_row(map(plain_html, row)) for row in table.controls)
        lines += ['<tbody class="controls">', *rows, "</tbody>"]
    return "\n".join([*lines, "</table>", "</div>"])


def _html_row(cells: Iterable[str], tag: str = "td") -> str:
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"


def plain_html(text: str) -> str:
    """Plain text as one line of HTML."""
    return html.escape(spaced(text))


def to_latex(blocks: Iterable[Block]) -> str:
    """The tables of numbers, each with the heading above it as caption; other blocks are left out.

    They need the LaTeX packages booktabs, and graphicx to shrink wide tables to the line width.
    """
    parts = [r"% Needs \usepackage{booktabs} and \usepackage{graphicx}."]
    heading = ""
    for block in blocks:
        match block:
            case Heading(text):
                # LaTeX numbers the tables.
                heading = re.sub(r"^Table \d+\. ", "", text)
            case Table(numbers=True):
                parts.append("\n".join(_latex_table(heading, block)))
    return "\n\n".join(parts) + "\n"


def _latex_table(heading: str, table: Table) -> Iterator[str]:
    yield r"\begin{table}"
    yield r"  \centering"
    yield rf"  \caption{{{_latex_text(heading)}}}"
    yield r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    yield rf"  \begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}"
    yield r"    \toprule"
    yield _latex_row(map(_latex_text, table.columns))
    yield r"    \midrule"
    # Mathematical signs are bold as well.
    yield from map(
        _latex_row, table.written(_latex_text, lambda cell: rf"{{\boldmath\textbf{{{cell}}}}}")
    )
    if table.controls:
        yield r"    \midrule"
    for row in table.controls:
        yield _latex_row(map(_latex_text, row))
    yield r"    \bottomrule"
    yield r"  \end{tabular}}"
    yield r"\end{table}"


def _latex_row(cells: Iterable[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def _latex_text(text: str) -> str:
    escaped = "".join(_LATEX.get(sign, sign) for sign in spaced(text))
    # A hyphen in front of a number is a minus.
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", escaped)
