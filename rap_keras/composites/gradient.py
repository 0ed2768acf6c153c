"""The composite of the gradient."""

from rap_keras.composites.composite import Composite
from rap_keras.rules import gradient


def gradient_composite() -> Composite:
    """The gradient: one rule for every layer."""
    return Composite({}, default=gradient.gradient)
