"""Figures of maps, overlays, explanations and grids."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from rap_keras.errors import InputError
from rap_keras.plot.drawing import (
    BESIDE_BARS,
    COLORMAP,
    PERCENTILE,
    PIXELS,
    Array,
    add_colorbar,
    as_grey,
    as_image,
    channel_sum,
    color_scale,
    colors_of,
    common_scale,
    draw_image,
    in_one_range,
    outline,
    panel_size,
    panels,
    picked,
    prepared,
)
from rap_keras.plot.fonts import FONT_SIZE, wrapped
from rap_keras.support.text import counted


def heatmap(
    relevance: ArrayLike,
    image: ArrayLike | None = None,
    ax: Axes | None = None,
    percentile: float = PERCENTILE,
    colorbar: bool = False,
    title: str | None = None,
    channel_axis: int | None = -1,
    colormap: str | Colormap = COLORMAP,
    scale: str | float = "each",
    channels: int | Sequence[int] | None = None,
) -> Axes:
    """Draws one relevance map, summed over its channels.

    The colour scale is symmetric, so zero is always white.

    Args:
        relevance: One map, `(height, width, channels)` or `(height, width)`.
        image: If given, the map is drawn over this image in grey, as by `overlay`.
        ax: The axes to draw on; by default those of a new figure.
        percentile: The colours saturate at this percentile of `|relevance|`, above 0 and at most 100;
            at the maximum if the percentile is zero. With 100, the map of a photograph often shows only
            a few extreme pixels.
        colorbar: Whether to add a colour bar.
        title: The title of the axes.
        channel_axis: The axis of the channels, if there are any.
        colormap: A matplotlib colour map or its name. Its middle stands for zero: "seismic", "RdBu_r",
            "PuOr_r", ...
        scale: What sets the limits of the colours. "each": the percentile of each map. "shared": that
            of all maps of the figure, so that their colours can be compared. A number: colours saturate
            at this relevance.
        channels: Which channels of the image are shown, if it has more than three: the numbers of those
            for red, green and blue, or of one in grey. Values other than uint8 and floats in 0..1 are
            stretched between their 1st and 99th percentiles.

    Returns:
        The axes.

    Raises:
        InputError: The map is not a single finite map, or the image is not an image.

    Example:
        >>> relevance = np.random.default_rng(0).normal(size=(8, 8, 3))
        >>> axes = rap_keras.plot.heatmap(relevance, title="noise")
        >>> axes.get_title()
        'noise'
    """
    if image is not None:
        options: dict[str, Any] = {"colormap": colormap, "scale": scale, "channels": channels}
        return overlay(relevance, image, ax, percentile, colorbar, title, channel_axis, **options)
    spatial = channel_sum(relevance, channel_axis)
    return _draw(prepared(ax, title), spatial, percentile, colormap, colorbar, scale)


def overlay(
    relevance: ArrayLike,
    image: ArrayLike,
    ax: Axes | None = None,
    percentile: float = PERCENTILE,
    colorbar: bool = False,
    title: str | None = None,
    channel_axis: int | None = -1,
    alpha: float = 0.9,
    colormap: str | Colormap = COLORMAP,
    scale: str | float = "each",
    channels: int | Sequence[int] | None = None,
) -> Axes:
    """Draws one relevance map over its image in grey. Stronger relevance is more opaque.

    Args:
        relevance: One map, as in `heatmap`. If its size differs from the image's, as for the relevance
            of an inner layer, it is stretched over the image.
        image: One image, `(height, width, 3)`, `(height, width, 1)` or `(height, width)`: uint8 in
            0..255, or float in 0..1 or in 0..255, as returned by `keras.utils.img_to_array`.
        ax: As in `heatmap`.
        percentile: As in `heatmap`.
        colorbar: As in `heatmap`.
        title: As in `heatmap`.
        channel_axis: The axis of the channels of `relevance`, as in `heatmap`.
        alpha: The opacity of the strongest relevance, from 0 to 1. Zero relevance is transparent.
        colormap: As in `heatmap`.
        scale: As in `heatmap`.
        channels: As in `heatmap`.

    Returns:
        The axes.

    Raises:
        InputError: As for `heatmap`, or `alpha` is not in 0..1.

    Example:
        >>> image = np.zeros((8, 8, 3), np.uint8)
        >>> axes = rap_keras.plot.overlay(np.eye(8), image)
        >>> len(axes.images)
        2
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"Expected alpha from 0 to 1, got {alpha}.", "alpha")
    spatial = channel_sum(relevance, channel_axis)
    grey = as_grey(as_image(picked(image, channels)))
    ax = prepared(ax, title)
    height, width = grey.shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    # The image uses light grey only, because both ends of the colour map are dark.
    ax.imshow(grey, cmap="gray", vmin=-0.5, vmax=1.0, extent=extent, **PIXELS)
    return _draw(ax, spatial, percentile, colormap, colorbar, scale, extent, alpha)


def _draw(
    ax: Axes,
    spatial: Array,
    percentile: float,
    colormap: str | Colormap,
    colorbar: bool,
    scale: str | float,
    extent: tuple[float, float, float, float] | None = None,
    alpha: float | None = None,
) -> Axes:
    """Draws a map. With `alpha`, stronger relevance is more opaque."""
    low, high = color_scale(spatial, percentile, scale)
    drawn = ax.imshow(
        spatial,
        cmap=colors_of(colormap),
        norm=Normalize(low, high),
        alpha=None if alpha is None else alpha * np.minimum(np.abs(spatial) / high, 1.0),
        extent=extent,
        **PIXELS,
    )
    if colorbar:
        add_colorbar(ax, drawn)
    return ax


def grid(
    images: ArrayLike | None,
    maps: Mapping[str, ArrayLike],
    percentile: float = PERCENTILE,
    colorbar: bool = False,
    channel_axis: int | None = -1,
    row_titles: Sequence[str] | None = None,
    over_image: bool = False,
    regions: Sequence[ArrayLike | None] | None = None,
    colormap: str | Colormap = COLORMAP,
    caption: str | None = None,
    scale: str | float = "each",
    channels: int | Sequence[int] | None = None,
) -> Figure:
    """Draws images and their maps as a table: one row per image, one column per method.

    By default each map has a separate colour scale, because the units of two methods can differ.

    Args:
        images: `(n, height, width, 3)`, `(n, height, width, 1)` or `(n, height, width)`, with values as
            in `overlay`. None draws only the maps.
        maps: The maps of all images for each method, `(n, height, width, channels)` or
            `(n, height, width)`.
        percentile: As in `heatmap`.
        colorbar: Whether every map gets a colour bar.
        channel_axis: The axis of the channels in one map, without the batch axis.
        row_titles: The title of each row, which may have several lines.
        over_image: Whether to draw the maps over the images in grey, as by `overlay`.
        regions: The explained region of each image, as in `explanation`.
        colormap: As in `heatmap`.
        caption: A line above the figure.
        scale: As in `heatmap`.
        channels: As in `heatmap`.

    Returns:
        The figure.

    Raises:
        InputError: As for `heatmap`, or the numbers of images, maps and titles differ.

    Example:
        >>> images = np.zeros((2, 8, 8, 3), np.uint8)
        >>> figure = rap_keras.plot.grid(images, {"ones": np.ones((2, 8, 8))})
        >>> len(figure.axes)
        4
    """
    if not isinstance(maps, Mapping):
        raise InputError(
            "Expected maps as a dict from titles to the maps of all images, such as "
            f'{{"rap": relevance}}, got {type(maps).__name__}.'
        )
    columns = {method: np.asarray(batch) for method, batch in maps.items()}
    if images is None and over_image:
        raise InputError("Expected images for over_image=True, got none: pass them.", "images")
    image_batch = np.asarray(next(iter(columns.values()), ()) if images is None else images)
    if images is not None:
        image_batch = in_one_range(picked(image_batch, channels, axes=4))
    count = len(image_batch) if image_batch.ndim in (3, 4) else 0
    if count == 0:
        raise InputError(
            "Expected a batch of images, (n, height, width) or (n, height, width, channels), "
            f"got an array of shape {image_batch.shape}."
        )
    for method, batch in columns.items():
        if batch.ndim not in (3, 4) or len(batch) != count:
            raise InputError(
                f"Expected the maps of {counted(count, 'image')} of each method, (n, height, width, "
                f"channels) or (n, height, width), got shape {batch.shape} for {method!r}."
            )
    for argument, given in (("row_titles", row_titles), ("regions", regions)):
        if given is not None and len(given) != count:
            raise InputError(
                f"Expected {argument} for {counted(count, 'image')}, got {len(given)}.", argument
            )

    axes_of = {name: None if b.ndim == 3 else channel_axis for name, b in columns.items()}
    each = (channel_sum(one, axes_of[name]) for name, batch in columns.items() for one in batch)
    scale = common_scale(scale, each, percentile)
    first = 0 if images is None else 1
    axis = channel_axis if images is None else -1
    down, across = panel_size(image_batch.shape[1:], axis, colorbar)
    names = [
        "\n".join(wrapped(line, down, 4) for line in name.split("\n")) for name in row_titles or ()
    ]
    height = BESIDE_BARS if colorbar else 1
    figure, axes = panels(count, first + len(columns), caption, height, names)
    for row in range(count):
        if images is not None:
            draw_image(axes[row, 0], image_batch[row], "image" if row == 0 else None)
            outline(axes[row, 0], regions[row] if regions else None, image_batch.shape[1:3])
        if names:
            axes[row, 0].set_ylabel(names[row], fontsize=FONT_SIZE, parse_math=False)
        for column, (method, batch) in enumerate(columns.items(), start=first):
            heatmap(
                batch[row],
                image=image_batch[row] if over_image else None,
                ax=axes[row, column],
                percentile=percentile,
                colorbar=colorbar,
                title=wrapped(method, across, 4) if row == 0 else None,
                channel_axis=axes_of[method],
                colormap=colormap,
                scale=scale,
            )
    return figure


def explanation(
    relevance: ArrayLike,
    image: ArrayLike,
    percentile: float = PERCENTILE,
    title: str | None = None,
    channel_axis: int | None = -1,
    region: ArrayLike | None = None,
    colormap: str | Colormap = COLORMAP,
    caption: str | None = None,
    scale: str | float = "each",
    channels: int | Sequence[int] | None = None,
) -> Figure:
    """Draws an image, its relevance map with a colour bar, and the map over the image.

    Args:
        relevance: One map, as in `heatmap`.
        image: One image, as in `overlay`.
        percentile: As in `heatmap`.
        title: The title of the map. None: "map".
        channel_axis: As in `heatmap`.
        region: The explained region of the output, a boolean array `(height, width)` of any size. It is
            outlined in the image and in the overlay.
        colormap: As in `heatmap`.
        caption: A line above the figure, such as the model, the class, its logit and probability.
        scale: As in `heatmap`.
        channels: As in `heatmap`.

    Returns:
        The figure.

    Raises:
        InputError: As for `overlay`, or the region is not a boolean array `(height, width)`.

    Example:
        >>> image = rap_keras.datasets.cluttered_digits(1).images[0]
        >>> relevance = np.random.default_rng(0).normal(size=image.shape)
        >>> figure = rap_keras.plot.explanation(relevance, image, title="noise")
        >>> [axes.get_title() for axes in figure.axes][:3]
        ['image', 'noise', 'map over image']
    """
    pixels = as_image(picked(image, channels))
    title = wrapped("map" if title is None else title, panel_size(pixels.shape, colorbar=True)[1])
    figure, axes = panels(1, 3, caption, 0.9)
    left, middle, right = axes[0]
    draw_image(left, pixels, "image")
    options: dict[str, Any] = {
        "percentile": percentile,
        "channel_axis": channel_axis,
        "colormap": colormap,
        "scale": scale,
    }
    heatmap(relevance, ax=middle, title=title, colorbar=True, **options)
    overlay(relevance, pixels, ax=right, title="map over image", **options)
    for ax in (left, right):
        outline(ax, region, pixels.shape[:2])
    return figure
