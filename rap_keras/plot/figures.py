"""Maps, overlays, explanations and grids of them."""

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
    Array,
    add_colorbar,
    as_grey,
    as_image,
    channel_sum,
    color_scale,
    colors_of,
    draw_image,
    outline,
    panels,
    prepared,
    room,
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
) -> Axes:
    """Draws one relevance map, its channels summed.

    The scale is symmetric, so zero is white whatever the map holds; a map of zeros is all white.

    Args:
        relevance: One map, `(height, width, channels)`, or `(height, width)` without any channels.
        image: If given, the map is drawn over it as `overlay` does: where relevance is zero, the
            image shows in grey. See `overlay` for what an image may be.
        ax: The axes to draw on; default: those of a new figure.
        percentile: The colours saturate at this percentile (above 0, up to 100) of `|relevance|`; at its
            maximum where the percentile is zero. 100: at the maximum, which shows the extremes and
            little else of a photograph's map.
        colorbar: Whether to add a colour bar.
        title: The title of the axes.
        channel_axis: The axis of the channels, where there are any.
        colormap: A colour map of matplotlib, by name or as it is, whose middle stands for zero:
            "seismic", "RdBu_r", "PuOr_r", ...

    Raises:
        InputError: If the map is not a single one, or not finite, or the image is not an image.
    """
    if image is not None:
        return overlay(
            relevance, image, ax, percentile, colorbar, title, channel_axis, colormap=colormap
        )
    spatial = channel_sum(relevance, channel_axis)
    return _draw(prepared(ax, title), spatial, percentile, colormap, colorbar)


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
) -> Axes:
    """Draws one relevance map over its image in grey, the more opaque the stronger the relevance.

    Args:
        relevance: One map, as in `heatmap`. Where its resolution is not the image's, as for the
            relevance of an inner layer, it is stretched over the image.
        image: One image, `(height, width, 3)`, `(height, width, 1)` or `(height, width)`: uint8 in
            0..255, or float in 0..1 or, as `keras.utils.img_to_array` gives it, in 0..255.
        ax: As in `heatmap`.
        percentile: As in `heatmap`.
        colorbar: As in `heatmap`.
        title: As in `heatmap`.
        channel_axis: The axis of the channels of `relevance`, as in `heatmap`.
        alpha: The opacity (0..1) of the strongest relevance; that of zero is always 0.
        colormap: As in `heatmap`.

    Raises:
        InputError: As for `heatmap`, or if `alpha` is not in 0..1.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha is an opacity from 0 to 1, not {alpha}.")
    spatial = channel_sum(relevance, channel_axis)
    grey = as_grey(as_image(image))
    ax = prepared(ax, title)
    height, width = grey.shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    # The image keeps to the light half: both ends of the colour map are dark.
    ax.imshow(grey, cmap="gray", vmin=-0.5, vmax=1.0, interpolation="nearest", extent=extent)
    return _draw(ax, spatial, percentile, colormap, colorbar, extent=extent, alpha=alpha)


def _draw(
    ax: Axes,
    spatial: Array,
    percentile: float,
    colormap: str | Colormap,
    colorbar: bool,
    extent: tuple[float, float, float, float] | None = None,
    alpha: float | None = None,
) -> Axes:
    """Draws a map; with `alpha`, the more opaque the stronger the relevance."""
    low, high = color_scale(spatial, percentile)
    drawn = ax.imshow(
        spatial,
        cmap=colors_of(colormap),
        norm=Normalize(low, high),
        alpha=None if alpha is None else alpha * np.minimum(np.abs(spatial) / high, 1.0),
        interpolation="nearest",
        extent=extent,
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
) -> Figure:
    """Draws images and their maps as a table: a row for each image, a column for each method.

    Each map has a scale of its own: the units of two methods need not agree.

    Args:
        images: `(n, height, width, 3)`, `(n, height, width, 1)` or `(n, height, width)`, of values
            as in `overlay`; None leaves their column out.
        maps: For each method the maps of all images, `(n, height, width, channels)`, or
            `(n, height, width)` where the channels are summed already.
        percentile: As in `heatmap`.
        colorbar: Whether every map gets a colour bar.
        channel_axis: The axis of the channels in one map (without the batch axis).
        row_titles: What to write in front of each row, in lines.
        over_image: Whether the maps are drawn over the image in grey, as by `overlay`.
        regions: What is explained of each image, as in `explanation`: outlined in the images.
        colormap: As in `heatmap`.
        caption: A line above the figure.

    Raises:
        InputError: As for `heatmap`, or if there is not one map and one title for each image.
    """
    if not isinstance(maps, Mapping):
        raise InputError(
            "Expected maps as a dict of titles and the maps of all images, such as "
            f'{{"rap": relevance}}, got {type(maps).__name__}.'
        )
    columns = {method: np.asarray(batch) for method, batch in maps.items()}
    if images is None and over_image:
        raise InputError("A grid of maps over their images needs the images.")
    image_batch = np.asarray(next(iter(columns.values()), ()) if images is None else images)
    count = len(image_batch) if image_batch.ndim in (3, 4) else 0
    if count == 0:
        raise InputError(
            "A grid needs a batch of images, (n, height, width) or (n, height, width, channels), "
            f"not an array of shape {image_batch.shape}."
        )
    for method, batch in columns.items():
        if batch.ndim not in (3, 4) or len(batch) != count:
            raise InputError(
                f"A grid of {counted(count, 'image')} needs as many maps of each method, (n, height, "
                f"width, channels) or (n, height, width), but those of {method!r} have the shape "
                f"{batch.shape}."
            )
    for what, given in (("row titles", row_titles), ("regions", regions)):
        if given is not None and len(given) != count:
            raise InputError(
                f"A grid of {counted(count, 'image')} cannot have {len(given)} {what}."
            )

    first = 0 if images is None else 1
    axis = channel_axis if images is None else -1
    down, across = room(image_batch.shape[1:], axis, colorbar)
    figure, axes = panels(count, first + len(columns), caption, BESIDE_BARS if colorbar else 1)
    for row in range(count):
        if images is not None:
            draw_image(axes[row, 0], image_batch[row], "image" if row == 0 else None)
            outline(axes[row, 0], regions[row] if regions else None, image_batch.shape[1:3])
        if row_titles is not None:
            title = "\n".join(wrapped(line, down, 4) for line in row_titles[row].split("\n"))
            axes[row, 0].set_ylabel(title, fontsize=FONT_SIZE, parse_math=False)
        for column, (method, batch) in enumerate(columns.items(), start=first):
            heatmap(
                batch[row],
                image=image_batch[row] if over_image else None,
                ax=axes[row, column],
                percentile=percentile,
                colorbar=colorbar,
                title=wrapped(method, across) if row == 0 else None,
                channel_axis=None if batch.ndim == 3 else channel_axis,
                colormap=colormap,
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
) -> Figure:
    """Draws an image, its relevance map with a colour bar, and the map over the image.

    Args:
        relevance: One map, as in `heatmap`.
        image: One image, as in `overlay`.
        percentile: As in `heatmap`.
        title: The title of the map.
        channel_axis: As in `heatmap`.
        region: The positions of the output that are explained, a boolean array `(height, width)` of any
            size: outlined in the image and in the map over it.
        colormap: As in `heatmap`.
        caption: A line above the figure, such as the class, its logit and the model.

    Raises:
        InputError: As for `overlay`, or the region is no such array.

    Example:
        >>> image = rap_keras.datasets.cluttered_digits(1).images[0]
        >>> relevance = np.random.default_rng(0).normal(size=image.shape)
        >>> figure = rap_keras.plot.explanation(relevance, image, title="noise")
        >>> [axes.get_title() for axes in figure.axes][:3]
        ['image', 'noise', 'map over image']
    """
    pixels = as_image(image)
    if title is not None:
        title = wrapped(title, room(pixels.shape, colorbar=True)[1])
    figure, axes = panels(1, 3, caption, 0.9)
    left, middle, right = axes[0]
    draw_image(left, pixels, "image")
    options: dict[str, Any] = {
        "percentile": percentile,
        "channel_axis": channel_axis,
        "colormap": colormap,
    }
    heatmap(relevance, ax=middle, title=title, colorbar=True, **options)
    overlay(relevance, image, ax=right, title="map over image", **options)
    for ax in (left, right):
        outline(ax, region, pixels.shape[:2])
    return figure
