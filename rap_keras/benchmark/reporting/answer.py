"""The answer, with which the report begins: the best method of each question, and how sure that is."""

from collections.abc import Iterator
from dataclasses import replace

from rap_keras.benchmark.metrics import Column, columns, imputers_of, is_of_units, of_protocol
from rap_keras.benchmark.metrics.metric import mark_of
from rap_keras.benchmark.reporting.document import Block, Heading, Paragraph, Table
from rap_keras.benchmark.reporting.numbers import format_estimate
from rap_keras.benchmark.reporting.tables import marked
from rap_keras.benchmark.reporting.words import few_images, listed
from rap_keras.benchmark.statistics import Json
from rap_keras.support.text import counted

Answers = list[tuple[Column, Json]]
"""Columns with their `best` of the summary."""
QUESTIONS = {
    "mean_iou_equal_area": "finding the object",
    "average_precision": "ranking the object's pixels first",
    "srg": "showing what the model uses",
    "grid": "telling classes apart",
}
"""What a good method is best at, with the quantity that measures it."""
MOST_ANSWERS = 4
"""So many compared quantities are shown if none of these was measured."""


def answer(protocol: Json, summary: Json) -> Iterator[Block]:
    """The best method by each of these quantities that was measured, with warnings."""
    answers = _answers(protocol, summary)
    if answers:
        yield Heading("Answer")
        rows = [
            [
                ": ".join(filter(None, (_question(column), column.head))),
                found["method"],
                _value(summary, column, found["method"]),
                _level(summary, column, found),
            ]
            for column, found in answers
        ]
        yield Table(["best at", "method", "value", "not shown to be worse"], rows)
    yield from map(Paragraph, _warnings(answers, protocol, summary))
    yield from map(Paragraph, few_images(protocol, summary))
    if answers:
        about = (
            "these inputs and networks" if is_of_units(protocol) else "these images and this model"
        )
        yield Paragraph(
            "Not shown to be worse: the signed-rank test of the paired differences from the best is not "
            "significant at the 0.05 level, with Bonferroni's correction over all pairs with a method. "
            f"The answers are about {about} only.",
            note=True,
        )


def answer_lines(protocol: Json, summary: Json) -> list[str]:
    """The answers as lines of a terminal."""
    answers = _answers(protocol, summary)
    lines = []
    for column, found in answers:
        asked, title = _question(column), replace(column, unit="").title
        value = f"{_value(summary, column, found['method'])} {column.unit}".rstrip()
        best = f"Best at {asked}" if asked else f"Best by {title}"
        shown = f"{title}: {value}" if asked else value
        level = _level(summary, column, found)
        lines.append(f"{best}: {found['method']} ({shown}); not shown to be worse: {level}")
    return lines + _warnings(answers, protocol, summary)


def _answers(protocol: Json, summary: Json) -> Answers:
    """The quantities of `QUESTIONS` that were measured, or else the first compared quantities."""
    best = summary["best"]
    measured = marked(columns(of_protocol(protocol)), summary)
    known = [column for column in measured if best.get(column.quantity)]
    asked = [column for column in known if _question(column)]
    order = list(QUESTIONS.values())
    asked.sort(key=lambda column: order.index(_question(column)))
    return [(column, best[column.quantity]) for column in asked or known[:MOST_ANSWERS]]


def _question(column: Column) -> str:
    """What the best method by a quantity is best at; "" for other quantities."""
    return QUESTIONS.get(column.quantity, "")


def _value(summary: Json, column: Column, title: str) -> str:
    """The value with its error, and the number of images if it is not defined on all."""
    entry = summary["methods"][title]["quantities"][column.quantity]
    value = format_estimate(entry["value"], entry["standard_error"], column.scale)
    images = entry["images"]
    return value if images == summary["kept"] else f"{value} on {counted(images, 'image')}"


def _level(summary: Json, column: Column, found: Json) -> str:
    """The methods that are not shown to be worse than the best, and the controls."""
    others = sum(
        not method["control"] and method["quantities"][column.quantity]["value"] is not None
        for title, method in summary["methods"].items()
        if title != found["method"]
    )
    level = found["not_worse"]
    every = ["all other methods"] if len(level) == others > 1 else []
    return ", ".join([*(every or filter(None, [listed(level)])), *found["controls"]]) or "none"


def _warnings(answers: Answers, protocol: Json, summary: Json) -> list[str]:
    found = []
    if failed := [column.title for column, _ in answers if column.failed]:
        found.append(f"Warning: not valid in this run, see its validation: {'; '.join(failed)}.")
    if level := [column.title for column, best in answers if best["controls"]]:
        found.append(
            "Warning: the best method is not shown to be better than every control, a map that explains "
            f"nothing, by {'; '.join(level)}."
        )
    others = {column.title: _others(column, best, protocol, summary) for column, best in answers}
    if listed := "; ".join(f"{title}: {text}" for title, text in others.items() if text):
        found.append(
            f"Warning: with other replacements of pixels another method is best. {listed}."
        )
    return found


def _others(column: Column, best: Json, protocol: Json, summary: Json) -> str:
    """The best methods with other replacements of pixels, if they differ."""
    sign = -1 if column.better == "lower" else 1
    found = []
    for imputer in imputers_of(protocol)[1:]:
        values = {
            title: sign * entry["value"]
            for title, method in summary["methods"].items()
            if (entry := method["quantities"].get(column.quantity + mark_of(imputer)))
            and not method["control"]
            and entry["value"] is not None
        }
        if values and (title := max(values, key=values.__getitem__)) != best["method"]:
            found.append(f"{title} with {imputer}")
    return ", ".join(found)
