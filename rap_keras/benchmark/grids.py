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
    """A grid with one cell that shows the explained class.

    Attributes:
        pixels: uint8 `(height, width, 3)`.
        shape: Rows and columns.
        cell: The row and the column of the explained class, counted from 0.
        positions: The places in the data set of the images in the cells, row by row.
    """

    pixels: NDArray[np.uint8]
    shape: tuple[int, int]
    cell: tuple[int, int]
    positions: tuple[int, ...]


def companions(
    target: int, count: int, order: Iterable[int], sure_of: Callable[[int], int | None]
) -> list[int]:
    """The first confidently classified images, each of a different class.

    Args:
        target: The explained class, which none of them may have.
        count: The number of images.
        order: Places in the data set, in the order in which they are tried.
        sure_of: A function from a place to the class of that image; None if the model is not confident.

    Returns:
        Their places; fewer than `count` if there are not enough images.
    """
    taken = {target}
    found: list[int] = []
    for position in order:
        if len(found) == count:
            break
        found_class = sure_of(position)
        if found_class is not None and found_class not in taken:
            taken.add(found_class)
            found.append(position)
    return found


def make_grid(positions: list[int], place: int, shape: Size, size: Size, read: Read) -> Grid:
    """Makes a grid of images.

    Args:
        positions: Their places in the data set, row by row.
        place: The index of the image of the explained class.
        shape: Rows and columns.
        size: Height and width of the grid.
        read: A function from a place and a size to the pixels of that image.
    """
    pixels = np.zeros((*size, 3), np.uint8)
    cells = itertools.product(range(shape[0]), range(shape[1]))
    for position, cell in zip(positions, cells, strict=True):
        mask = cell_mask(size, cell, shape)
        extent = int(mask.any(1).sum()), int(mask.any(0).sum())
        pixels[mask] = read(position, extent).reshape(-1, 3)
    return Grid(pixels, shape, divmod(place, shape[1]), tuple(positions))
