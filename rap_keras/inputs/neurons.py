"""Which output neurons are explained."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rap_keras.errors import InputError
from rap_keras.support.text import counted, shown

# How the explained neurons are selected; iNNvestigate has these.
MODES = ("max_activation", "index", "all")
TOP_K = "top_k"
# How the others are weighted, which a neuron is set against.
CONTRASTS = ("softmax", "uniform")


def read_selection(
    selection: Any, mode: str, size: int, shape: Sequence[int | None], several: bool = True
) -> np.ndarray:
    """The output neurons that are explained of each sample.

    Args:
        selection: What the user passed: an integer, or one or k per sample, where the output is a
            vector; or a region, see `is_region`.
        mode: The neuron selection mode.
        size: The number of samples.
        shape: The output's shape, without the batch axis; a region needs all of it.
        several: Whether several neurons of a sample may be told.

    Returns:
        For integers int32 of shape (size,) or (size, k), zeros where the mode needs none. For a region
        a boolean array of shape (size, *shape), or (1, *shape) where it is the same of all samples.

    Raises:
        InputError: The selection does not fit the mode, the samples or the model.
    """
    region = is_region(selection)
    if mode == TOP_K:  # they are known by now
        return _index(selection, size, shape)
    if mode != "index" and not (mode == "all" and region):
        if selection is not None:
            raise InputError(
                f"Expected no neuron_selection in mode {mode!r}, got {shown(selection)}: make the "
                'analyzer with neuron_selection_mode="index" to choose the neuron.'
            )
        return np.zeros(size, np.int32)
    if selection is None:
        wanted = "an integer, or one per sample" if len(shape) < 2 else _wanted(shape)
        raise InputError(f'Expected neuron_selection in mode "index", got none: pass {wanted}.')
    if region:
        return _mask(selection, size, shape)
    return _index(selection, size, shape, several)


def are_several(selection: Any) -> bool:
    """Whether a selection is of several neurons of each sample."""
    try:
        return not is_region(selection) and np.ndim(selection) == 2
    except ValueError:  # lists of several lengths, which nothing takes
        return False


def refuse_several(selection: Any, mode: str) -> None:
    """Refuses several neurons of a sample.

    Raises:
        InputError: The mode or the selection is of several.
    """
    if mode == TOP_K or are_several(selection):
        raise InputError(
            f"Expected one neuron of each sample here, got several, by mode {mode!r}: choose one, or "
            "use analyze or explain."
        )


def is_region(selection: Any) -> bool:
    """Whether a selection is a region of a sample's output.

    A region is a boolean array, of the output's shape with or without the batch axis; what indexes the
    output as NumPy does, a tuple, a slice or an Ellipsis; or a list of such tuples, one per sample.
    """
    if isinstance(selection, tuple | slice) or selection is Ellipsis or _are_tuples(selection):
        return True
    try:
        return np.asarray(selection).dtype.kind == "b"
    except (TypeError, ValueError):  # lists of several lengths, which nothing takes
        return False


def _are_tuples(selection: Any) -> bool:
    return (
        isinstance(selection, list)
        and bool(selection)
        and all(isinstance(part, tuple) for part in selection)
    )


def _index(
    selection: Any, size: int, shape: Sequence[int | None], several: bool = True
) -> np.ndarray:
    """Integers, one per sample, or k."""
    if len(shape) > 1:
        raise InputError(
            f"Expected neuron_selection to tell positions of an output of shape {tuple(shape)}, got "
            f"{shown(selection)}: pass {_wanted(shape)}."
        )
    neurons = shape[0] if shape else 1
    try:
        index = np.asarray(selection)
    except (TypeError, ValueError):
        index = np.asarray(None)
    given = several and index.ndim == 2 and len(index) == size and index.shape[1]
    if index.dtype.kind not in "iu" or not (given or (index.size in (1, size) and index.ndim < 2)):
        shapes = f", or of shape ({size}, k)" if several else ""
        raise InputError(
            f"Expected neuron_selection to be an integer or {size} of them, one per sample{shapes}, got "
            f"{shown(selection)}."
        )
    if index.size and neurons is not None and (index.min() < 0 or index.max() >= neurons):
        which = index[(index < 0) | (index >= neurons)][0]
        told = (
            f"{which} in {shown(selection)}" if getattr(selection, "ndim", 0) else shown(selection)
        )
        raise InputError(
            f"Expected neuron_selection from 0 to {neurons - 1}, got {told}: the model has "
            f"{counted(neurons, 'output neuron')}."
        )
    index = index.astype(np.int32)
    return index if given else np.broadcast_to(index.reshape(-1), (size,))


def _mask(selection: Any, size: int, shape: Sequence[int | None]) -> np.ndarray:
    """A region as a boolean array with a batch axis, of length 1 where it is the same of all."""
    known = [n or 0 for n in shape]
    if not size and None in shape:
        return np.zeros((0, *known), bool)  # nobody knows what there is to select of
    if _are_tuples(selection):
        if len(selection) not in (1, size):
            raise InputError(
                f"Expected neuron_selection to be a tuple, or a list of {size}, one per sample, got a "
                f"list of {len(selection)}."
            )
        mask = np.stack([_indexed(part, known) for part in selection])
    elif isinstance(selection, tuple | slice) or selection is Ellipsis:
        mask = _indexed(selection, known)[np.newaxis]
    else:
        mask = np.asarray(selection)
        if mask.shape == tuple(known):
            mask = mask[np.newaxis]
        if mask.shape[1:] != tuple(known) or len(mask) not in (1, size):
            hint = ""
            if len(known) > 1 and mask.shape in (tuple(known[:-1]), (size, *known[:-1])):
                hint = ": (mask, class) selects one class where a mask of positions is True"
            raise InputError(
                f"Expected a boolean neuron_selection of the output's shape {tuple(shape)}, or of "
                f"{(size, *shape)} with the samples in front, got shape {mask.shape}{hint}."
            )
    empty = [k for k, part in enumerate(mask) if not part.any()] if size else []
    if empty:
        of = f" of sample {empty[0]}" if len(mask) > 1 else ""
        raise InputError(
            f"Expected neuron_selection to select at least one of the output's neurons, shape "
            f"{tuple(shape)}, got {shown(selection)}, which selects none{of}."
        )
    return mask


def _indexed(index: Any, shape: Sequence[int]) -> np.ndarray:
    """True where an index selects, in an array of a shape."""
    parts = index if isinstance(index, tuple) else (index,)
    mask = np.zeros(shape, bool)
    try:
        # NumPy takes no tensors for indices, and single booleans for new axes.
        parts = tuple(np.asarray(p) if hasattr(p, "__array__") else p for p in parts)
        if any(np.asarray(p).dtype.kind == "b" and np.ndim(p) == 0 for p in parts):
            raise IndexError("a single boolean is no index")
        mask[parts] = True
    except (IndexError, TypeError, ValueError) as error:
        raise InputError(
            f"Expected neuron_selection to index an output of shape {tuple(shape)} as NumPy does, got "
            f"{shown(index)}: {str(error).rstrip('.')}."
        ) from None
    return mask


def index_of_one(shape: Sequence[int | None]) -> str:
    """What the index of one neuron of an output looks like, for messages."""
    axes = ("y", "x", "class") if len(shape) == 3 else "ijklmn"[: len(shape)]
    return f"({', '.join(axes)})"


def _wanted(shape: Sequence[int | None]) -> str:
    """What selects neurons of an output that is no vector."""
    one = index_of_one(shape)
    return f"a tuple that indexes it, such as {one}, or a boolean array of its shape"
