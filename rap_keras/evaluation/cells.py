"""The cells of a grid."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rap_keras.errors import InputError
from rap_keras.support.options import read_integer


def cell_numbers(shape: tuple[int, ...], grid: Sequence[int]) -> NDArray[np.int64]:
    """The number of each pixel's cell, row by row, in an array of this shape.

    Cells differ by at most one pixel a side if the grid does not divide the shape.
    """
    counts = [read_integer("grid", n, 1) for n in grid]
    if len(counts) != len(shape) or any(n > size for n, size in zip(counts, shape, strict=True)):
        raise InputError(
            f"Expected cells of at least one pixel, got the grid {tuple(grid)} of {shape} pixels: "
            "choose fewer cells, with a number for each axis."
        )
    ends = [[size * k // n for k in range(n + 1)] for size, n in zip(shape, counts, strict=True)]
    places = [np.repeat(np.arange(len(end) - 1), np.diff(end)) for end in ends]
    return np.asarray(np.ravel_multi_index(np.ix_(*places), counts))
