"""Write the generated parts of docs/gallery.md and docs/methods/: colours, options, pages and papers.

Everything outside the two markers of a page is written by hand.

Example: python scripts/methods.py
"""

import dataclasses
import inspect
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rap_keras.analyzers import method as records
from rap_keras.analyzers.colours import colours
from rap_keras.analyzers.lrp import LRPAnalyzer
from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.analyzers.registry import METHODS, read_method
from rap_keras.composites.rap import PRESETS

DOCS = Path(__file__).parents[1] / "docs"
START, END = "<!-- written by scripts/methods.py -->\n", "<!-- end -->\n"
FAMILIES = {
    "lrp_epsilon": ("lrp.epsilon", "lrp.z"),
    "lrp_flat": ("lrp.flat", "lrp.w_square"),
    "lrp_alpha_beta": (
        "lrp.alpha_1_beta_0",
        "lrp.alpha_1_beta_0_IB",
        "lrp.z_plus",
        "lrp.z_plus_fast",
        "lrp.alpha_2_beta_1",
        "lrp.alpha_2_beta_1_IB",
        "lrp.alpha_beta",
    ),
    "lrp_presets": (
        "lrp.epsilon_plus",
        "lrp.epsilon_gamma_box",
        "lrp.sequential_preset_a",
        "lrp.sequential_preset_a_flat",
        "lrp.sequential_preset_b",
        "lrp.sequential_preset_b_flat",
    ),
    "deep_taylor": ("deep_taylor", "deep_taylor.bounded"),
    "controls": ("input", "random"),
}
# Options of rules, which no signature of an analyzer has.
RULES = {
    "epsilon": "What the rule adds to the absolute value of its denominators.",
    "bias": "Whether biases are part of the denominators. The relevance that they take is lost.",
    "alpha": "The weight of positive contributions, 1 or more; None: beta + 1.",
    "beta": "The weight of negative contributions; None: alpha - 1.",
    "gamma": "How strongly the rule favours positive contributions.",
    "dense_gamma": "The same in dense layers outside attention.",
}
OF_EVERY = "gallery.md#options-of-every-method"
BLUE = "faq.md#does-blue-mean-speaks-against-the-class"


class Option(NamedTuple):
    """An option of a method: its default as Python writes it, and what it does."""

    default: str
    meaning: str


def pages() -> dict[str, tuple[str, ...]]:
    """The pages of methods, and the names that each explains."""
    home = {name: page for page, names in FAMILIES.items() for name in names}
    named = [home.get(m.name, m.name.replace(".", "_")) for m in METHODS]
    return {
        page: FAMILIES.get(page)
        or tuple(m.name for m, p in zip(METHODS, named, strict=True) if p == page)
        for page in dict.fromkeys(named)
    }


def options_of(name: str) -> dict[str, Option]:
    """The options of a method, by its signatures and docstrings."""
    record = read_method(name)
    cls = record.load()
    defaults, meanings = _documented(cls)
    if settings := getattr(cls, "settings", None):
        fields = dataclasses.fields(settings)
        defaults |= {field.name: field.default for field in fields}
        defaults |= PRESETS.get(name, {})
        meanings |= _section(settings, "Attributes:")
    if record.preset:
        defaults |= record.preset.options
        meanings |= {option: RULES[option] for option in record.preset.options}
    return {
        option: Option(_literal(defaults[option]), meanings[option])
        for option in record.option_names()
    }


def _documented(cls: type) -> tuple[dict[str, Any], dict[str, str]]:
    """The defaults and the meanings of what a class and its bases take."""
    defaults: dict[str, Any] = {}
    meanings: dict[str, str] = {}
    for base in cls.__mro__[:-1]:
        meanings = _section(base, "Args:") | meanings
        if "__init__" in vars(base):
            given = inspect.signature(vars(base)["__init__"]).parameters.values()
            defaults = {p.name: p.default for p in given} | defaults
    return defaults, meanings


def _section(cls: type, title: str) -> dict[str, str]:
    """What a section of a docstring says of each name."""
    text = inspect.cleandoc(vars(cls).get("__doc__") or "")
    section = re.search(rf"^{title}\n((?: +.*\n?|\n)+)", text, re.M)
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.M)
    return {name: re.sub(r"\s+", " ", meaning) for name, meaning in entries}


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _table(options: dict[str, Option], up: str) -> str:
    if not options:
        return ""
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for name, (default, meaning) in options.items():
        linked = re.sub(r"docs/(\w+)\.md", rf"[\1]({up}\1.md)", meaning.replace("|", "\\|"))
        rows.append(f"| `{name}` | `{default}` | {linked} |")
    return "\n".join(rows) + "\n"


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def shared() -> dict[str, Option]:
    """The options of every method, and then those of methods that propagate relevance."""
    defaults, meanings = _documented(PropagationAnalyzer)
    names = [*records.SHARED.split(), "contrast", "bounds"]
    return {name: Option(_literal(defaults[name]), meanings[name]) for name in names}


def of_lrp() -> dict[str, Option]:
    """The options of every method of LRP."""
    defaults, meanings = _documented(LRPAnalyzer)
    names = [name for name in records.LRP.split() if name != "contrast"]
    return {name: Option(_literal(defaults[name]), meanings[name]) for name in names}


def of_page(page: str, names: tuple[str, ...]) -> str:
    """The generated part of a page: its colours and options."""
    more = f"[What blue means](../{BLUE}) depends on the method."
    lines = ["## Colours\n"]
    for sentence, those in _grouped({name: colours(name) for name in names}).items():
        lines.append(sentence if len(those) == len(names) else f"- {_names(those)}: {sentence}")
    lines[-1] += f" {more}\n" if len(lines) == 2 else f"\n\n{more}\n"
    lrp = page != "lrp" and all(read_method(name).home.endswith(":LRPAnalyzer") for name in names)
    every = f"[every method](../{OF_EVERY})"
    general = {*shared(), *(of_lrp() if lrp else ())} - ({"bounds"} if "rap" in page else set())
    if lrp:
        every = f"[every LRP method](lrp.md#options) and {every}"
    lines.append("## Options\n")
    tables = {
        name: _table({n: o for n, o in options_of(name).items() if n not in general}, "../")
        for name in names
    }
    for table, those in _grouped(tables).items():
        every_one = "It" if len(names) == 1 else "They"
        who = _names(those) if len(those) < len(names) else every_one
        takes = "takes" if len(those) == 1 else "take"
        which = "these options, and those of" if table else "only the options of"
        lines += [f"{who} {takes} {which} {every}.\n", *filter(None, [table])]
    return "\n".join(lines)


def _grouped(values: dict[str, str]) -> dict[str, list[str]]:
    """The names that have each value."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    return groups


def gallery() -> str:
    """The generated part of the gallery: pages, papers and the options of every method."""
    lines = ["## Methods\n", "| map | method |", "|---|---|"]
    papers: dict[str, list[str]] = {}
    for page, names in pages().items():
        text = (DOCS / "methods" / f"{page}.md").read_text()
        title = re.search(r"^# (.*)", text)[1]  # type: ignore[index]
        summary = " ".join(text.split("\n\n")[1].split())
        link = f"[{title}](methods/{page}.md)"
        small = f"images/gallery/methods/{page}_small.png"
        small = (
            f"[![Map by {title}]({small})](methods/{page}.md)" if (DOCS / small).exists() else ""
        )
        lines.append(f"| {small} | **{link}**<br>{summary}<br>{_names(list(names))} |")
        for paper in re.findall(r"^> (.*(?:\n> .*)*)", text, re.M):
            papers.setdefault(paper.replace("\n> ", " "), []).append(link)
    lines += ["\n## Papers\n", "| paper | method |", "|---|---|"]
    lines += [f"| {paper} | {', '.join(papers[paper])} |" for paper in sorted(papers, key=_surname)]
    lines.append("\n## Options of every method\n")
    lines.append(
        "Only methods that propagate relevance layer by layer have `contrast` and `bounds`. "
        "LRP has `low` and `high` instead of `bounds`.\n"
    )
    lines.append(_table(shared(), ""))
    return "\n".join(lines)


def _surname(paper: str) -> str:
    return re.split(r"[,:]", paper)[0].split()[-1]


def written() -> dict[Path, str]:
    """Every page with a generated part, as it should be."""
    parts = {
        DOCS / "methods" / f"{page}.md": of_page(page, names) for page, names in pages().items()
    }
    result = {}
    for path, part in (parts | {DOCS / "gallery.md": gallery()}).items():
        before, start, rest = path.read_text().partition(START)
        _, end, after = rest.partition(END)
        assert end, f"{path} needs the lines {START.strip()} and {END.strip()}"
        result[path] = f"{before}{start}\n{part}\n{end}{after}"
    return result


def main() -> None:
    """Write the pages."""
    for path, text in written().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
