"""Data of any kind as batches."""

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rap_keras import tensors as ops
from rap_keras.errors import InputError
from rap_keras.inputs.tensors import readable
from rap_keras.support.images import read_image
from rap_keras.support.options import read_integer
from rap_keras.tensors.datasets import cardinality, elements, is_dataset


def as_batches(size: int, batch_size: int, sizes: Sequence[int] = ()) -> Iterator[slice]:
    """Yields slices of at most `batch_size` samples.

    Given `sizes`, in descending order to 1, are the only numbers allowed; the largest that fits is
    taken.
    """
    start = 0
    while start < size:
        left = min(size - start, batch_size)
        stop = start + next((n for n in sizes if n <= left), left)
        yield slice(start, stop)
        start = stop


def is_stream(data: Any) -> bool:
    """Whether data are batches one after the other, and not the arrays of one call."""
    if is_dataset(data):
        return True
    if hasattr(data, "shape") or isinstance(data, list | tuple | dict | str | int | float):
        return False
    return hasattr(data, "__getitem__") or isinstance(data, Iterable)


def batches(data: Any, batch_size: int) -> tuple[Iterator[Any], int | None]:
    """Returns the batches of data of any kind, and their number if it is known; of pairs (x, y), x."""
    if is_dataset(data):
        return map(_first, elements(data)), cardinality(data)
    if hasattr(data, "shape") or isinstance(data, list | tuple | dict):
        return _sliced(data, batch_size)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str):
        return (_first(data[k]) for k in range(len(data))), len(data)  # a Sequence of Keras
    if isinstance(data, Iterable) and not isinstance(data, str):
        return map(_first, data), None
    raise InputError(
        "Expected data to be arrays or an iterable of batches, such as a tf.data.Dataset, got "
        f"{type(data).__name__}."
    )


def joined(data: Any) -> Any:
    """The data of one input; samples in a list are joined. `[array]` is an array, as in Keras."""
    alone = isinstance(data, list | tuple) and len(data) == 1 and hasattr(data[0], "shape")
    if alone or not isinstance(data, list | tuple):
        return data
    try:
        return np.asarray([readable(part) for part in data])
    except (TypeError, ValueError):  # of different shapes, which are refused later
        return data


def image_batches(
    paths: Sequence[Path],
    preprocess: Callable[[Any], Any],
    batch_size: int,
    size: tuple[int, int] | None,
) -> tuple[Iterator[Any], int | None]:
    """Returns the batches of image files, and their number if it is known. Reads a batch at a time.

    Args:
        paths: The files.
        preprocess: Turns RGB images, uint8 `(n, height, width, 3)`, into the model's input.
        batch_size: The number of images in a batch.
        size: The `(height, width)` to warp the images to. None leaves them unchanged; consecutive images
            of the same size then form a batch.

    Raises:
        InputError: The batch size is not a positive integer, or an image cannot be read.
    """
    batch_size = read_integer("batch_size", batch_size, 1)

    def read() -> Iterator[Any]:
        images = (read_image(path, size) for path in paths)
        for _, group in itertools.groupby(images, key=np.shape):
            while batch := list(itertools.islice(group, batch_size)):
                yield preprocess(np.stack(batch))

    return read(), -(-len(paths) // batch_size) if size else None


def _sliced(data: Any, batch_size: int) -> tuple[Iterator[Any], int]:
    """Returns slices of arrays. Copies one batch at a time, so arrays may be larger than memory."""
    batch_size = read_integer("batch_size", batch_size, 1)
    parts = ops.flatten(data)
    if not all(hasattr(part, "shape") for part in parts):  # numbers in lists
        return iter([data]), 1
    size = max((len(part) for part in parts if len(part.shape)), default=0)
    chunks = list(as_batches(size, batch_size))
    return (ops.map_structure(operator.itemgetter(chunk), data) for chunk in chunks), len(chunks)


def _first(element: Any) -> Any:
    """The first part of a pair (x, y), which a PyTorch DataLoader gives as a list of tensors."""
    pair = isinstance(element, list) and len(element) > 1 and not isinstance(element[0], list)
    loaded = pair and type(element[0]).__module__.partition(".")[0] == "torch"
    return element[0] if isinstance(element, tuple) or loaded else element
