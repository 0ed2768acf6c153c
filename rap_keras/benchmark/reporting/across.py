"""The report over networks: the comparison of several reports as text and tables."""

from collections.abc import Iterator
from pathlib import Path

from rap_keras.benchmark.reporting.document import (
    Block,
    Heading,
    Paragraph,
    Table,
    to_html,
    to_markdown,
)
from rap_keras.benchmark.reporting.numbers import UNDEFINED, format_p
from rap_keras.benchmark.reporting.report import json_lines, write_files
from rap_keras.benchmark.reporting.words import FEW_IMAGES, listed
from rap_keras.benchmark.statistics import Json
from rap_keras.support.text import counted


def write_across(folder: Path, found: Json) -> list[Path]:
    """Writes the dict of `networks.over_networks`; the same reports give the same bytes."""
    blocks = list(across_blocks(found))
    # Names of folders need not be UTF-8.
    contents = {
        "across.md": to_markdown(blocks).encode(errors="replace"),
        "across.html": to_html(blocks, {}).encode(errors="replace"),
        "across.json": (json_lines(found, found) + "\n").encode(errors="backslashreplace"),
    }
    return write_files(folder, contents.items())


def across_lines(found: Json) -> list[str]:
    """The answers as lines of a terminal."""
    lines = [_subject(found)]
    for quantity in found["quantities"].values():
        best, rank, level, p, networks = _answer(quantity)
        tested = f"p {p}" if p != UNDEFINED else "no test"
        lines.append(
            f"{quantity['title']}: {best}, mean rank {rank} of {len(quantity['methods'])} in {networks} "
            f"networks, {tested}; not significantly worse: {level}"
        )
    return lines


def across_blocks(found: Json) -> Iterator[Block]:
    """The report: the answers first, then the numbers that they rest on."""
    yield Heading(_subject(found), 1)
    yield from _answers(found)
    yield from _spread(found)
    for quantity in found["quantities"].values():
        yield from _pairs(quantity)
    yield from _sources(found)


def _subject(found: Json) -> str:
    networks, reports = len(found["networks"]), len(found["reports"])
    return f"Methods over {counted(networks, 'network')}, from {counted(reports, 'report')}"


def _answers(found: Json) -> Iterator[Block]:
    rows = []
    for quantity in found["quantities"].values():
        best, rank, level, p, networks = _answer(quantity)
        ranked = f"{rank} of {len(quantity['methods'])}"
        rows.append(
            [_head(quantity), best, ranked, level, p.removeprefix("= ").replace(" ", ""), networks]
        )
    heads = ["metric", "best method", "mean rank", "not significantly worse", "p", "networks"]
    yield Table(heads, rows)
    yield Paragraph(
        "Mean rank: over the networks, 1 is the best; each network counts once. Not significantly "
        "worse: the mean rank is within Nemenyi's critical difference of the best (at the 0.05 level). "
        "p: Friedman's test that all methods rank equally, with networks as blocks (as in Demsar 2006); "
        "its approximation is rough for fewer than about ten networks."
    )
    if any(quantity["p_value"] is None for quantity in found["quantities"].values()):
        yield Paragraph(f"{UNDEFINED}: a test needs at least three networks and three methods.")
    for quantity in found["quantities"].values():
        yield from map(Paragraph, _no_better_than_controls(quantity))
    few = [n for n, report in found["reports"].items() if report["images"] < FEW_IMAGES]
    if few:
        yield Paragraph(
            f"Fewer than {FEW_IMAGES} images in {listed(few)}: the order of methods with similar "
            "values is mostly chance there."
        )


def _answer(quantity: Json) -> tuple[str, str, str, str, str]:
    """The best method, its mean rank, the methods that are not worse, p and the number of networks."""
    ranks, difference = quantity["methods"], quantity["critical_difference"]
    (best, rank), *others = ranks.items()
    level = [title for title, other in others if difference is None or other - rank <= difference]
    everything = "all others" if len(level) == len(others) else listed(level) or "none"
    p = UNDEFINED if quantity["p_value"] is None else format_p(quantity["p_value"])
    tested = UNDEFINED if difference is None else everything
    return best, f"{rank:.2f}", tested, p, str(quantity["networks"])


def _no_better_than_controls(quantity: Json) -> Iterator[str]:
    """A warning for each control that the best method beats in at most half of the networks."""
    best, networks = next(iter(quantity["methods"])), quantity["networks"]
    wins = quantity["wins"][best][len(quantity["methods"]) :]
    for control, won in zip(quantity["controls"], wins, strict=True):
        if won <= networks / 2:
            yield (
                f"Warning: by {quantity['title']} the best method, {best}, is better than {control}, "
                f"which explains nothing, in only {won:g} of {networks} networks."
            )


def _spread(found: Json) -> Iterator[Block]:
    spread = found["spread"]
    if spread is None:
        return
    yield Heading("Spread between the metrics")
    agreement = (
        ""
        if spread["kendall_w"] is None
        else f" Kendall's W is {spread['kendall_w']:.2f}: 1 if all "
        "metrics give the same order, 0 if their orders have nothing in common."
    )
    yield Paragraph(
        "The mean rank of the methods over the networks by each metric, among the methods that all "
        "metrics compare, and its mean and standard deviation over the metrics (as in LATEC, Klein et "
        f"al. 2024).{agreement} Metrics that measure nearly the same count each."
    )
    titles = [_head(quantity) for quantity in found["quantities"].values()]
    rows = [
        [title]
        + [
            f"{n:.2f}"
            for n in (*entry["ranks"].values(), entry["mean"], entry["standard_deviation"])
        ]
        for title, entry in spread["methods"].items()
    ]
    columns = [*zip(*rows, strict=True)][1:-1]
    bold = {
        (row, index)
        for index, column in enumerate(columns, start=1)
        for row, cell in enumerate(column)
        if float(cell) == min(map(float, column))
    }
    heads = ["method", *titles, "mean", "standard deviation"]
    yield Table(heads, rows, bold=frozenset(bold), numbers=True)


def _pairs(quantity: Json) -> Iterator[Block]:
    methods, networks = list(quantity["methods"]), quantity["networks"]
    yield Heading(f"Who is better than whom: {quantity['title']}")
    text = (
        f"The share of the {networks} networks in which the method of the row is better than that of "
        "the column; a tie counts half."
    )
    if quantity["tested"]:
        text += (
            f" In brackets: the share of the {counted(quantity['tested'], 'network')} with a test over "
            "images in which it is also significantly better (its mean rank over the images is better "
            "by more than Nemenyi's critical difference in every report)."
        )
    if quantity["critical_difference"] is not None:
        text += (
            f" The critical difference of the mean ranks is {quantity['critical_difference']:.2f}."
        )
    yield Paragraph(text)
    numbered = [str(k) for k in range(1, len(methods) + 1)]
    heads = ["method", "mean rank", *numbered, *quantity["controls"]]
    rows = []
    for number, title in zip(numbered, methods, strict=True):
        wins, cells = quantity["wins"][title], []
        significant = quantity["significant"].get(title, [])
        for k, count in enumerate(wins):
            cell = "" if count is None else f"{round(count / networks, 2):g}"
            if cell and k < len(significant):
                cell += f" [{round(significant[k] / quantity['tested'], 2):g}]"
            cells.append(cell)
        rows.append([f"{number} {title}", f"{quantity['methods'][title]:.2f}", *cells])
    yield Table(heads, rows, numbers=True)
    without: dict[tuple[str, ...], list[str]] = {}
    for title, reports in quantity["left_out"].items():
        without.setdefault(tuple(reports), []).append(title)
    if without:
        groups = (f"{', '.join(t)} (not in {listed(r)})" for r, t in without.items())
        yield Paragraph(
            f"Left out, without a value in every report: {'; '.join(groups)}.", note=True
        )


def _sources(found: Json) -> Iterator[Block]:
    yield Heading("Reports")
    yield Paragraph(
        "Reports of the same network (with the same weights) are no separate blocks: within a network a "
        "method's ranks are averaged over its reports, and it is better than another if it has the "
        "better value in more of them."
    )
    rows = [
        [name, report["network"], report["data"], str(report["images"])]
        for name, report in found["reports"].items()
    ]
    yield Table(["report", "network", "data", "images kept"], rows)
    for quantity, why in found["left_out"].items():
        yield Paragraph(f"Not compared by {quantity}: {why}.", note=True)


def _head(quantity: Json) -> str:
    return str(quantity["title"]) + {"lower": " ↓", "higher": " ↑"}[quantity["better"]]
