"""PatternNet and PatternAttribution: patterns, and their estimation from data."""

import importlib
from typing import TYPE_CHECKING, Any

from rap_keras.patterns.cases import PATTERN_TYPES

if TYPE_CHECKING:  # what __getattr__ loads
    from rap_keras.patterns.patterns import Patterns, as_patterns
    from rap_keras.patterns.statistics import Statistics, fit

__all__ = ["PATTERN_TYPES", "Patterns", "Statistics", "as_patterns", "fit"]

_HOMES = {
    "Patterns": "patterns",
    "as_patterns": "patterns",
    "Statistics": "statistics",
    "fit": "statistics",
}


def __getattr__(name: str) -> Any:
    """Loads TensorFlow only when it is needed."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
