"""Options of methods that are chosen on one half of the data and reported on the other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rap_keras.benchmark.metrics import columns, of_protocol
from rap_keras.benchmark.rows import read_row
from rap_keras.benchmark.summaries import read_summary
from rap_keras.errors import InputError
from rap_keras.support.text import did_you_mean


def tuned_methods(folder: str, quantity: str, given: Mapping[str, Any]) -> list[str]:
    """The best row by a quantity of each method with several rows in the report of the other half.

    The rows are candidates such as `rap.epsilon`, `rap.epsilon:local=0.5` and `rap.epsilon:local=1`. The
    model, the data, the seed and the images kept must be those that are `given` for this run.
    """
    protocol, summary = read_summary(Path(folder))
    protocol = {"half": "both", **protocol}
    rows = summary["methods"]
    expected = {"half": {"first": "second", "second": "first"}.get(given["half"])}
    expected |= {name: given[name] for name in ("model", "data", "seed", "keep")}
    for name, value in expected.items():
        if value is None or protocol.get(name) != value:
            raise InputError(
                "Expected options tuned with half=first and reported with half=second, of one model, "
                f"data, seed and images, got {name}={protocol.get(name)} in {folder!r} and "
                f"{name}={given[name]} in this run: change one of them.",
                ("tuned", name),
            )
    better = {c.quantity: c.better for c in columns(of_protocol(protocol)) if c.better}
    measured = {name for row in rows.values() for name in row["quantities"] if name in better}
    if quantity not in measured:
        hint = did_you_mean(quantity, measured) or f"choose one of {', '.join(sorted(measured))}."
        raise InputError(
            f"There is no {quantity!r} in the results in {folder!r} to tune by: {hint}", "tuned_by"
        )
    candidates: dict[str, dict[str, float]] = {}
    for title, row in rows.items():
        value = row["quantities"][quantity]["value"]
        if not row.get("control") and value is not None:
            sign = -1 if better[quantity] == "lower" else 1
            candidates.setdefault(read_row(title).name, {})[title] = sign * value
    several = (values for values in candidates.values() if len(values) > 1)
    return [max(values, key=values.__getitem__) for values in several]


def check_tuned(folder: str, checksum: int) -> None:
    """Refuses a report of candidates that were tuned with weights of another checksum."""
    held = read_summary(Path(folder))[0].get("weights_crc32")
    if held != checksum:
        raise InputError(
            f"Expected options tuned with the weights of this run, got other weights in {folder!r}: run "
            "the candidates again.",
            "tuned",
        )
