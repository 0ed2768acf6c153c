"""The types of patterns. Does not load Keras."""

CASES = ("positive", "negative")  # a neuron is active or inactive
# The cases whose sums each type needs; "relu" is short for "relu.positive".
CASES_OF = {
    "relu": ("positive",),
    "linear": CASES,
    "relu.positive": ("positive",),
    "relu.negative": ("negative",),
}
PATTERN_TYPES = tuple(CASES_OF)
