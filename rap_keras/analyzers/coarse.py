"""Resizes coarse maps to the image and divides them among the channels."""

from typing import Any

import tensorflow as tf

from rap_keras.errors import InputError
from rap_keras.network.graph import Graph
from rap_keras.network.receptive_fields import Axes, Axis


def read_image_shape(graph: Graph, method: str) -> tuple[Any, ...]:
    """The shape (height, width, channels) of the model's only input.

    Raises:
        InputError: The model has several inputs, or its input is no image.
    """
    shapes = [graph.shapes[slot] for slot in graph.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise InputError(
            f"Expected a model with one input of images, (height, width, channels), for {method!r}, got "
            f'inputs of shapes {shapes}: use another method, such as "rap".'
        )
    return shapes[0][1:]


def spread(
    coarse: tf.Tensor, x: tf.Tensor, dtype: tf.DType, centres: Axes | None = None
) -> tf.Tensor:
    """Resizes a map `(batch, rows, columns)` bilinearly to the images and divides it among the channels.

    Args:
        coarse: The map.
        x: The images.
        dtype: The dtype of the result.
        centres: The positions of the centres of rows and columns in the image. None: the map is
            stretched over the image, corner to corner.

    Returns:
        The map in the shape of x.
    """
    if centres is None:
        image = tf.image.resize(coarse[..., None], tf.shape(x)[1:3], "bilinear")
    else:
        placed = _placed(
            _placed(coarse, 1, tf.shape(x)[1], centres[0]), 2, tf.shape(x)[2], centres[1]
        )
        image = placed[..., None]
    channels = tf.ones_like(x, dtype) / tf.cast(tf.shape(x)[3], dtype)
    return tf.cast(image, dtype) * channels


def _placed(values: tf.Tensor, along: int, pixels: tf.Tensor, cells: Axis) -> tf.Tensor:
    """The value at each pixel of an axis: linear between the cells' centres, constant outside."""
    last = tf.shape(values)[along] - 1
    places = (tf.cast(tf.range(pixels), tf.float64) - cells.first) / cells.step
    places = tf.clip_by_value(places, 0, tf.cast(last, tf.float64))
    low = tf.cast(tf.floor(places), tf.int32)
    shape = [-1 if axis == along else 1 for axis in range(3)]
    share = tf.reshape(tf.cast(places - tf.floor(places), values.dtype), shape)
    below = tf.gather(values, low, axis=along)
    above = tf.gather(values, tf.minimum(low + 1, last), axis=along)
    return below + share * (above - below)
