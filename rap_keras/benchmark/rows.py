"""A row of a benchmark: a method with its options, or a control map that explains nothing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rap_keras.analyzers.registry import find_method, is_seeded
from rap_keras.benchmark.metrics import METRICS, columns
from rap_keras.errors import InputError
from rap_keras.pipeline.methods import MethodSpec, read_spec, with_patterns
from rap_keras.support.reading import read_text, understood
from rap_keras.support.text import did_you_mean

RANDOM, MEAN_SHIFTED, EDGES = "control.random", "control.mean_shifted", "control.edges"
CONTROLS = (RANDOM, MEAN_SHIFTED, EDGES)
SHIFTED_METHOD = "lrp.alpha_1_beta_0"


@dataclass(frozen=True)
class Row(MethodSpec):
    """A row of the benchmark.

    `chosen_threshold` of the foreground of its maps is "mean", "zero" or a percentile; None uses the
    default of `threshold`.
    """

    chosen_threshold: str | float | None = None

    @property
    def is_control(self) -> bool:
        """Whether this is a control map, one of `CONTROLS`."""
        return self.name in CONTROLS

    @property
    def threshold(self) -> str | float:
        """The threshold of the foreground: "mean" if no relevance is negative, else "zero"."""
        if self.chosen_threshold is not None:
            return self.chosen_threshold
        record = find_method(self.name)
        signed = self.name != EDGES if record is None else record.signed(self.options)
        return "zero" if signed else "mean"

    def completed(self, patterns: str | None, seed: int | None, percentile: float | None) -> "Row":
        """The row with the options of all rows, if it does not set them itself.

        `seed` is that of methods that draw at random, and `percentile` the threshold of the foreground.
        """
        row = with_patterns(self, patterns)
        seeded = {"seed": seed} if seed is not None and is_seeded(row.name) else {}
        threshold = percentile if row.chosen_threshold is None else row.chosen_threshold
        return replace(row, options=seeded | dict(row.options), chosen_threshold=threshold)


def read_row(text: str) -> Row:
    """Reads a method, see `read_spec`, with one more option, threshold: mean, zero or a percentile."""
    spec = read_spec(text)
    options = dict(spec.options)
    threshold = options.pop("threshold", None)
    is_percentile = type(threshold) in (int, float) and 0 < threshold < 100
    if "threshold" in spec.options and threshold not in ("mean", "zero") and not is_percentile:
        raise InputError(
            f"Expected the threshold of {text!r} to be mean, zero or a percentile between 0 and 100."
        )
    return Row(spec.title, spec.name, options, threshold)


def tuned_methods(folder: str, quantity: str, given: Mapping[str, Any]) -> list[str]:
    """The best row by a quantity of each method with several rows in the report of the other half.

    The rows are candidates such as `rap.epsilon`, `rap.epsilon:local=0.5` and `rap.epsilon:local=1`. The
    model, the data, the seed and the images kept must be those that are `given` for this run.
    """
    path = Path(folder) / "summary.json"
    protocol, methods = _read(path)
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
