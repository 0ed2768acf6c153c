"""Write docs/metrics.md: an evaluation card for each metric of the benchmark.

With folders of benchmarks that ran with --validate, it stores their validation first.

Example: python scripts/cards.py
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rap_keras.benchmark.metrics import METRICS, TABLES, Metric, columns
from rap_keras.benchmark.metrics.cards import CARDS
from rap_keras.benchmark.reporting.numbers import UNDEFINED, format_estimate

DOCS = Path(__file__).parents[1] / "docs"
STORED = DOCS / "results" / "validation"
INTRODUCTION = """\
# Evaluation cards

This page has a card for each [metric of the benchmark](benchmark.md#protocol): what it measures, what
it compares a map to, what must hold for that, whether it passed the
[validation](benchmark.md#are-the-metrics-valid), how a map can get a good number without being good,
and where the number misleads. The entries follow the evaluation cards of Gipiškis and Kurasova (2026,
arXiv 2605.04410); their wording is our reading. A metric with another
[replacement](benchmark.md#protocol), such as `srg@blur`, shares the card of `srg`.

No metric is enough. Choose one of each kind: where relevance lies, what the model does without it, and
whether the map depends on the model. Then look at whether they
[agree](benchmark.md#is-the-difference-real).

`python scripts/cards.py` writes this page from the code and from stored validations.
"""
VALIDATION = """\
## Validation

Spearman's correlation of each metric with the known order of degraded maps, by noise and by shift, and
the re-test variance. † marks a metric that fails. These are small bundled models and few images:
validate the metrics on your own model and images.

Energy, average precision and equal area order nearly all degraded maps of both models. Of the metrics
that replace pixels, SRG, insertion and LeRF AOPC are the best. The faithfulness correlation has a large
re-test variance: half of its spread is due to the draws, so it needs more of them. The pointing game
fails because it is 0 or 1, and signed energy because noise can improve a map without negative relevance.
Random logit, MPRT and sMPRT fail because they reward noise. The grids fail because these models
recognise digits of half the size badly.
"""


def store(folder: Path) -> None:
    """Keep the validation of a benchmark in docs/results."""
    run = json.loads((folder / "summary.json").read_text("utf-8"))
    protocol, summary = run["protocol"], run["summary"]
    lines = [
        f"{json.dumps(name)}:{json.dumps(entry, separators=(',', ':'))}"
        for name, entry in summary["validation"].items()
    ]
    known = {name: protocol[name] for name in ("model", "data", "command", "versions")}
    head = json.dumps(known | {"kept": summary["kept"]}, separators=(",", ":"))
    STORED.mkdir(exist_ok=True)
    path = STORED / f"{protocol['model'].rpartition(':')[2]}.json"
    path.write_text(head[:-1] + ',"validation":{\n' + ",\n".join(lines) + "\n}}\n", "utf-8")


def page() -> str:
    """Return the text of docs/metrics.md."""
    runs = [json.loads(path.read_text("utf-8")) for path in sorted(STORED.glob("*.json"))]
    parts = [INTRODUCTION, *_validation(runs)]
    for table in TABLES:
        among = [m for m in METRICS.values() if m.table == table and m.name in CARDS]
        if among:
            parts.append(f"## {table.rpartition('. ')[2]}\n")
            parts += [_card(metric, runs) for metric in among]
    return "\n".join(parts).rstrip() + "\n"


def _validation(runs: list[dict[str, Any]]) -> Iterator[str]:
    yield VALIDATION
    for run in runs:
        methods = ", ".join(
            f"`{name}`" for name in next(iter(run["validation"].values()))["methods"]
        )
        yield f"`{run['model']}`, {run['kept']} images, maps of {methods}:\n"
        yield f"    {run['command']}\n"
    heads = [f"{name}, {run['model']}" for run in runs for name in ("noise", "shift", "re-test")]
    yield "| metric | " + " | ".join(heads) + " |"
    yield "|---|" + "---:|" * len(heads)
    for metric in METRICS.values():
        for quantity, title in _titles(metric).items():
            found = [run["validation"].get(quantity) for run in runs]
            if any(entry and entry["noise"]["images"] for entry in found):
                cells = [cell for entry in found for cell in _cells(entry)]
                yield f"| {title} | " + " | ".join(cells) + " |"
    yield ""


def _titles(metric: Metric) -> dict[str, str]:
    """The titles of a metric's quantities with a better direction."""
    titles: dict[str, str] = {}
    for column in columns(list(METRICS.values())):
        if column.better and column.mean in metric.numbers:
            titles.setdefault(column.mean, column.title)
    return titles


def _cells(entry: dict[str, Any] | None) -> list[str]:
    if entry is None:
        return [UNDEFINED] * 3
    noise, shift = (
        format_estimate(entry[kind]["value"], entry[kind]["standard_error"])
        for kind in ("noise", "shift")
    )
    retest = UNDEFINED if entry["retest"] is None else f"{entry['retest']:.2g}"
    return [noise + (" †" if entry["valid"] is False else ""), shift, retest]


def _card(metric: Metric, runs: list[dict[str, Any]]) -> str:
    card = CARDS[metric.name]
    entries = {
        "Measures": card.measures,
        "Grounding": card.grounding,
        "Assumptions": card.assumptions,
        "Validation": _verdict(metric, runs),
        "Gaming": card.gaming,
        "Failures": card.failures,
        "Source": card.source,
    }
    lines = [f"- **{name}.** {text}" for name, text in entries.items()]
    return f"### `{metric.name}`\n\n" + "\n".join(lines) + "\n"


def _verdict(metric: Metric, runs: list[dict[str, Any]]) -> str:
    """Which quantities of a metric passed their validation, in words."""
    titles = _titles(metric)
    if not titles:
        return "Not validated, because neither direction is better."
    verdicts: dict[str, list[str]] = {}
    for quantity, title in titles.items():
        for run in runs:
            valid = run["validation"].get(quantity, {}).get("valid")
            if valid is not None:
                word = "passes" if valid else "fails"
                name = run["model"].rpartition(":")[2]
                verdicts.setdefault(title, []).append(f"{word} with {name}")
    if not verdicts:
        return "Not in the stored runs."
    return "; ".join(f"{title}: {', '.join(words)}" for title, words in verdicts.items()) + "."


def main() -> None:
    """Store validations, and write the page."""
    for folder in sys.argv[1:]:
        store(Path(folder))
    (DOCS / "metrics.md").write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
