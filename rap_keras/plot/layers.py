"""Relevance layer by layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from rap_keras.errors import InputError
from rap_keras.plot.drawing import (
    BESIDE_BARS,
    COLORMAP,
    PERCENTILE,
    Array,
    draw_image,
    outline,
    panels,
    room,
)
from rap_keras.plot.figures import heatmap
from rap_keras.plot.fonts import wrapped
from rap_keras.support.text import did_you_mean

MAX_LAYERS = 12
PICTURE = "input image"  # many an input layer is called "image"


def layers(
    layer_maps: Mapping[str, Any],
    image: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    percentile: float = PERCENTILE,
    colorbar: bool = True,
    channel_axis: int | None = -1,
    sample: int | None = None,
    max_columns: int = 6,
    region: ArrayLike | None = None,
    colormap: str | Colormap = COLORMAP,
    caption: str | None = None,
) -> Figure:
    """Draws the way of the relevance through the layers, from the output to the input.

    Every layer that has positions is a map of its channels' sum, on a scale of its own; layers
    without positions, such as dense ones, are left out.

    Args:
        layer_maps: The relevance at each layer's output from the input to the output, as
            `analyze_layers` gives it. Only arrays `(batch, height, width, channels)` are drawn, so
            a layer with several outputs is not.
        image: If given, it is drawn last; see `overlay` for what an image may be.
        names: The layers to draw; default: at most 12, evenly spread from the last to the first.
        percentile: As in `heatmap`.
        colorbar: Whether every map gets a colour bar.
        channel_axis: The axis of the channels in one map (without the batch axis).
        sample: Which sample of the batch to draw; needed where there are several.
        max_columns: How many maps a row holds at most.
        region: What is explained of the output, as in `explanation`: outlined in the image.
        colormap: As in `heatmap`.
        caption: A line above the figure.

    Raises:
        InputError: As for `heatmap`, if a name is not a layer that can be drawn, if no layer can
            be, or if there are several samples and `sample` does not choose one.
    """
    spatial = {
        name: np.asarray(relevance)
        for name, relevance in layer_maps.items()
        if not isinstance(relevance, list) and np.ndim(relevance) == 4
    }
    if not spatial:
        raise InputError(
            "There is nothing to draw: no layer has relevance (batch, height, width, channels)."
        )
    chosen = _spread(list(spatial), MAX_LAYERS) if names is None else list(names)
    if not chosen:
        raise InputError("There is nothing to draw: the list of layer names is empty.")
    if max_columns < 1:
        raise InputError(f"A row holds at least one map, so max_columns cannot be {max_columns}.")
    for name in chosen:
        if name not in spatial:
            raise InputError(_no_such_layer(name, layer_maps, list(spatial)))
    # Whatever order the names came in, the figure reads from the output to the input.
    order = list(spatial)
    chosen.sort(key=order.index, reverse=True)

    count = len(chosen) + (image is not None)
    rows = -(-count // max_columns)
    figure, axes = panels(rows, -(-count // rows), caption, BESIDE_BARS if colorbar else 1)
    flat = list(axes.flat)
    for name, ax in zip(chosen, flat, strict=False):
        heatmap(
            _one(spatial[name], sample, name),
            ax=ax,
            percentile=percentile,
            colorbar=colorbar,
            title=wrapped(name, room(spatial[name].shape[1:], channel_axis, colorbar)[1]),
            channel_axis=channel_axis,
            colormap=colormap,
        )
    if image is not None:
        pixels = np.asarray(image)
        draw_image(flat[len(chosen)], pixels, PICTURE)
        outline(flat[len(chosen)], region, pixels.shape[:2])
    for ax in flat[count:]:
        ax.set_axis_off()
    return figure


def _spread(names: list[str], count: int) -> list[str]:
    """At most `count` names, evenly spread, the first and the last among them."""
    if len(names) <= count:
        return names
    return [names[index] for index in np.linspace(0, len(names) - 1, count).round().astype(int)]


def _one(relevance: Array, sample: int | None, name: str) -> Array:
    count = len(relevance)
    if sample is None and count == 1:
        return relevance[0]
    if sample is None:
        raise InputError(
            f"The figure shows one image, but layer {name!r} has the relevance of {count}: "
            "choose one with sample."
        )
    if not 0 <= sample < count:
        raise InputError(f"There is no sample {sample} in a batch of {count}.")
    return relevance[sample]


def _no_such_layer(name: str, layer_maps: Mapping[str, Any], drawable: list[str]) -> str:
    if isinstance(layer_maps.get(name), list):
        return f"Layer {name!r} has several outputs, which are not drawn."
    if name in layer_maps:
        shape = np.shape(layer_maps[name])
        return f"Layer {name!r} has no positions to draw: its relevance has the shape {shape}."
    hint = did_you_mean(name, drawable) or f"choose {', '.join(drawable[-3:])} or another layer."
    return f"There is no relevance of a layer {name!r}: {hint}"
