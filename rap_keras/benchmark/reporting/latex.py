"""The tables of numbers for a LaTeX document."""

import re
from collections.abc import Iterable, Iterator

from rap_keras.benchmark.reporting.document import Block, Heading, Table
from rap_keras.support.text import spaced

_SPECIAL = {
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"±": r"$\pm$", "†": r"$\dagger$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
}


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
                parts.append("\n".join(_table(heading, block)))
    return "\n\n".join(parts) + "\n"


def _table(heading: str, table: Table) -> Iterator[str]:
    yield r"\begin{table}"
    yield r"  \centering"
    yield rf"  \caption{{{_escape(heading)}}}"
    yield r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    yield rf"  \begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}"
    yield r"    \toprule"
    yield _row(map(_escape, table.columns))
    yield r"    \midrule"
    # Mathematical signs are bold as well.
    yield from map(_row, table.written(_escape, lambda cell: rf"{{\boldmath\textbf{{{cell}}}}}"))
    if table.controls:
        yield r"    \midrule"
    for row in table.controls:
        yield _row(map(_escape, row))
    yield r"    \bottomrule"
    yield r"  \end{tabular}}"
    yield r"\end{table}"


def _row(cells: Iterable[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def _escape(text: str) -> str:
    """Escapes text for LaTeX."""
    escaped = "".join(_SPECIAL.get(sign, sign) for sign in spaced(text))
    # A hyphen in front of a number is a minus.
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", escaped)
