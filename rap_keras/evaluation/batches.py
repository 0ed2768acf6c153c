"""Runs a model on many changed copies of an input, batch by batch."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError
from rap_keras.evaluation.heads import Head, both_classes
from rap_keras.support.options import read_integer

Predict = Callable[[NDArray[np.float32]], ArrayLike]


def in_batches(
    rows: Iterable[ArrayLike], count: int, shape: tuple[int, ...], batch_size: int
) -> Iterator[NDArray[np.float32]]:
    """Groups `count` rows of one shape into new arrays; only one batch is in memory at a time."""
    most = read_integer("batch_size", batch_size, 1)
    queue = iter(rows)

    def gathered() -> Iterator[NDArray[np.float32]]:
        for start in range(0, count, most):
            batch = np.empty((min(most, count - start), *shape), np.float32)
            for row in batch:
                row[...] = next(queue)
            yield batch

    return gathered()


def logits_of(
    predict: Predict,
    rows: Iterable[NDArray[np.float32]],
    count: int,
    shape: tuple[int, ...],
    neuron: int,
    batch_size: int,
    head: Head,
) -> NDArray[np.float64]:
    """The logits of each row, `(count, classes)`, from the smallest number of batches of equal size.

    The last batch is filled up with copies of the last row.
    """
    batches = max(1, -(-count // read_integer("batch_size", batch_size, 1)))
    size = -(-count // batches)
    parts = []
    for batch in in_batches(rows, count, shape, size):
        used = len(batch)
        if used < size:
            batch = np.concatenate([batch, np.repeat(batch[-1:], size - used, 0)])
        parts.append(_read_logits(predict(batch), size, neuron, head)[:used])
    return np.concatenate(parts)


def _read_logits(logits: ArrayLike, size: int, neuron: int, head: Head) -> NDArray[np.float64]:
    # A copy, because predict may overwrite its result with the next batch.
    array = np.array(logits, np.float64)
    if array.ndim != 2 or len(array) != size:
        raise InputError(
            f"Expected predict to return logits of shape ({size}, classes), got {array.shape}."
        )
    array = both_classes(array, head)
    if neuron >= array.shape[1]:
        raise InputError(
            f"Expected neuron to be less than the {array.shape[1]} logits of predict, got {neuron}."
        )
    if not np.isfinite(array).all():
        raise InputError("Expected predict to return finite logits, got NaN or infinity.")
    return array
