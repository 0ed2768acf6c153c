"""The output to explain of a model with several outputs."""

from collections.abc import Sequence

import numpy as np

from rap_keras.errors import InputError
from rap_keras.support.text import shown


def read_output(output: str | int | None, names: Sequence[str]) -> int:
    """Returns the number of an output, which is given by name or number; None is the only one."""
    listed = ", ".join(map(repr, names))
    if output is None:
        if len(names) > 1:
            raise InputError(
                f"Expected output=NAME, because the model has {len(names)} outputs, got none: choose "
                f"one of {listed}, or its number.",
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
