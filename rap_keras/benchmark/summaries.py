"""The summary.json of a benchmark, read again."""

import json
from pathlib import Path
from typing import Any

from rap_keras.benchmark.metrics import is_of_units
from rap_keras.benchmark.sameness import check_kind
from rap_keras.errors import InputError
from rap_keras.support.reading import read_text, understood


def read_summary(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The protocol and the summary of the results in a folder."""
    path = folder / "summary.json"
    if not path.is_file():
        raise InputError(
            f"There are no results in {str(folder)!r} (no results.sqlite or {path.name})."
        )
    text = read_text(path, "summary")
    with understood(
        f"Expected {str(path)!r} to be the summary of a benchmark, got another file",
        "write it again with rap-keras report",
    ):
        read = json.loads(text)
        protocol, summary = read["protocol"], read["summary"]
        # What is needed of them.
        _ = protocol["data"], protocol["metrics"], is_of_units(protocol) or protocol["model"]
        _ = summary["kept"], [method["quantities"] for method in summary["methods"].values()]
    check_kind(protocol, "benchmark", str(folder))
    return protocol, summary
