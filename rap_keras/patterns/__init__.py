"""PatternNet and PatternAttribution: patterns, and their estimation from data."""

from rap_keras.patterns.patterns import PATTERN_TYPES, Patterns, as_patterns
from rap_keras.patterns.statistics import Statistics, fit

__all__ = ["PATTERN_TYPES", "Patterns", "Statistics", "as_patterns", "fit"]
