"""Figures of the relevance at the layers of a model, and of the channels of a layer."""

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
    channel_sum,
    common_scale,
    draw_image,
    outline,
    panel_size,
    panels,
    picked,
)
from rap_keras.plot.figures import heatmap, overlay
from rap_keras.plot.fonts import FONT_SIZE, wrapped
from rap_keras.support.text import did_you_mean

MAX_LAYERS = 12
PICTURE = "input image"  # not "image", which is the name of many input layers


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
    scale: str | float = "each",
    channels: int | Sequence[int] | None = None,
) -> Figure:
    """Draws the relevance at the layers, from the output to the input.

    Each map is summed over the channels and, by default, has a separate colour scale. Layers without
    positions, such as dense layers, are not drawn.

    Args:
        layer_maps: The relevance at each layer's output, from the input to the output, as returned by
            `analyze_layers`. Only arrays `(batch, height, width, channels)` are drawn, not layers with
            several outputs.
        image: If given, it is drawn last, as in `overlay`.
        names: The layers to draw. By default at most 12, evenly spaced from the last to the first.
        percentile: As in `heatmap`.
        colorbar: Whether every map gets a colour bar.
        channel_axis: The axis of the channels in one map, without the batch axis.
        sample: The index of the sample to draw, if the batch has several.
        max_columns: The maximum number of maps in a row.
        region: The explained region of the output, as in `explanation`, outlined in the image.
        colormap: As in `heatmap`.
        caption: A line above the figure.
        scale: As in `heatmap`.
        channels: As in `heatmap`.

    Returns:
        The figure.

    Raises:
        InputError: As for `heatmap`; or a layer cannot be drawn; or there are several samples and
            `sample` is None.

    Example:
        >>> maps = {"conv": np.ones((1, 8, 8, 3)), "pool": np.ones((1, 4, 4, 3))}
        >>> figure = rap_keras.plot.layers(maps, colorbar=False)
        >>> [axes.get_title() for axes in figure.axes]
        ['pool', 'conv']
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
        raise InputError(
            f"Expected max_columns to be at least 1, got {max_columns}.", "max_columns"
        )
    for name in chosen:
        if name not in spatial:
            raise InputError(_no_such_layer(name, layer_maps, list(spatial)))
    # The figure always goes from the output to the input.
    order = list(spatial)
    chosen.sort(key=order.index, reverse=True)

    drawn = {name: _one(spatial[name], sample, name) for name in chosen}
    each = (channel_sum(one, channel_axis) for one in drawn.values())
    scale = common_scale(scale, each, percentile)
    count = len(chosen) + (image is not None)
    rows = -(-count // max_columns)
    figure, axes = panels(rows, -(-count // rows), caption, BESIDE_BARS if colorbar else 1)
    flat = list(axes.flat)
    for name, ax in zip(chosen, flat, strict=False):
        heatmap(
            drawn[name],
            ax=ax,
            percentile=percentile,
            colorbar=colorbar,
            title=wrapped(name, panel_size(spatial[name].shape[1:], channel_axis, colorbar)[1]),
            channel_axis=channel_axis,
            colormap=colormap,
            scale=scale,
        )
    if image is not None:
        pixels = picked(image, channels)
        draw_image(flat[len(chosen)], pixels, PICTURE)
        outline(flat[len(chosen)], region, pixels.shape[:2])
    for ax in flat[count:]:
        ax.set_axis_off()
    return figure


def concepts(
    image: ArrayLike,
    relevance: ArrayLike,
    maps: Sequence[ArrayLike] | Any,
    crops: Sequence[Sequence[ArrayLike]],
    titles: Sequence[str],
    method: str = "map",
    caption: str | None = None,
    percentile: float = PERCENTILE,
    channel_axis: int | None = -1,
    colormap: str | Colormap = COLORMAP,
) -> Figure:
    """Draws an image and its map, and a row for each channel: its map and reference images.

    Each map has a separate colour scale.

    Args:
        image: One image, as in `overlay`.
        relevance: The whole map, as in `heatmap`.
        maps: The map of each channel, as in `overlay`.
        crops: The reference images of each channel.
        titles: The title of each row.
        method: The title of the whole map.
        caption: A line above the figure.
        percentile: As in `heatmap`.
        channel_axis: As in `heatmap`.
        colormap: As in `heatmap`.

    Returns:
        The figure.

    Raises:
        InputError: As for `overlay`, or the numbers of maps, crops and titles differ.

    Example:
        >>> image = np.zeros((8, 8, 3), np.uint8)
        >>> figure = rap_keras.plot.concepts(image, np.ones((8, 8)), [np.eye(8)], [[image]], ["one"])
        >>> len(figure.axes)
        4
    """
    count = len(maps)
    if not count or len(crops) != count or len(titles) != count:
        raise InputError(
            f"Expected a map, crops and a title for each channel, got {count} maps, {len(crops)} lists "
            f"of crops and {len(titles)} titles."
        )
    pixels = np.asarray(image)
    columns = 1 + max(1, *map(len, crops))
    figure, axes = panels(count + 1, columns, caption, row_titles=["", *titles])
    options: dict[str, Any] = {
        "percentile": percentile,
        "channel_axis": channel_axis,
        "colormap": colormap,
    }
    draw_image(axes[0, 0], pixels, "image")
    heatmap(relevance, ax=axes[0, 1], title=method, **options)
    for ax in axes[0, 2:]:
        ax.set_axis_off()
    for k, (one, references) in enumerate(zip(maps, crops, strict=True), start=1):
        overlay(one, pixels, ax=axes[k, 0], **options)
        axes[k, 0].set_ylabel(titles[k - 1], fontsize=FONT_SIZE, parse_math=False)
        for ax in axes[k, 1 + len(references) :]:
            ax.set_axis_off()
        for ax, crop in zip(axes[k, 1:], references, strict=False):
            draw_image(ax, np.asarray(crop), None)
    return figure


def _spread(names: list[str], count: int) -> list[str]:
    """Returns at most `count` names, evenly spaced, including the first and the last."""
    if len(names) <= count:
        return names
    return [names[index] for index in np.linspace(0, len(names) - 1, count).round().astype(int)]


def _one(relevance: Array, sample: int | None, name: str) -> Array:
    count = len(relevance)
    if sample is None and count == 1:
        return relevance[0]
    if sample is None:
        raise InputError(
            f"Expected the relevance of one sample, got {count} at layer {name!r}: pass sample.",
            "sample",
        )
    if not 0 <= sample < count:
        raise InputError(f"Expected sample from 0 to {count - 1}, got {sample}.", "sample")
    return relevance[sample]


def _no_such_layer(name: str, layer_maps: Mapping[str, Any], drawable: list[str]) -> str:
    if isinstance(layer_maps.get(name), list):
        return f"Layer {name!r} has several outputs, which are not drawn."
    if name in layer_maps:
        shape = np.shape(layer_maps[name])
        return f"Layer {name!r} has no positions to draw: its relevance has the shape {shape}."
    hint = did_you_mean(name, drawable) or f"choose {', '.join(drawable[-3:])} or another layer."
    return f"There is no relevance of a layer {name!r}: {hint}"
