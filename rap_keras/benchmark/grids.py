"""Images of different classes side by side, for the grid pointing game."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rap_keras.evaluation import cell_mask

Size = tuple[int, int]
Read = Callable[[int, Size], NDArray[np.uint8]]


@dataclass(frozen=True)
class Grid:
    """A grid whose one cell shows the class that is explained.

    Attributes:
        pixels: uint8 `(height, width, 3)`.
        shape: Rows and columns.
        cell: The row and the column of the explained class, from 0 on.
        positions: The places in the data set of the images in the cells, row by row.
    """

    pixels: NDArray[np.uint8]
    shape: tuple[int, int]
    cell: tuple[int, int]
    positions: tuple[int, ...]


def companions(
    target: int, count: int, order: Iterable[int], sure_of: Callable[[int], int | None]
) -> list[int]:
    """The first images that the model is sure of, each of another class.

    Args:
        target: The class that is explained, which none of them may have.
        count: How many are wanted.
        order: Places in the data set, in the order in which they are tried.
        sure_of: From a place to the neuron that the model is sure of there; None where it is not.

    Returns:
        Their places; fewer than wanted where there are no more.
    """
    taken = {target}
    found: list[int] = []
    for position in order:
        if len(found) == count:
            break
        neuron = sure_of(position)
        if neuron is not None and neuron not in taken:
            taken.add(neuron)
            found.append(position)
    return found


def make_grid(positions: list[int], place: int, shape: Size, size: Size, read: Read) -> Grid:
    """Puts images side by side.

    Args:
        positions: Their places in the data set, row by row.
        place: Which of them shows the class that is explained.
        shape: Rows and columns.
        size: Height and width of the whole.
        read: From a place and a height and width to the pixels of that image.
    """
    pixels = np.zeros((*size, 3), np.uint8)
    cells = itertools.product(range(shape[0]), range(shape[1]))
    for position, cell in zip(positions, cells, strict=True):
        mask = cell_mask(size, cell, shape)
        extent = int(mask.any(1).sum()), int(mask.any(0).sum())
        pixels[mask] = read(position, extent).reshape(-1, 3)
    return Grid(pixels, shape, divmod(place, shape[1]), tuple(positions))
