"""Figures of the most relevant channels of a layer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from rap_keras.errors import InputError
from rap_keras.plot.drawing import COLORMAP, PERCENTILE, draw_image, panels
from rap_keras.plot.figures import heatmap, overlay
from rap_keras.plot.fonts import FONT_SIZE


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
