"""Pixels and heat maps as they are stored."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Maps = Mapping[str, NDArray[Any]]


class StoredMaps(Mapping[int, Maps]):
    """Maps by the places of their images, which are read when they are used.

    Args:
        read: A function from a place to the maps of its image.
        positions: The places.
    """

    def __init__(self, read: Callable[[int], Maps], positions: Sequence[int]) -> None:
        self._read = read
        self._positions = dict.fromkeys(positions)

    def __getitem__(self, position: int) -> Maps:
        if position not in self._positions:
            raise KeyError(position)
        return self._read(position)

    def __iter__(self) -> Iterator[int]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)


def pack(array: NDArray[Any]) -> bytes:
    """An array as the bytes of a .npy file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def unpack(content: bytes) -> NDArray[Any]:
    """The array in the bytes of a .npy file."""
    found: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return found
