"""The types of patterns, without loading TensorFlow."""

CASES = ("positive", "negative")  # a neuron is active, or not
# The cases that each type needs sums of; "relu" is short for "relu.positive".
CASES_OF = {
    "relu": ("positive",),
    "linear": CASES,
    "relu.positive": ("positive",),
    "relu.negative": ("negative",),
}
PATTERN_TYPES = tuple(CASES_OF)
