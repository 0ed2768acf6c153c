"""Pages, messages, docstrings and comments use the usual English word."""

import json
import re

import pytest
from helpers.documents import ROOT

# What reads like a translation, and what to write.
WORDS = {
    r"besides?": "next to, also, as well as",
    r"alike|likewise": "the same, both, also",
    r"but for": "except",
    r"told": "given, known, reported",
    r"(?<!\.)tells?(?! \w+(?: \w+)? apart)": "shows, reports, warns about",
    r"(?:one's|of (?:its|our|their|your)) own": "your own, custom, separate",
    r"com(?:es?|ing) along": "bundled",
    r"embedded (?:classifier|model|network|vgg|residual|convnext|vit)": "bundled",
    r"(?:what|all that) there is": "what is available, everything",
    r"(?:go|goes|gone|going|went) on": "continues, resumes",
    r"to be had": "available",
    r"mark that": "note that",
    r"in earnest": "in practice",
    r"(?<=, )for (?:an?|both|each|every|i[tns]|its|most|no|of|one|only|some|th\w+|what|which)": (
        "because, or another order of the sentence"
    ),
    r"(?:are|is|lies?|stands?) (?:a little )?(?:before|behind)": "better than, ahead of, after",
    r"needs? no \w+ing": "does not need to be ...ed",
    r"lest|nought|thereof|whence|wherein|whereof": "plainer words",
}
PATTERN = re.compile("|".join(rf"(?P<_{k}>\b(?:{word})\b)" for k, word in enumerate(WORDS)), re.I)
FILES = sorted(
    path
    for pattern in (
        "*.md", "docs/**/*.md", "docs/**/*.rst", "notebooks/*.ipynb", "Makefile", "pyproject.toml",
        "rap_keras/**/*.py", "benchmarks/*.py", "scripts/*.py",
    )
    for path in ROOT.glob(pattern)
    if "_build" not in path.parts
)  # fmt: skip


def prose(path):
    """The text of a file, on one line and with whole strings; of a notebook, without outputs."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    if path.suffix == ".py":
        text = re.sub(r"""(["'])\s*\n\s*[bfr]*\1""", "", text)  # a string on several lines
    return re.sub(r"\s*\n[\s#>]*", " ", text)


def stumbles(text):
    """The words of the list that a text uses, each with what is around it and what to write."""
    return [
        f"...{text[max(0, found.start() - 40) : found.end() + 30]}...: "
        + [*WORDS.values()][int(found.lastgroup[1:])]
        for found in PATTERN.finditer(text)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_words(path):
    assert stumbles(prose(path)) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Beside it, some forty methods", 1),
        ("as they were told, for the model is built", 2),
        ("It tells classes apart. It tells more.", 1),
        ("a network of one's own goes on", 2),
        ("RAP is a little before it", 1),
        ("file.tell()", 0),
        ("Also: your own network, before the softmax; for each class.", 0),
    ],
)
def test_the_list_finds_them(text, number):
    assert len(stumbles(text)) == number


def test_strings_and_comments_on_several_lines_are_joined(tmp_path):
    file = tmp_path / "code.py"
    file.write_text('raise Error(\n    "this goes "\n    f"on")\n# a bar of\n# its own\n')
    assert len(stumbles(prose(file))) == 2
