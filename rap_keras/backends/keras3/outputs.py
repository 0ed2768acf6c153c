"""The names of a model's outputs."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from keras import tree


def output_names(outputs: Sequence[Any], structure: Any) -> list[str]:
    """The names of a model's outputs: the keys of its dict of outputs, or the names of the last layers.

    Args:
        outputs: The symbolic tensors, as a flat list.
        structure: The structure in which the model returns them.

    Returns:
        The names, in the order of the tensors. Equal names become "layer", "layer:1", ...
    """
    if isinstance(structure, dict) and len(structure) == len(outputs):
        return tree.flatten({key: key for key in structure})
    names, count = [], Counter[str]()
    for tensor in outputs:
        name = tensor._keras_history.operation.name
        names.append(f"{name}:{count[name]}" if count[name] else name)
        count[name] += 1
    return names
