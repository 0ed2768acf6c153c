"""Keras 3's variables, read from given values while a function runs."""

from collections.abc import Sequence
from typing import Any

import keras

from rap_keras.errors import InputError


class Scope(keras.StatelessScope):
    """Nothing changes a variable; values that are not given come from the scope around it.

    Keras asks only the innermost of several scopes for the value of a variable.

    Attributes:
        own: The variables that were read with their own values, by their ids.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.own: dict[int, Any] = {}

    def get_current_value(self, variable: Any) -> Any:
        """The value of a variable; None if it is the variable's own."""
        value = super().get_current_value(variable)
        outer = getattr(self, "original_scope", None)
        if value is None and outer is not None:
            value = outer.get_current_value(variable)
        if value is None:
            refuse_taken(variable)
            if variable._value is not None:  # otherwise the variable is made inside
                self.own[id(variable)] = variable
        return value


def reading(variables: Sequence[Any], values: Sequence[Any]) -> Scope:
    """Inside, the variables have these values."""
    return Scope(state_mapping=list(zip(variables, values, strict=True)))


def refuse_taken(variable: Any) -> None:
    """Raises an error for a variable that Keras took from its model, to train it on JAX."""
    if variable._value is None and getattr(variable, "_initializer", None) is None:
        raise InputError(
            f"Expected weights with values, but the model uses {variable.path!r}, which it does not "
            "have, and which has no value between two batches while its own model is trained on JAX: "
            "call jax_state_sync() of that model first, or wait for the end of the epoch."
        )


def value_of(variable: Any) -> Any:
    """The value of a variable, which must have one."""
    refuse_taken(variable)
    return variable.value
