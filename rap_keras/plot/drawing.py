"""Draws maps and images into axes."""

import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError
from rap_keras.plot.fonts import FONT_SIZE, families, shortened, without_warnings, wrapped
from rap_keras.support.text import did_you_mean, printable, shown

COLORMAP = "seismic"
# With the maximum, a few pixels would make the rest of a photograph's map white.
PERCENTILE = 99.5
SCALES = ("each", "shared")
STRETCHED = (1, 99)  # the percentiles of channels that become black and white
PANEL_INCHES = 2.0
LINE_INCHES = 0.14  # the height of a line of a title
BESIDE_BARS = 0.8  # the height of rows whose maps share their width with a colour bar
# How pixels are drawn, whatever the user's settings of matplotlib are.
PIXELS: dict[str, Any] = {"interpolation": "nearest", "origin": "upper"}
# Beyond these limits, which float32 cannot reach, matplotlib's arithmetic overflows or underflows. Maps
# below the smallest are drawn as zero; maps above the largest are rejected.
SMALLEST, LARGEST = 1e-250, 1e250
# The maximum of a float image in 0..255 is larger than this; that of an image in 0..1 is not.
DARKEST = 2
ROUNDING = 1e-5  # by which resizing can exceed the range
FRAME_COLOR = "0.6"
REGION_COLOR = "lime"  # not in the colour map, and not grey
BESIDE_BAR = 0.7  # the width of a map with a colour bar, relative to one without

Array = NDArray[Any]


class NotebookFigure(Figure):
    """A figure that notebooks show without pyplot, with fonts for any script."""

    def draw(self, renderer: Any) -> None:
        """Draws each text in installed fonts that have its characters."""
        for text in self.findobj(Text):
            words = text.get_text()
            if not words.isascii():
                text.set_fontfamily(families(words))
        with without_warnings():
            super().draw(renderer)

    def savefig(self, *arguments: Any, **options: Any) -> None:
        """Saves the figure, without warnings about characters that no font has."""
        with without_warnings():
            super().savefig(*arguments, **options)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def channel_sum(relevance: ArrayLike, channel_axis: int | None) -> Array:
    """Returns one map as a new finite float64 array (height, width)."""
    values = np.array(relevance)
    if values.dtype.kind not in "fiu":
        raise InputError(f"Expected a relevance map of real numbers, got dtype {values.dtype}.")
    values = values.astype(np.float64)
    if values.ndim == 2:
        channel_axis = None
    if values.ndim != (2 if channel_axis is None else 3):
        expected = "(height, width)" + (
            "" if channel_axis is None else " or (height, width, channels)"
        )
        raise InputError(
            f"Expected one relevance map {expected}, got an array of shape {values.shape}: set "
            "channel_axis to the axis of the channels (None if there is none), or draw a batch by grid."
        )
    if values.size == 0:
        raise InputError(f"Expected a relevance map with pixels, got the shape {values.shape}.")
    if channel_axis is not None:
        if not -3 <= channel_axis < 3:
            raise InputError(
                f"Expected channel_axis from -3 to 2, got {channel_axis}.", "channel_axis"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            values = values.sum(axis=channel_axis)
    # matplotlib uses multiples of the limits, which must also be finite.
    if not np.all(np.abs(values) < LARGEST):
        raise InputError(
            "Expected a relevance map of finite values, got NaN, infinity or nearly infinite values, "
            "which have no colour."
        )
    return values


def colors_of(colormap: str | Colormap) -> Colormap:
    """Returns a matplotlib colour map, which may be given by name."""
    if isinstance(colormap, Colormap):
        return colormap
    if colormap not in matplotlib.colormaps:
        hint = did_you_mean(str(colormap), matplotlib.colormaps)
        raise InputError(
            f"Expected colormap to be a colour map of matplotlib, such as {COLORMAP} or RdBu_r, got "
            f"{colormap!r}" + (f": {hint}" if hint else "."),
            "colormap",
        )
    return matplotlib.colormaps[colormap]


def read_scale(scale: Any) -> str | float:
    """Reads what sets the limits of the colours: "each", "shared" or a number."""
    if isinstance(scale, str) and scale in SCALES:
        return scale
    try:
        number = math.nan if isinstance(scale, bool) else float(scale)
    except (TypeError, ValueError):
        number = math.nan
    if not SMALLEST <= number < LARGEST:
        raise InputError(
            'Expected scale to be "each", "shared" or a number above 0, at which colours saturate, got '
            f"{shown(scale)}.",
            "scale",
        )
    return number


def common_scale(scale: Any, maps: Iterable[Array], percentile: float) -> str | float:
    """Returns the scale for each map of a figure, which is a number if they share it."""
    scale = read_scale(scale)
    if scale != "shared":
        return scale
    values = [one.ravel() for one in maps]
    return color_scale(np.concatenate(values), percentile)[1] if values else "each"


def color_scale(spatial: Array, percentile: float, scale: Any = "each") -> tuple[float, float]:
    """Returns the symmetric limits of the colours, which are never equal."""
    if not 0 < percentile <= 100:
        raise InputError(
            f"Expected percentile to be above 0 and at most 100, got {percentile}.", "percentile"
        )
    scale = read_scale(scale)
    if not isinstance(scale, str):
        return -scale, scale
    magnitude = np.abs(spatial)
    limit = float(np.percentile(magnitude, percentile)) or float(magnitude.max())
    if limit < SMALLEST:
        limit = 1.0
    return -limit, limit


def picked(image: ArrayLike, channels: int | Sequence[int] | None, axes: int = 3) -> Array:
    """Returns one or three channels of images, uint8 or floats in 0..1. Others are stretched.

    The last of the axes, of which a batch has 4, is that of channels: one in grey, or those of red,
    green and blue.
    """
    values = np.asarray(image)
    if channels is None:
        return values
    numbers = list(np.ravel(channels))
    count = values.shape[-1] if values.ndim == axes else 0
    known = all(isinstance(n, np.integer) and -count <= n < count for n in numbers)
    if len(numbers) not in (1, 3) or not known:
        raise InputError(
            f"Expected channels to be one or three of the {count} channels of the image, by number, got "
            f"{shown(channels)}.",
            "channels",
        )
    values = values[..., numbers]
    floats = np.issubdtype(values.dtype, np.floating)
    in_range = floats and values.min() >= 0 and values.max() <= 1
    if values.dtype == np.uint8 or in_range or not np.isfinite(values).all():
        return values
    low, high = np.percentile(values, STRETCHED, axis=(-3, -2), keepdims=True)
    return np.clip((values - low) / np.where(high > low, high - low, 1), 0, 1)


def as_image(image: ArrayLike) -> Array:
    """Returns one image as uint8, or as float in 0..1. Raises an error for values in other ranges."""
    values = np.asarray(image)
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[-1] not in (1, 3)):
        raise InputError(
            "Expected one image (height, width), (height, width, 1) or (height, width, 3), got an array "
            f"of shape {values.shape}"
            + (": choose what is shown by channels." if values.ndim == 3 else ".")
        )
    if values.size == 0:
        raise InputError(f"Expected an image with pixels, got the shape {values.shape}.")
    if values.dtype == np.uint8:
        return values
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"Expected an image as uint8 in 0..255 or float, got {values.dtype}.")
    values = in_one_range(values)
    low, high = values.min(), values.max()
    # `not` makes NaN fail too.
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise InputError(
            "Expected a float image with values in 0..1 or in 0..255, got values from "
            f"{low:.4g} to {high:.4g}: pass the pixels, not the model's input."
        )
    return np.clip(values, 0.0, 1.0)


def in_one_range(images: Array) -> Array:
    """Returns an image or a batch of floats in 0..255 in 0..1; other arrays unchanged.

    The range is that of the whole batch, because a dark image alone may look like one in 0..1.
    """
    if not np.issubdtype(images.dtype, np.floating) or not images.size:
        return images
    fits = images.min() >= -ROUNDING and DARKEST <= images.max() <= 255 + 100 * ROUNDING
    return images / 255 if fits else images


def as_grey(image: Array) -> Array:
    """Returns the luma of an image as float in 0..1."""
    values = image / 255.0 if image.dtype == np.uint8 else image.astype(np.float64)
    if values.ndim == 2:
        return values
    if values.shape[-1] == 1:
        return values[..., 0]
    return values @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def draw_image(ax: Axes, image: Array, title: str | None) -> None:
    """Draws an image."""
    image = as_image(image)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    highest = 255 if image.dtype == np.uint8 else 1
    prepared(ax, title)
    # The limits and the colour map only affect grey images.
    ax.imshow(image, cmap="gray", vmin=0, vmax=highest, **PIXELS)


def outline(ax: Axes, region: ArrayLike | None, shape: Sequence[int]) -> None:
    """Draws the edge of a region over an image of a `(height, width)`; None draws nothing.

    A region of another size is stretched over the image.
    """
    if region is None:
        return
    inside = np.asarray(region)
    if inside.dtype != bool or inside.ndim != 2:
        raise InputError(
            f"Expected region to be a boolean array (height, width), got {inside.dtype} of shape "
            f"{inside.shape}.",
            "region",
        )
    down, across = shape[0] / inside.shape[0], shape[1] / inside.shape[1]
    padded = np.pad(inside, 1)
    # An edge is between two pixels, one of them inside: above row y, or left of column x.
    y, x = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    flat = np.stack([[x, y], [x + 1, y]], 1)
    v, u = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    upright = np.stack([[u, v], [u, v + 1]], 1)
    edges = np.concatenate([flat, upright], 2).transpose(2, 1, 0)
    lines = edges * [across, down] - 0.5
    ax.add_collection(LineCollection(lines, colors="black", linewidths=2.0, capstyle="projecting"))
    ax.add_collection(LineCollection(lines, colors=REGION_COLOR, linewidths=1.0))


def prepared(ax: Axes | None, title: str | None) -> Axes:
    """Returns axes without ticks, but with a frame, so that a white map has an edge."""
    if ax is None:
        ax = NotebookFigure(figsize=(4, 4), dpi=150, layout="compressed").add_subplot()
        title = None if title is None else wrapped(title, 4 * BESIDE_BAR)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color(FRAME_COLOR)
    if title is not None:
        ax.set_title(printable(title), fontsize=FONT_SIZE, parse_math=False)
    return ax


def panel_size(
    shape: Sequence[int], channel_axis: int | None = -1, colorbar: bool = False
) -> tuple[float, float]:
    """Returns the height and width, in inches, of an image or a map of this shape in its panel."""
    sides = list(shape)
    if len(sides) == 3 and channel_axis is not None and -3 <= channel_axis < 3:
        del sides[channel_axis]
    inches = 0.85 * PANEL_INCHES / max(1, *sides[:2])  # margins take the rest
    inches *= BESIDE_BAR if colorbar else 1
    return sides[0] * inches, sides[1] * inches


def panels(
    rows: int,
    columns: int,
    caption: str | None = None,
    height: float = 1.0,
    row_titles: Sequence[str] = (),
) -> tuple[Figure, Array]:
    """Returns a figure with a table of axes. `height` is that of a row, relative to its width."""
    above = 0.2 if caption is None else 0.45
    left = LINE_INCHES * max((title.count("\n") + 1 for title in row_titles), default=0)
    size = (PANEL_INCHES * columns + left, height * PANEL_INCHES * rows + above)
    figure = NotebookFigure(figsize=size, dpi=150, layout="compressed")
    if caption is not None:
        words = shortened(caption, 0.98 * size[0])
        figure.suptitle(words, fontsize=FONT_SIZE, parse_math=False)
    return figure, figure.subplots(rows, columns, squeeze=False)


def add_colorbar(ax: Axes, drawn: Any) -> None:
    """Adds a colour bar without moving other axes."""
    # The bar takes space only from these axes, so that the maps of a table stay aligned.
    bar = ax.figure.colorbar(drawn, ax=ax, fraction=0.046, pad=0.04)
    bar.ax.tick_params(labelsize="x-small")
    bar.set_label("relevance", fontsize="x-small")
    bar.ax.ticklabel_format(axis="y", scilimits=(-2, 3))
    bar.ax.yaxis.get_offset_text().set_fontsize("x-small")
    # The opacity of an overlay is only for the map.
    if bar.solids is not None:
        bar.solids.set_alpha(1.0)
