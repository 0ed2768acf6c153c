"""The benchmark: methods compared on images with known objects."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what __getattr__ loads
    from rap_keras.benchmark.results import Results, load
    from rap_keras.benchmark.running import merge, report, run
    from rap_keras.benchmark.settings import Settings

_HOMES = {
    "Results": "results",
    "Settings": "settings",
    "load": "results",
    "merge": "running",
    "report": "running",
    "run": "running",
}

__all__ = ["Results", "Settings", "load", "merge", "report", "run"]


def __getattr__(name: str) -> object:
    """Loads what measures and draws only when it is needed."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"rap_keras.benchmark.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
