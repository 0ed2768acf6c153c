"""The composite of DeepLIFT."""

from rap_keras.composites.composite import Composite
from rap_keras.rules import deep_lift


def deep_lift_composite() -> Composite:
    """The rescale rule, for every layer."""
    return Composite({}, default=deep_lift.rescale)
