"""Batched `tf.data.Dataset`s, wherever TensorFlow is loaded; the package itself does not need it."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


def is_dataset(data: Any) -> bool:
    """Whether data is a `tf.data.Dataset`."""
    tf = sys.modules.get("tensorflow")
    return tf is not None and isinstance(data, tf.data.Dataset)


def cardinality(dataset: Any) -> int | None:
    """The number of elements of a dataset; None if it is unknown or infinite."""
    import tensorflow as tf

    size = int(tf.data.experimental.cardinality(dataset)) if tf.executing_eagerly() else -1
    return size if size >= 0 else None


def shapes(dataset: Any) -> list[tuple[int | None, ...]]:
    """The shapes of the parts of an element, or of its first part if it is a tuple."""
    import tensorflow as tf

    spec = dataset.element_spec
    parts = tf.nest.flatten(spec[0] if isinstance(spec, tuple) else spec)
    return [tuple(part.shape) for part in parts]


def elements(dataset: Any) -> Iterator[Any]:
    """Yields the elements of a dataset; as arrays if eager execution is off."""
    import tensorflow as tf

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
