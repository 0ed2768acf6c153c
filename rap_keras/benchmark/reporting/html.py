"""Blocks as one HTML page without external files."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

from rap_keras.benchmark.reporting.document import (
    Block,
    Code,
    Heading,
    Image,
    Link,
    Paragraph,
    Table,
)
from rap_keras.support.text import printable, spaced


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
        f"<thead>{_row(map(plain_html, table.columns), 'th')}</thead>",
        "<tbody>",
        *map(_row, table.written(plain_html, lambda cell: f"<strong>{cell}</strong>")),
        "</tbody>",
    ]
    if table.controls:
        rows = (_row(map(plain_html, row)) for row in table.controls)
        lines += ['<tbody class="controls">', *rows, "</tbody>"]
    return "\n".join([*lines, "</table>", "</div>"])


def _row(cells: Iterable[str], tag: str = "td") -> str:
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"


def plain_html(text: str) -> str:
    """Plain text as one line of HTML."""
    return html.escape(spaced(text))
