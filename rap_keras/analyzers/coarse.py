"""Resizes coarse maps to the image and divides them among the channels."""

from typing import Any

from rap_keras import tensors as ops
from rap_keras.errors import InputError
from rap_keras.network.graph import Graph
from rap_keras.network.receptive_fields import Axes, Axis


def check_image_input(graph: Graph, method: str) -> None:
    """Raises an error for a model with several inputs, or whose input is no image."""
    shapes = [graph.shapes[slot] for slot in graph.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise InputError(
            f"Expected a model with one input of images, (height, width, channels), for {method!r}, got "
            f'inputs of shapes {shapes}: use another method, such as "rap".'
        )


def spread(
    coarse: ops.Tensor, x: ops.Tensor, dtype: ops.DType, centres: Axes | None = None
) -> ops.Tensor:
    """Resizes a map `(batch, cells ...)` linearly to the input and divides it among the channels.

    The input may have no channels. `centres` are those of the cells in the input, along each axis.
    None: the map is stretched over the input, corner to corner.
    """
    places = resized(coarse, ops.shape(x)[1 : len(coarse.shape)], centres)
    if len(x.shape) == len(coarse.shape):
        return ops.cast(places, dtype)
    channels = ops.ones_like(x, dtype) / ops.cast(ops.shape(x)[-1], dtype)
    return ops.cast(places[..., None], dtype) * channels


def resized(values: ops.Tensor, size: Any, centres: Axes | None = None) -> ops.Tensor:
    """A map `(batch, cells ...)` at another size, linear between the centres of cells."""
    if centres is None and len(values.shape) == 3:
        return ops.resize(values[..., None], size)[..., 0]
    for axis in range(1, len(values.shape)):
        pixels = size[axis - 1]
        step = pixels / ops.shape(values)[axis]  # float64 also for tensors
        cells = Axis((step - 1) / 2, step) if centres is None else centres[axis - 1]
        values = _placed(values, axis, pixels, cells)
    return values


def _placed(values: ops.Tensor, along: int, pixels: ops.Tensor, cells: Axis) -> ops.Tensor:
    """The value at each pixel of an axis: linear between the cells' centres, constant outside."""
    last = ops.shape(values)[along] - 1
    shape = [-1 if axis == along else 1 for axis in range(len(values.shape))]
    with ops.wide():
        places = (ops.cast(ops.arange(pixels), "float64") - cells.first) / cells.step
        places = ops.clip(places, 0, ops.cast(last, "float64"))
        low = ops.cast(ops.floor(places), "int32")
        share = ops.cast(places - ops.floor(places), values.dtype)
    share = ops.reshape(share, shape)
    below = ops.take(values, low, axis=along)
    above = ops.take(values, ops.minimum(low + 1, last), axis=along)
    return below + share * (above - below)
