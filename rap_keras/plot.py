"""Relevance maps as pictures: red speaks for the class, blue against it, white is exactly zero.

Every function draws with matplotlib's object interface: without a display, without pyplot and its
global list of figures. Save with `figure.savefig(...)` (`axes.figure.savefig(...)`). A notebook shows
a figure that is the last value of a cell.
"""

import difflib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError

COLORMAP = "seismic"
MAX_LAYERS = 12
PANEL_INCHES = 2.0
# Beyond these, far beyond float32, matplotlib's arithmetic over- or underflows: a map of less than
# the smallest is drawn as zero, one of more than the largest is refused.
SMALLEST, LARGEST = 1e-250, 1e250
FRAME_COLOR = "0.6"

Array = NDArray[Any]


class NotebookFigure(Figure):
    """A figure that notebooks show; without pyplot they would show its name only."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def heatmap(
    relevance: ArrayLike,
    image: ArrayLike | None = None,
    ax: Axes | None = None,
    percentile: float | None = None,
    colorbar: bool = False,
    title: str | None = None,
    channel_axis: int | None = -1,
) -> Axes:
    """Draws one relevance map, its channels summed.

    The scale is symmetric, so zero is white whatever the map holds; a map of zeros is all white.

    Args:
        relevance: One map, `(height, width, channels)`; see `channel_axis`.
        image: If given, the map is drawn over it as `overlay` does: where relevance is zero, the
            image shows in grey. See `overlay` for what an image may be.
        ax: The axes to draw on; default: those of a new figure.
        percentile: The colours saturate at this percentile (above 0, up to 100) of `|relevance|`;
            default: at its maximum, which is also used where the percentile is zero.
        colorbar: Whether to add a colour bar.
        title: The title of the axes.
        channel_axis: The axis of the channels; `None` for a map `(height, width)` without any.

    Returns:
        The axes drawn on.

    Raises:
        InputError: If the map is not a single one, or not finite, or the image is not an image.
    """
    if image is not None:
        return overlay(
            relevance,
            image,
            ax=ax,
            percentile=percentile,
            colorbar=colorbar,
            title=title,
            channel_axis=channel_axis,
        )
    spatial = _channel_sum(relevance, channel_axis)
    norm = Normalize(*_scale(spatial, percentile))
    ax = _prepare(ax, title)
    drawn = ax.imshow(spatial, cmap=COLORMAP, norm=norm, interpolation="nearest")
    if colorbar:
        _add_colorbar(ax, drawn)
    return ax


def overlay(
    relevance: ArrayLike,
    image: ArrayLike,
    ax: Axes | None = None,
    percentile: float | None = None,
    colorbar: bool = False,
    title: str | None = None,
    channel_axis: int | None = -1,
    alpha: float = 0.9,
) -> Axes:
    """Draws one relevance map over its image in grey, the more opaque the stronger the relevance.

    Args:
        relevance: One map, as in `heatmap`. Where its resolution is not the image's, as for the
            relevance of an inner layer, it is stretched over the image.
        image: One image, `(height, width, 3)`, `(height, width, 1)` or `(height, width)`: uint8 in
            0..255 or float in 0..1.
        ax: As in `heatmap`.
        percentile: As in `heatmap`.
        colorbar: As in `heatmap`.
        title: As in `heatmap`.
        channel_axis: The axis of the channels of `relevance`, as in `heatmap`.
        alpha: The opacity (0..1) of the strongest relevance; that of zero is always 0.

    Returns:
        The axes drawn on.

    Raises:
        InputError: As for `heatmap`, or if `alpha` is not in 0..1.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha is an opacity from 0 to 1, not {alpha}.")
    spatial = _channel_sum(relevance, channel_axis)
    grey = _grey(_image(image))
    low, high = _scale(spatial, percentile)
    ax = _prepare(ax, title)
    height, width = grey.shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    # The image keeps to the light half: both ends of the colour map are dark.
    ax.imshow(grey, cmap="gray", vmin=-0.5, vmax=1.0, interpolation="nearest", extent=extent)
    drawn = ax.imshow(
        spatial,
        cmap=COLORMAP,
        norm=Normalize(low, high),
        alpha=alpha * np.minimum(np.abs(spatial) / high, 1.0),
        interpolation="nearest",
        extent=extent,
    )
    if colorbar:
        _add_colorbar(ax, drawn)
    return ax


def grid(
    images: ArrayLike | None,
    maps: Mapping[str, ArrayLike],
    percentile: float | None = None,
    colorbar: bool = False,
    channel_axis: int | None = -1,
    row_titles: Sequence[str] | None = None,
    over_image: bool = False,
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
        row_titles: What to write in front of each row.
        over_image: Whether the maps are drawn over the image in grey, as by `overlay`.

    Returns:
        The figure.

    Raises:
        InputError: As for `heatmap`, or if there is not one map and one title for each image.
    """
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
                f"A grid of {_images(count)} needs as many maps of each method, (n, height, width, "
                f"channels) or (n, height, width), but those of {method!r} have the shape "
                f"{batch.shape}."
            )
    if row_titles is not None and len(row_titles) != count:
        raise InputError(f"A grid of {_images(count)} cannot have {len(row_titles)} row titles.")

    first = 0 if images is None else 1
    figure, axes = _table(count, first + len(columns))
    for row in range(count):
        if images is not None:
            _draw_image(axes[row, 0], image_batch[row], "image" if row == 0 else None)
        if row_titles is not None:
            axes[row, 0].set_ylabel(row_titles[row], fontsize="small")
        for column, (method, batch) in enumerate(columns.items(), start=first):
            heatmap(
                batch[row],
                image=image_batch[row] if over_image else None,
                ax=axes[row, column],
                percentile=percentile,
                colorbar=colorbar,
                title=method if row == 0 else None,
                channel_axis=None if batch.ndim == 3 else channel_axis,
            )
    return figure


def explanation(
    relevance: ArrayLike,
    image: ArrayLike,
    percentile: float | None = None,
    title: str | None = None,
    channel_axis: int | None = -1,
) -> Figure:
    """Draws an image, its relevance map with a colour bar, and the map over the image.

    Args:
        relevance: One map, as in `heatmap`.
        image: One image, as in `overlay`.
        percentile: As in `heatmap`.
        title: The title of the map.
        channel_axis: As in `heatmap`.

    Returns:
        The figure.

    Raises:
        InputError: As for `overlay`.
    """
    figure, axes = _table(1, 3)
    left, middle, right = axes[0]
    _draw_image(left, np.asarray(image), "image")
    options: dict[str, Any] = {"percentile": percentile, "channel_axis": channel_axis}
    heatmap(relevance, ax=middle, title=title, colorbar=True, **options)
    overlay(relevance, image, ax=right, title="map over image", **options)
    return figure


def layers(
    layer_maps: Mapping[str, Any],
    image: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    percentile: float | None = None,
    colorbar: bool = False,
    channel_axis: int | None = -1,
    sample: int | None = None,
    max_columns: int = 6,
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

    Returns:
        The figure.

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

    panels = len(chosen) + (image is not None)
    rows = -(-panels // max_columns)
    figure, axes = _table(rows, -(-panels // rows))
    flat = list(axes.flat)
    for name, ax in zip(chosen, flat, strict=False):
        heatmap(
            _one(spatial[name], sample, name),
            ax=ax,
            percentile=percentile,
            colorbar=colorbar,
            title=name,
            channel_axis=channel_axis,
        )
    if image is not None:
        _draw_image(flat[len(chosen)], np.asarray(image), "image")
    for ax in flat[panels:]:
        ax.set_axis_off()
    return figure


def _channel_sum(relevance: ArrayLike, channel_axis: int | None) -> Array:
    """One map as a new finite float64 array (height, width)."""
    values = np.array(relevance)
    if values.dtype.kind not in "fiu":
        raise InputError(f"A relevance map is an array of real numbers, not of {values.dtype}.")
    values = values.astype(np.float64)
    if values.ndim != (2 if channel_axis is None else 3):
        expected = "(height, width)" if channel_axis is None else "(height, width, channels)"
        raise InputError(
            f"One relevance map is {expected}, but this array has the shape {values.shape}; "
            "channel_axis says where its channels are (None: nowhere), and a batch is drawn map "
            "by map or with grid."
        )
    if values.size == 0:
        raise InputError(f"A relevance map of shape {values.shape} is empty.")
    if channel_axis is not None:
        if not -3 <= channel_axis < 3:
            raise InputError(f"A map of three axes has no channel axis {channel_axis}.")
        with np.errstate(over="ignore", invalid="ignore"):
            values = values.sum(axis=channel_axis)
    # matplotlib computes with multiples of the limits, which must be finite as well.
    if not np.all(np.abs(values) < LARGEST):
        raise InputError(
            "The relevance map holds NaN, infinity or nearly that, which no colour stands for."
        )
    return values


def _scale(spatial: Array, percentile: float | None) -> tuple[float, float]:
    """The symmetric limits of the colours; never of width zero."""
    if percentile is not None and not 0 < percentile <= 100:
        raise InputError(f"A percentile is above 0 and at most 100, not {percentile}.")
    magnitude = np.abs(spatial)
    limit = float(magnitude.max())
    if percentile is not None:
        limit = float(np.percentile(magnitude, percentile)) or limit
    if limit < SMALLEST:
        limit = 1.0
    return -limit, limit


def _image(image: ArrayLike) -> Array:
    """One image as uint8 or float of the documented range, otherwise refused; never rescaled."""
    values = np.asarray(image)
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[-1] not in (1, 3)):
        raise InputError(
            "One image is (height, width), (height, width, 1) or (height, width, 3), but this "
            f"array has the shape {values.shape}."
        )
    if values.size == 0:
        raise InputError(f"An image of shape {values.shape} is empty.")
    if values.dtype == np.uint8:
        return values
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"An image is uint8 in 0..255 or float in 0..1, not {values.dtype}.")
    # Resizing overshoots by rounding errors; `not` makes NaN fail too.
    if not (values.min() >= -1e-5 and values.max() <= 1 + 1e-5):
        raise InputError(
            "A float image has values in 0..1 (a uint8 one in 0..255), but this one reaches from "
            f"{values.min():.4g} to {values.max():.4g}."
        )
    return np.clip(values, 0.0, 1.0)


def _grey(image: Array) -> Array:
    """The luma of an image as float in 0..1."""
    values = image / 255.0 if image.dtype == np.uint8 else image.astype(np.float64)
    if values.ndim == 2:
        return values
    if values.shape[-1] == 1:
        return values[..., 0]
    return values @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def _draw_image(ax: Axes, image: Array, title: str | None) -> None:
    image = _image(image)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    highest = 255 if image.dtype == np.uint8 else 1
    _prepare(ax, title)
    # Limits and map count for grey images only; colours are drawn as they are.
    ax.imshow(image, cmap="gray", vmin=0, vmax=highest, interpolation="nearest")


def _prepare(ax: Axes | None, title: str | None) -> Axes:
    """Axes without ticks, but with a frame: a white map has an edge."""
    if ax is None:
        ax = NotebookFigure(figsize=(4, 4), dpi=150, layout="compressed").add_subplot()
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color(FRAME_COLOR)
    if title is not None:
        ax.set_title(title, fontsize="small")
    return ax


def _table(rows: int, columns: int) -> tuple[Figure, Array]:
    size = (PANEL_INCHES * columns, PANEL_INCHES * rows + 0.2)
    figure = NotebookFigure(figsize=size, dpi=150, layout="compressed")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _add_colorbar(ax: Axes, drawn: Any) -> None:
    # A bar per axes takes its room from these axes alone, so that maps of a table stay aligned.
    bar = ax.figure.colorbar(drawn, ax=ax, fraction=0.046, pad=0.04)
    bar.ax.tick_params(labelsize="x-small")
    bar.ax.ticklabel_format(axis="y", scilimits=(-2, 3))
    bar.ax.yaxis.get_offset_text().set_fontsize("x-small")
    # The overlay's opacity is the map's, not the bar's.
    if bar.solids is not None:
        bar.solids.set_alpha(1.0)


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
    near = difflib.get_close_matches(name, drawable, n=3) or drawable[-3:]
    return f"There is no relevance of a layer {name!r}; there is of: {', '.join(near)}."


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
