"""Rows whose options were chosen on the other half of the data set."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rap_keras.benchmark.metrics import METRICS, columns
from rap_keras.benchmark.rows import read_row
from rap_keras.errors import InputError
from rap_keras.support.reading import read_text, understood
from rap_keras.support.text import did_you_mean

HALVES = {"first": "second", "second": "first"}


def tuned_methods(folder: str, quantity: str, given: Mapping[str, Any]) -> list[str]:
    """The best row by a quantity of each method with several rows in the report of the other half.

    The rows are candidates such as `rap.epsilon`, `rap.epsilon:local=0.5` and `rap.epsilon:local=1`. The
    model, the data, the seed and the images kept must be those that are `given` for this run.
    """
    path = Path(folder) / "summary.json"
    protocol, methods = _read(path)
    half = given["half"]
    expected = {"half": HALVES.get(half)}
    expected |= {name: given[name] for name in ("model", "data", "seed", "keep")}
    for name, value in expected.items():
        if value is None or protocol.get(name) != value:
            raise InputError(
                "Expected options tuned with half=first and reported with half=second, of one model, "
                f"data, seed and images, got {name}={protocol.get(name)} in {folder!r} and "
                f"{name}={given[name]} in this run: change one of them.",
                ("tuned", name),
            )
    better = {c.quantity: c.better for c in columns(list(METRICS.values())) if c.better}
    measured = {q for _, of_method in methods.values() for q in of_method if q in better}
    if quantity not in measured:
        hint = did_you_mean(quantity, measured) or f"choose one of {', '.join(sorted(measured))}."
        raise InputError(
            f"There is no {quantity!r} in {str(path)!r} to tune by: {hint}", "tuned_by"
        )
    candidates: dict[str, dict[str, float]] = {}
    for title, (is_control, of_method) in methods.items():
        value = of_method[quantity]["value"]
        if not is_control and value is not None:
            sign = -1 if better[quantity] == "lower" else 1
            candidates.setdefault(read_row(title).name, {})[title] = sign * value
    return [max(rows, key=rows.__getitem__) for rows in candidates.values() if len(rows) > 1]


def check_tuned(folder: str, checksum: int) -> None:
    """Refuses a report of candidates that were tuned with weights of another checksum."""
    held = _read(Path(folder) / "summary.json")[0].get("weights_crc32")
    if held != checksum:
        raise InputError(
            f"Expected options tuned with the weights of this run, got other weights in {folder!r}: run "
            "the candidates again.",
            "tuned",
        )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, tuple[bool, dict[str, Any]]]]:
    """The protocol of a summary; and for each row whether it is a control, and its quantities."""
    text = read_text(path, "summary")
    with understood(f"Expected {str(path)!r} to be the summary of a benchmark"):
        found = json.loads(text)
        methods = found["summary"]["methods"].items()
        quantities = {title: (row["control"], row["quantities"]) for title, row in methods}
        return {"half": "both", **found["protocol"]}, quantities
