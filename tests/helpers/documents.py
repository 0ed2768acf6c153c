"""The public documents: their Python blocks, links and commands.

A block that cannot run as it stands says so in a comment on the line before it:

    <!-- not run: needs a download -->
    <!-- run on Keras 2 -->

The first skips the block, and tests/docs counts the skipped blocks. The second runs it in a separate
process, in which tf.keras is Keras 2.
"""

import ast
import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
    if path.name != "CHANGELOG.md"  # also names what was removed
}
KERAS_2 = "run on Keras 2"
NOT_RUN = "not run: "

_BLOCK = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A Python block: its page, the line of its first statement, its code and the comment before it."""

    page: str
    line: int
    code: str
    comment: str

    def run(self, names: dict[str, Any]) -> None:
        """Executes the block; a traceback names the line of the page."""
        exec(compile("\n" * (self.line - 1) + self.code, self.page, "exec"), names)


def blocks(page: str) -> list[Block]:
    """The Python blocks of a page, in order."""
    text = PAGES[page].read_text()
    return [
        Block(page, text.count("\n", 0, found.start(3)) + 1, found[3], found[1] or "")
        for found in _BLOCK.finditer(text)
        if found[2] == "python"
    ]


def links(page: str | Path) -> list[str]:
    """The targets of the links of a page or a notebook, without those on the web."""
    text = _BLOCK.sub("", PAGES[page].read_text()) if isinstance(page, str) else _prose(page)
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: str) -> set[str]:
    """The anchors of a page: its headings, as code hosts write them."""
    headings = re.findall(r"^#+ (.*)$", PAGES[page].read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: str, program: str) -> list[list[str]]:
    """The words of each command on a page that starts with `program`."""
    text = PAGES[page].read_text().replace("\\\n", " ")
    lines = re.findall(rf"^ *({program}.*)$", text, re.MULTILINE)
    inline = re.findall(rf"(?<!`)`({program}[^`]*)`", text)
    return [shlex.split(command, comments=True) for command in lines + inline]


def run_notebook(path: Path) -> None:
    """Runs the cells of a notebook, and shows their last values as a notebook does."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in _cells(path, "code"):
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, path.name, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), path.name, "eval"), names)
            if value is not None:
                _show(value)
                assert cell["outputs"], f"run {path.name} and store what it shows"


def _show(value: Any) -> None:
    for kind in ("_repr_html_", "_repr_png_", "__repr__"):
        if (show := getattr(value, kind, None)) and show() is not None:
            return
    raise AssertionError(f"{type(value).__name__} shows nothing")


def _cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def _prose(path: Path) -> str:
    return "\n".join("".join(cell["source"]) for cell in _cells(path, "markdown"))
