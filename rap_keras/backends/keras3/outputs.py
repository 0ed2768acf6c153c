"""Which output of a model with several is meant."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import tree

from rap_keras.errors import InputError


def output_names(outputs: Sequence[Any], structure: Any) -> list[str]:
    """Names of a model's outputs: the keys of its dict of outputs, else those of the last layers.

    Args:
        outputs: The symbolic tensors, as a flat list.
        structure: How the model returns them.

    Returns:
        The names, in the order of the tensors; what would be called alike is "layer", "layer:1", ...
    """
    if isinstance(structure, dict) and len(structure) == len(outputs):
        return tree.flatten({key: key for key in structure})
    names, count = [], Counter[str]()
    for tensor in outputs:
        name = tensor._keras_history.operation.name
        names.append(f"{name}:{count[name]}" if count[name] else name)
        count[name] += 1
    return names


def output_position(names: Sequence[str], output: str | int | None) -> int:
    """The number of an output that is told by name or number; None is that of a model with one.

    Raises:
        InputError: There is no such output, or none is told of several.
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
        f"{output!r}.",
        "output",
    )
