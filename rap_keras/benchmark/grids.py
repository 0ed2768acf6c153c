"""The grid pointing game's grids of images of different classes."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rap_keras.evaluation import cell_mask

Size = tuple[int, int]
Read = Callable[[int, Size], NDArray[np.uint8]]


def shape_of(text: str) -> Size:
    """Rows and columns of a grid, such as 2x3."""
    rows, columns = map(int, text.split("x"))
    return rows, columns


@dataclass(frozen=True)
class Grid:
    """A grid with one cell that shows the explained class, and the places of its images, row by row."""

    pixels: NDArray[np.uint8]
    shape: tuple[int, int]  # rows and columns
    cell: tuple[int, int]  # the row and the column of the explained class, counted from 0
    positions: tuple[int, ...]


def companions(
    target: int, count: int, order: Iterable[int], sure_of: Callable[[int], int | None]
) -> list[int]:
    """The places of the first images of other classes than the target, each of a different class.

    They may be fewer than `count`. `sure_of` a place is the class of that image; None if the model is
    not confident.
    """
    found: dict[int, int] = {}
    for position in order:
        if len(found) == count:
            break
        found_class = sure_of(position)
        if found_class is not None and found_class != target:
            found.setdefault(found_class, position)
    return list(found.values())


def make_grid(positions: list[int], place: int, shape: Size, size: Size, read: Read) -> Grid:
    """Makes a grid of a size from the images at these positions, row by row.

    The image number `place` is that of the explained class.
    """
    pixels = np.zeros((*size, 3), np.uint8)
    cells = itertools.product(range(shape[0]), range(shape[1]))
    for position, cell in zip(positions, cells, strict=True):
        mask = cell_mask(size, cell, shape)
        extent = int(mask.any(1).sum()), int(mask.any(0).sum())
        pixels[mask] = read(position, extent).reshape(-1, 3)
    return Grid(pixels, shape, divmod(place, shape[1]), tuple(positions))
