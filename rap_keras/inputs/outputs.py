"""Which output of a model with several is meant."""

from collections.abc import Sequence

import numpy as np

from rap_keras.errors import InputError
from rap_keras.support.text import shown


def read_output(output: str | int | None, names: Sequence[str]) -> int:
    """The number of an output that is given by name or number; None is that of a model with one.

    Args:
        output: What the user passed.
        names: What the outputs are called.
    """
    listed = ", ".join(map(repr, names))
    if output is None:
        if len(names) > 1:
            raise InputError(
                f"Expected output=NAME, for the model has {len(names)} outputs, got none: choose one of "
                f"{listed}, or its number.",
                "output",
            )
        return 0
    if isinstance(output, str) and output in names:
        return names.index(output)
    is_number = isinstance(output, int | np.integer) and not isinstance(output, bool)
    if is_number and 0 <= int(output) < len(names):
        return int(output)
    raise InputError(
        f"Expected output to be one of {listed}, or a number from 0 to {len(names) - 1}, got "
        f"{shown(output)}.",
        "output",
    )
