"""Data of any kind as batches, one at a time."""

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
    """Slices of at most batch_size samples."""
    return (slice(start, start + batch_size) for start in range(0, size, batch_size))


def batches(data: Any, batch_size: int) -> tuple[Iterator[Any], int | None]:
    """The batches of data, and their number if that is known.

    Args:
        data: Arrays, or a list or dict of them for several inputs; a batched `tf.data.Dataset`, or any
            other iterable of batches. Of elements (x, y) the first counts.
        batch_size: Samples in a batch, where data are arrays.

    Raises:
        InputError: Data are none of these, or the batch size is no positive integer.
    """
    if isinstance(data, tf.data.Dataset):
        size = tf.data.experimental.cardinality(data)
        size = int(size) if tf.executing_eagerly() else -1  # unknown and infinite are negative
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
    """The batches of image files, read one batch at a time, and their number if that is known.

    Args:
        paths: The files.
        preprocess: Turns RGB images, uint8 `(n, height, width, 3)`, into the model's input.
        batch_size: Images in a batch.
        size: The `(height, width)` to warp the images to. None leaves them as they are: neighbours of
            one size are in one batch.

    Raises:
        InputError: The batch size is no positive integer; at a batch, an image cannot be read.
    """
    batch_size = read_integer("batch_size", batch_size, 1)

    def read() -> Iterator[Any]:
        images = (read_image(path, size) for path in paths)
        for _, alike in itertools.groupby(images, key=np.shape):
            while batch := list(itertools.islice(alike, batch_size)):
                yield preprocess(np.stack(batch))

    return read(), -(-len(paths) // batch_size) if size else None


def _sliced(data: Any, batch_size: int) -> tuple[Iterator[Any], int]:
    """Slices of arrays, which may be larger than memory: nothing is copied but a batch."""
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
    """The elements of a dataset, as arrays where eager execution is off."""
    if tf.executing_eagerly():
        yield from dataset
        return
    following = tf.compat.v1.data.make_one_shot_iterator(dataset).get_next()
    # Never the default session, in which the model's variables are.
    session = tf.compat.v1.Session(graph=tf.nest.flatten(following)[0].graph)
    with contextlib.closing(session):
        while True:
            try:
                element = session.run(following)
            except tf.errors.OutOfRangeError:
                return
            yield element
