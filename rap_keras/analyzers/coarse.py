"""Maps of an image's places, from coarse ones or without channels, in the shape of the input."""

from typing import Any

import tensorflow as tf

from rap_keras.errors import InputError
from rap_keras.network.graph import Graph


def read_image_shape(graph: Graph, method: str) -> tuple[Any, ...]:
    """The shape (height, width, channels) of a model's one input.

    Raises:
        InputError: It has several inputs, or one of another rank.
    """
    shapes = [graph.shapes[slot] for slot in graph.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise InputError(
            f"Expected a model with one input of images, (height, width, channels), for {method!r}, got "
            f'inputs of shapes {shapes}: use another method, such as "rap".'
        )
    return shapes[0][1:]


def spread(coarse: tf.Tensor, x: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """A map `(batch, rows, columns)`, resized to the images, bilinear, and shared by the channels."""
    image = tf.image.resize(coarse[..., None], tf.shape(x)[1:3], "bilinear")
    channels = tf.ones_like(x, dtype) / tf.cast(tf.shape(x)[3], dtype)
    return tf.cast(image, dtype) * channels
