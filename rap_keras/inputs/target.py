"""The target: which output neurons of each sample are explained."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rap_keras.errors import InputError
from rap_keras.inputs.classes import as_numbers
from rap_keras.inputs.contrast import Contrast
from rap_keras.inputs.regions import as_mask, is_region, what_selects
from rap_keras.inputs.tensors import readable
from rap_keras.support.options import read_integer
from rap_keras.support.text import counted, shown

# iNNvestigate's neuron_selection_mode: the meaning of a target of None.
MODES = ("max_activation", "index", "all")
# The class with the largest logit; every neuron; one class of each sample, or k; a part of the output.
Kind = Literal["largest", "all", "class", "classes", "region"]


@dataclass(frozen=True)
class TopK:
    """A target: the k classes with the largest logits of each sample, the largest first.

    Args:
        k: The number of classes. If the output has fewer classes, all of them.

    Raises:
        InputError: k is not a positive integer.

    Example:
        >>> scenes = rap_keras.datasets.cluttered_digits(2)
        >>> top = rap_keras.TopK(3)
        >>> rap_keras.explain("bundled:vgg", scenes.images, "gradient", top).relevance.shape
        (2, 3, 64, 64, 3)
    """

    k: int = 5

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", read_integer("k", self.k, 1))

    def read(self, logits: np.ndarray, shape: Sequence[int | None]) -> "Target":
        """Returns the classes of samples.

        Args:
            logits: The logits of the samples. For two classes with one output, the logit of class 1.
            shape: The shape of the classes of one sample.

        Raises:
            InputError: The output is not a vector of classes.
        """
        if len(shape) > 1:
            raise InputError(
                f"Expected a vector of classes for {self}, got an output of shape {tuple(shape)}: pass "
                "a region.",
                "target",
            )
        flat = logits.reshape(len(logits), int(np.prod(logits.shape[1:])))
        if shape == (2,) and flat.shape[1] == 1:
            flat = np.concatenate([-flat, flat], 1)
        return classes(np.argsort(-flat, 1, kind="stable")[:, : self.k])


@dataclass(frozen=True, eq=False)
class Target:
    """The output neurons that are explained of the samples of a batch.

    The index of a class is int32 `(batch,)`, that of k classes `(batch, k)`. That of a region is a
    boolean array `(batch, ...)`, or `(1, ...)` if all samples share it. Others have zeros `(batch,)`.
    """

    kind: Kind
    index: Any  # a tensor in compiled functions
    contrast: Contrast = None  # the classes that the target is compared with

    def at(self, index: Any) -> "Target":
        """Returns a target of the same kind with another index."""
        return dataclasses.replace(self, index=index)

    def neurons(self, logits: np.ndarray) -> np.ndarray:
        """Returns the class or classes of each sample, or its region in the shape of the logits."""
        if self.kind == "region":
            return np.broadcast_to(self.index, logits.shape)
        if self.kind != "largest" or logits.ndim == 1:
            return self.index
        return logits.argmax(-1).astype(np.int32)

    def known(self, neurons: np.ndarray) -> "Target":
        """Returns the same target with known neurons, such as those of the largest logits."""
        return Target("class", neurons) if self.kind == "largest" else self.at(neurons)

    def of_sample(self, k: int) -> "Target":
        """Returns the target of one sample."""
        return self.at(self.index[k : k + 1] if len(self.index) > 1 else self.index)

    def repeated(self, count: int) -> "Target":
        """Returns the target of one sample for `count` copies of the sample."""
        return self if self.kind == "region" else self.at(np.repeat(self.index, count, 0))


def all_neurons(size: int) -> Target:
    """Returns the target that is every neuron of `size` samples."""
    return Target("all", np.zeros(size, np.int32))


def classes(index: Any) -> Target:
    """Returns the target of a class of each sample, or of k classes, by their numbers."""
    index = np.asarray(index, np.int32)
    return Target("classes" if index.ndim == 2 else "class", index)


def first_given(target: Any, neuron_selection: Any) -> Any:
    """Returns the target. iNNvestigate calls it neuron_selection, and also accepts a column."""
    if target is None or neuron_selection is None:
        return as_column(readable(neuron_selection)) if target is None else readable(target)
    raise InputError(
        f"Expected target or neuron_selection, which mean the same, got both, {shown(target)} and "
        f"{shown(neuron_selection)}: leave neuron_selection out.",
        ("target", "neuron_selection"),
    )


def refuse_several(target: Target) -> None:
    """Raises an error if the target is k classes of each sample."""
    if target.kind == "classes":
        raise InputError(
            f"Expected one target of each sample here, got {target.index.shape[1]}: choose one, or use "
            "explain, which accepts several.",
            "target",
        )


def read_target(
    target: Any,
    size: int,
    shape: Sequence[int | None],
    labels: Sequence[str] | None = None,
    none: str = "max_activation",
) -> Target:
    """Reads the user's target. `TopK` is not read here, because it needs logits.

    The shape is that of a sample's output; for a region, it must be fully known. `none` is the meaning
    of None, one of `MODES`.
    """
    if target is None and none == "max_activation" and len(shape) > 1:
        raise InputError(
            f"Expected a target, because an output of shape {tuple(shape)} has no largest logit, got "
            f'none: pass {what_selects(shape)}, or "all".',
            "target",
        )
    if target is None and none == "index":
        selection = "a class, or one per sample" if len(shape) < 2 else what_selects(shape)
        raise InputError(
            f'Expected a target, because neuron_selection_mode is "index", got none: pass {selection}.',
            "target",
        )
    if target is None or (isinstance(target, str) and target == "all"):
        kind: Kind = "all" if target is not None or none == "all" else "largest"
        return Target(kind, np.zeros(size, np.int32))
    if is_region(target, shape):
        return Target("region", as_mask(target, size, shape))
    if len(shape) > 1:
        raise InputError(
            f"Expected target to select neurons of an output of shape {tuple(shape)}, got "
            f"{shown(target)}: pass {what_selects(shape)}.",
            "target",
        )
    numbers = as_numbers(target, labels)
    numbers = list(numbers) if isinstance(numbers, tuple) else numbers
    index = _from_one_hot(numbers, shape)
    _check_index(index, target, size, shape)
    index = np.asarray(index, np.int32)
    return classes(index if index.ndim == 2 else np.broadcast_to(index.reshape(-1), (size,)))


def as_column(target: Any) -> Any:
    """Converts a column with one class per sample, as iNNvestigate accepts it, to a vector."""
    if is_region(target):
        return target
    try:
        array = np.asarray(target)
    except ValueError:  # lists of different lengths, which `read_target` rejects
        return target
    column = array.ndim == 2 and array.shape[1] == 1
    return array.reshape(-1) if column else target


def _from_one_hot(target: Any, shape: Sequence[int | None]) -> Any:
    """Returns the class numbers of one-hot rows; anything else unchanged."""
    try:
        array = np.asarray(target)
    except (TypeError, ValueError):
        return target
    # With two classes, integers may be both classes of each sample.
    kinds = "f" if tuple(shape) == (2,) else "fiu"
    if array.ndim != 2 or array.shape[1:] != tuple(shape) or array.dtype.kind not in kinds:
        return target
    zeros_and_ones = bool(((array == 0) | (array == 1)).all())
    one_hot = shape != (1,) and zeros_and_ones and bool((array.sum(1) == 1).all())
    return array.argmax(1) if one_hot else target


def _check_index(index: Any, target: Any, size: int, shape: Sequence[int | None]) -> None:
    """Raises an error if the index is not one class, or one or k classes per sample."""
    try:
        array = np.asarray(index)
    except (TypeError, ValueError):
        array = np.asarray(None)
    several = array.ndim == 2 and len(array) == size and array.shape[1]
    if array.dtype.kind not in "iu" or not (
        several or (array.size in (1, size) and array.ndim < 2)
    ):
        raise InputError(
            f"Expected target to be the number of a class, or {size} numbers, one per sample, or an "
            f"array of shape ({size}, k), got {shown(target)}.",
            "target",
        )
    count = shape[0] if shape else 1
    if array.size and count is not None and (array.min() < 0 or array.max() >= count):
        which = array[(array < 0) | (array >= count)][0]
        given = f"{which} in {shown(target)}" if getattr(target, "ndim", 0) else shown(target)
        raise InputError(
            f"Expected target from 0 to {count - 1}, got {given}: the model has "
            f"{counted(count, 'output neuron')}.",
            "target",
        )
