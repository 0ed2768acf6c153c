"""PatternNet and PatternAttribution: patterns, and their estimation from data."""

from typing import TYPE_CHECKING

from rap_keras.patterns.cases import PATTERN_TYPES
from rap_keras.support.lazy import lazy

if TYPE_CHECKING:  # what `lazy` loads
    from rap_keras.patterns.patterns import Patterns, as_patterns
    from rap_keras.patterns.statistics import Statistics, fit

__all__ = ["PATTERN_TYPES", "Patterns", "Statistics", "as_patterns", "fit"]

__getattr__, __dir__ = lazy(
    __name__,
    __all__,
    {
        "Patterns": "patterns",
        "as_patterns": "patterns",
        "Statistics": "statistics",
        "fit": "statistics",
    },
)
