"""Which output neuron is explained."""

from typing import Any

import numpy as np

from rap_keras.errors import InputError

# How the explained neuron is selected.
MODES = ("max_activation", "index", "all")


def read_selection(selection: Any, mode: str, size: int, neurons: int | None) -> np.ndarray:
    """The output neuron of each sample, int32 of shape (size,); zeros where the mode needs none.

    Args:
        selection: What the user passed.
        mode: The neuron selection mode.
        size: The number of samples.
        neurons: The number of output neurons, if known.

    Raises:
        InputError: The selection does not fit the mode, the samples or the model.
    """
    if mode != "index":
        if selection is not None:
            raise InputError(
                f"Expected no neuron_selection in mode {mode!r}, got {selection!r}: make the analyzer "
                'with neuron_selection_mode="index" to choose the neuron.'
            )
        return np.zeros(size, np.int32)
    if selection is None:
        raise InputError(
            'Expected neuron_selection in mode "index", got none: pass an integer, or one per sample.'
        )
    index = np.asarray(selection)
    if index.dtype.kind not in "iu" or index.size not in (1, size) or index.ndim > 1:
        raise InputError(
            f"Expected neuron_selection to be an integer or {size} of them, one per sample, got "
            f"{selection!r}."
        )
    if index.size and neurons is not None and (index.min() < 0 or index.max() >= neurons):
        raise InputError(
            f"Expected neuron_selection from 0 to {neurons - 1}, got {selection!r}: the model has "
            f"{neurons} output neurons."
        )
    return np.broadcast_to(index.astype(np.int32).reshape(-1), (size,))
