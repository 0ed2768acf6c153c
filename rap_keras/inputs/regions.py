"""Regions of an output: the neurons to explain if the output is not a vector of classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rap_keras.errors import InputError
from rap_keras.support.text import shown


def is_region(target: Any, shape: Sequence[int | None] | None = None) -> bool:
    """Whether a target is a region of a sample's output.

    A region is a boolean array of the output's shape, with or without the batch axis; a tuple, a slice
    or an Ellipsis that indexes the output as in NumPy; or a list of such tuples, one per sample. If the
    shape is that of a vector, a tuple of several numbers or names is one class per sample, not a region.
    """
    of_vector = shape is not None and len(shape) < 2
    numbers = isinstance(target, tuple) and all(
        isinstance(n, int | np.integer | str) for n in target
    )
    if of_vector and numbers and len(target) > 1:
        return False
    if isinstance(target, tuple | slice) or target is Ellipsis or _are_tuples(target):
        return True
    try:
        return np.asarray(target).dtype.kind == "b"
    except (TypeError, ValueError):  # lists of different lengths, which are invalid
        return False


def _are_tuples(target: Any) -> bool:
    return (
        isinstance(target, list)
        and bool(target)
        and all(isinstance(part, tuple) for part in target)
    )


def as_mask(target: Any, size: int, shape: Sequence[int | None]) -> np.ndarray:
    """Returns a region as a boolean array with a batch axis; of length 1 if all samples share it."""
    known = [n or 0 for n in shape]
    if not size and None in shape:
        return np.zeros((0, *known), bool)  # the size of the output is unknown
    if _are_tuples(target):
        if len(target) not in (1, size):
            raise InputError(
                f"Expected target to be a tuple, or a list of {size} tuples, one per sample, got a list "
                f"of {len(target)}.",
                "target",
            )
        mask = np.stack([_indexed(part, known) for part in target])
    elif isinstance(target, tuple | slice) or target is Ellipsis:
        mask = _indexed(target, known)[np.newaxis]
    else:
        mask = np.asarray(target)
        if mask.shape == tuple(known):
            mask = mask[np.newaxis]
        if mask.shape[1:] != tuple(known) or len(mask) not in (1, size):
            hint = ""
            if len(known) > 1 and mask.shape in (tuple(known[:-1]), (size, *known[:-1])):
                hint = ": (mask, class) selects one class where a mask of positions is True"
            raise InputError(
                f"Expected a boolean target of the output's shape {tuple(shape)}, or {(size, *shape)} "
                f"with a batch axis, got shape {mask.shape}{hint}.",
                "target",
            )
    empty = [k for k, part in enumerate(mask) if not part.any()] if size else []
    if empty:
        of = f" of sample {empty[0]}" if len(mask) > 1 else ""
        raise InputError(
            f"Expected target to select at least one neuron of the output of shape {tuple(shape)}, got "
            f"{shown(target)}, which selects none{of}.",
            "target",
        )
    return mask


def _indexed(index: Any, shape: Sequence[int]) -> np.ndarray:
    """Returns an array that is True where an index selects."""
    parts = index if isinstance(index, tuple) else (index,)
    mask = np.zeros(shape, bool)
    try:
        # NumPy does not accept tensors as indices, and a single boolean adds an axis.
        parts = tuple(np.asarray(p) if hasattr(p, "__array__") else p for p in parts)
        if any(np.asarray(p).dtype.kind == "b" and np.ndim(p) == 0 for p in parts):
            raise IndexError("a single boolean is not an index")
        mask[parts] = True
    except (IndexError, TypeError, ValueError) as error:
        raise InputError(
            f"Expected target to index an output of shape {tuple(shape)} as in NumPy, got "
            f"{shown(index)}: {str(error).rstrip('.')}.",
            "target",
        ) from None
    return mask


def what_selects(shape: Sequence[int | None]) -> str:
    """Describes targets that select neurons of an output that is not a vector."""
    axes = ("y", "x", "class") if len(shape) == 3 else "ijklmn"[: len(shape)]
    one = f"({', '.join(axes)})"
    return f"a tuple that indexes it, such as {one}, or a boolean array of its shape"
