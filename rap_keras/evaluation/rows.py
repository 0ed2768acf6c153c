"""Many changed copies of an input, batch by batch."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.support.options import read_integer


def in_batches(
    rows: Iterable[ArrayLike], count: int, shape: tuple[int, ...], batch_size: int
) -> Iterator[NDArray[np.float32]]:
    """Groups rows into batches, so that only one batch is in memory.

    Args:
        rows: `count` arrays of one shape, made one after the other.
        count: The number of rows.
        shape: Their shape.
        batch_size: The most in a batch.

    Returns:
        The batches, `(n, *shape)`, each a new array.

    Raises:
        InputError: The batch size is not a positive integer.
    """
    most = read_integer("batch_size", batch_size, 1)
    queue = iter(rows)

    def gathered() -> Iterator[NDArray[np.float32]]:
        for start in range(0, count, most):
            batch = np.empty((min(most, count - start), *shape), np.float32)
            for row in batch:
                row[...] = next(queue)
            yield batch

    return gathered()
