"""Data of any kind as batches."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.errors import InputError
from rap_keras.support.images import read_image
from rap_keras.support.options import read_integer


def as_batches(size: int, batch_size: int) -> Iterator[slice]:
    """Yields slices of at most `batch_size` samples."""
    return (slice(start, start + batch_size) for start in range(0, size, batch_size))


def batches(data: Any, batch_size: int) -> tuple[Iterator[Any], int | None]:
    """Returns the batches of data, and their number if it is known.

    Args:
        data: Arrays, or a list or dict of them for several inputs; a batched `tf.data.Dataset`, or any
            other iterable of batches. If its elements are tuples (x, y), y is ignored.
        batch_size: The number of samples in a batch, if the data are arrays.

    Raises:
        InputError: The data are none of these, or the batch size is not a positive integer.
    """
    if isinstance(data, tf.data.Dataset):
        size = tf.data.experimental.cardinality(data)
        size = int(size) if tf.executing_eagerly() else -1  # negative if unknown or infinite
        return map(_first, _elements(data)), size if size >= 0 else None
    if hasattr(data, "shape") or isinstance(data, list | tuple | dict):
        return _sliced(data, batch_size)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str):
        return (_first(data[k]) for k in range(len(data))), len(data)  # a Sequence of Keras
    if isinstance(data, Iterable) and not isinstance(data, str):
        return map(_first, data), None
    raise InputError(
        "Expected data to be arrays, a tf.data.Dataset or an iterable of batches, got "
        f"{type(data).__name__}."
    )


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
    parts = tf.nest.flatten(data)
    if not all(hasattr(part, "shape") for part in parts):  # numbers in lists
        return iter([data]), 1
    size = max((len(part) for part in parts if len(part.shape)), default=0)
    chunks = list(as_batches(size, batch_size))
    return (tf.nest.map_structure(_slicing(chunk), data) for chunk in chunks), len(chunks)


def _slicing(chunk: slice) -> Callable[[Any], Any]:
    return lambda array: array[chunk]


def _first(element: Any) -> Any:
    return element[0] if isinstance(element, tuple) else element


def _elements(dataset: tf.data.Dataset) -> Iterator[Any]:
    """Yields the elements of a dataset; as arrays if eager execution is off."""
    if tf.executing_eagerly():
        yield from dataset
        return
    following = tf.compat.v1.data.make_one_shot_iterator(dataset).get_next()
    # Not the default session, which has the model's variables.
    session = tf.compat.v1.Session(graph=tf.nest.flatten(following)[0].graph)
    with contextlib.closing(session):
        while True:
            try:
                element = session.run(following)
            except tf.errors.OutOfRangeError:
                return
            yield element
