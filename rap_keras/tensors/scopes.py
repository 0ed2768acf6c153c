"""Keras 3's variables, read from given values while a function runs."""

from collections.abc import Sequence
from typing import Any

import keras


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
            self.own[id(variable)] = variable
        return value


def reading(variables: Sequence[Any], values: Sequence[Any]) -> Scope:
    """Inside, the variables have these values."""
    return Scope(state_mapping=list(zip(variables, values, strict=True)))
