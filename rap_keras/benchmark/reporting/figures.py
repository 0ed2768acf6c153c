"""The figures of the report."""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rap_keras import plot
from rap_keras.benchmark.metrics import Column, columns, of_protocol
from rap_keras.benchmark.reporting.document import Image
from rap_keras.benchmark.reporting.numbers import format_p
from rap_keras.benchmark.reporting.tables import marked, note
from rap_keras.benchmark.reporting.words import colours
from rap_keras.benchmark.statistics import Json
from rap_keras.benchmark.store import Maps
from rap_keras.plot.drawing import PANEL_INCHES, PERCENTILE, NotebookFigure
from rap_keras.support.text import printable

# The page of heat maps shows more images.
MOST_ROWS = 3
DPI = 105
WIDEST = 1600
LARGEST = 200_000
QUALITIES = ((WIDEST, 64), (1280, 64), (1280, 32), (960, 64), (960, 32), (800, 32))
SAMPLE = 30_000  # pixels from which the colours are chosen
# Heat maps: the height of letters on a page of `PAGE` pixels, and the columns with upright titles.
PAGE, LETTERS, UPRIGHT = 960, 11, 11
# The colours of tab10 without grey, which is used for controls, and three dark colours.
COLORS = (
    *("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf"),
    *("#bcbd22", "#08306b", "#00441b", "#3f007d"),
)
CONTROL_COLORS = ("0.15", "0.45", "0.65")
MARKERS = "osD^vP<X>*hpd"
MARKERS_PER_CURVE = 7

MapsOfImages = Mapping[int, Maps]


def draw_figures(
    protocol: Json, summary: Json, images: Sequence[Json], maps: MapsOfImages
) -> Iterator[tuple[Image, Figure]]:
    """The figures of the report, where there is something to draw, with their blocks."""
    if maps:
        caption = (
            f"Heat maps of the first images, as in Fig. 5 of arXiv 1904.00605. "
            f"{colours(protocol['methods'])} Each map has a separate colour scale, which ends at the "
            f"{PERCENTILE}th percentile of its absolute values."
        )
        image = Image("figures/heatmaps.png", "Heat maps", caption)
        yield image, heatmap_figure(protocol, images, maps)
    for metric in of_protocol(protocol):
        if (curve := metric.curve) is None:
            continue
        caption = (
            f"Mean accuracy and mean logit of the target while pixels are replaced, the {curve.first} "
            "relevant first (as in Fig. 7 of arXiv 1904.00605). The curves of good methods stay "
            f"{curve.good}. Bands show one standard error; dashed lines are controls."
        )
        title = f"Perturbation: {curve.first} relevant pixels first ({curve.title})"
        image = Image(f"figures/{metric.name}.png", title, caption)
        yield image, perturbation_figure(protocol, summary, metric.name)
    measured = marked(columns(of_protocol(protocol)), summary)
    ranked = [c for c in measured if summary["ranks"].get(c.quantity)]
    if ranked:
        caption = (
            "Mean rank of each method over the images where all methods have a value; 1 is the best. "
            "Methods whose bars do not overlap differ by more than the critical difference (Nemenyi's "
            "test at the 0.05 level, as in Demsar 2006). The p-value is from Friedman's test that all "
            "methods rank equally."
        )
        caption = " ".join([caption, *(paragraph.text for paragraph in note(ranked))])
        yield Image("figures/ranks.png", "Ranks", caption), ranks_figure(summary, ranked)


def heatmap_figure(protocol: Json, images: Sequence[Json], maps: MapsOfImages) -> Figure:
    """Draws the first images and their heat maps, one image per row, as in the paper's Fig. 5.

    A method is drawn if all of these images have its map.
    """
    positions = sorted(maps)[:MOST_ROWS]
    maps = {position: maps[position] for position in positions}
    names = {record["position"]: record["name"] for record in images}
    titles = [
        method["title"]
        for method in protocol["methods"]
        if all(method["title"] in maps[position] for position in positions)
    ]
    has_photos = all("" in maps[position] for position in positions)
    figure = plot.grid(
        _stacked([maps[position][""] for position in positions], 255) if has_photos else None,
        {title: _stacked([maps[position][title] for position in positions], 0) for title in titles},
    )
    rows = [names.get(position, str(position)) for position in positions]
    _label_heatmaps(figure, rows, ["image", *titles] if has_photos else titles)
    return figure


def _label_heatmaps(figure: Figure, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Labels rows and columns in letters that stay readable on a page, however wide the figure is."""
    width, height = figure.get_size_inches()
    letter = max(8.3 / 72, LETTERS * width / PAGE)  # the size of letters in inches
    room = int(0.97 * PANEL_INCHES / (0.55 * letter))
    upright = len(columns) <= UPRIGHT
    titles = [_label(title, room if upright else 24) for title in columns]
    names = [_label(name, room) for name in rows]
    for ax, title in zip(figure.axes, titles, strict=False):
        ax.set_title(title, fontsize=72 * letter, rotation=0 if upright else 90)
    for ax, name in zip(figure.axes[:: len(columns)], names, strict=True):
        ax.set_ylabel(name, fontsize=72 * letter)
    lines = [title.split("\n") for title in titles]
    longest = max(len(line) for title in lines for line in title)
    above = 1.25 * max(map(len, lines)) if upright else 0.6 * longest
    left = max(name.count("\n") + 1 for name in names) * 1.25
    figure.set_size_inches(width + left * letter, height + above * letter)


def perturbation_figure(protocol: Json, summary: Json, name: str) -> Figure:
    """Draws accuracy and logit over the share of replaced pixels, as in the paper's Fig. 7.

    For images of several sizes it is the share of the steps. Each method is a line with a band of one
    standard error; controls are dashed. `name` is "lerf" or "morf".
    """
    shares = 100 * np.asarray(protocol["perturbation"]["fractions"], dtype=np.float64)
    labels = [_label(title, 32) for title in summary["methods"]]
    lines = sum(label.count("\n") + 1 for label in labels)
    figure = NotebookFigure(figsize=(10.5, max(4.2, 0.25 * lines)), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    styles = _styles(summary, len(shares))
    for title, method in summary["methods"].items():
        curves = method["curves"][name]
        _draw_curve(left, shares, curves["accuracy"], 100, styles[title])
        _draw_curve(right, shares, curves["logit"], 1, styles[title])
    one_size = protocol["perturbation"].get("pixels_per_step") is not None
    left.set_ylabel("accuracy (%)")
    right.set_ylabel("logit of the target")
    for ax in (left, right):
        ax.set_xlabel("replaced pixels (%)" if one_size else "steps (%)")
        ax.grid(color="0.9")
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(left.lines, labels, loc="outside right center", handlelength=3.5)
    return figure


def ranks_figure(summary: Json, ranked: Sequence[Column]) -> Figure:
    """Draws mean ranks with bars of the critical difference, a panel per metric (Demsar 2006)."""
    wide = min(2, len(ranked))
    high = -(-len(ranked) // wide)
    number = max(len(summary["ranks"][c.quantity]["methods"]) for c in ranked)
    size = (5.25 * wide, high * (1.1 + 0.28 * number))
    figure = NotebookFigure(figsize=size, dpi=DPI, layout="constrained")
    places = figure.add_gridspec(high, 2 * wide)
    for number, column in enumerate(ranked):
        # The last panel is centred if their number is odd.
        left = 2 * (number % wide) + (number == len(ranked) - 1 and len(ranked) % wide)
        ax = figure.add_subplot(places[number // wide, left : left + 2])
        found = summary["ranks"][column.quantity]
        titles = sorted(found["methods"], key=lambda title: found["methods"][title], reverse=True)
        half = found["critical_difference"] / 2
        for row, title in enumerate(titles):
            color = COLORS[0] if title == summary["reference"] else "0.3"
            style: dict[str, Any] = {"fmt": "o", "color": color, "capsize": 3, "linewidth": 1.8}
            ax.errorbar(found["methods"][title], row, xerr=half, **style)
        ax.set_yticks(range(len(titles)), [_label(title, 28) for title in titles])
        p = format_p(found["p_value"])
        ax.set_title(f"{column.title}: {found['images']} images, p {p}", fontsize="medium")
        ax.set_xlabel("mean rank")
        ax.grid(axis="x", color="0.9")
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _styles(summary: Json, points: int) -> dict[str, dict[str, Any]]:
    """How each line is drawn. Two dozen lines all look different; the first method is on top."""
    colors, controls, markers = cycle(COLORS), cycle(CONTROL_COLORS), cycle(MARKERS)
    every = max(1, points // MARKERS_PER_CURVE)
    styles = {}
    for index, (title, method) in enumerate(summary["methods"].items()):
        control, place = method["control"], index / len(summary["methods"])
        styles[title] = {
            "color": next(controls if control else colors),
            "marker": next(markers),
            "linestyle": "--" if control else "-",
            "linewidth": 2.4 if title == summary["reference"] else 1.4,
            "markersize": 5,
            # The markers of curves that overlap are next to each other.
            "markevery": (int(place * every), every),
            "zorder": 3 - place,
        }
    return styles


def _draw_curve(
    ax: Axes, shares: NDArray[np.float64], curve: Json, scale: float, style: Json
) -> None:
    values = scale * np.array(curve["value"], dtype=np.float64)
    errors = scale * np.array(curve["standard_error"], dtype=np.float64)
    ax.plot(shares, values, **style)
    if np.isfinite(errors).any():
        band = {"color": style["color"], "alpha": 0.13, "linewidth": 0}
        ax.fill_between(shares, values - errors, values + errors, zorder=1, **band)


def _stacked(arrays: Sequence[NDArray[Any]], filling: float) -> NDArray[Any]:
    """Stacks arrays that may differ in size, padded at the right and the bottom."""
    height, width = (max(array.shape[axis] for array in arrays) for axis in (0, 1))
    filled = []
    for array in arrays:
        margins = [(0, height - array.shape[0]), (0, width - array.shape[1])]
        margins += [(0, 0)] * (array.ndim - 2)
        filled.append(np.pad(array, margins, constant_values=filling))
    return np.stack(filled)


def _label(text: str, width: int = 22) -> str:
    """Text for a figure, wrapped to a width in letters, without formulas."""
    spaced = printable(text).replace(":", ": ").replace("_", "_ ")  # where lines may end
    lines = textwrap.wrap(spaced, width) or [""]
    joined = "\n".join(line.replace(": ", ":").replace("_ ", "_") for line in lines)
    return joined.replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file for a page, the same at every run."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    with PIL.Image.open(buffer) as image:
        return compact_png(image.convert("RGB"))


def compact_png(image: PIL.Image.Image) -> bytes:
    """An RGB image as a PNG file with a palette, of at most `WIDEST` pixels across and `LARGEST` bytes.

    If the file is too large, it gets fewer colours, and then fewer pixels. Only the smallest of
    `QUALITIES` may be larger than `LARGEST`.
    """
    data = b""
    for width, colors in QUALITIES:
        small = image
        if image.width > width:
            small = image.resize((width, round(image.height * width / image.width)))
        buffer = io.BytesIO()
        _with_palette(small, colors).save(buffer, "PNG", optimize=True)
        data = buffer.getvalue()
        if len(data) <= LARGEST:
            break
    return data


def _with_palette(image: PIL.Image.Image, colors: int) -> PIL.Image.Image:
    """The image in white, which stays white, and a few colours, chosen from a sample of its pixels."""
    pixels = np.asarray(image)
    flat = pixels.reshape(-1, 3)
    sample = np.ascontiguousarray(flat[:: -(-len(flat) // SAMPLE)])
    chosen = PIL.Image.fromarray(sample[np.newaxis]).quantize(
        colors - 1, PIL.Image.Quantize.MAXCOVERAGE, kmeans=1
    )
    palette = PIL.Image.new("P", (1, 1))
    palette.putpalette([255, 255, 255, *(chosen.getpalette() or ())])
    # Dithering would add noise to plain areas.
    places = np.array(image.quantize(palette=palette, dither=PIL.Image.Dither.NONE))
    places[(pixels == 255).all(axis=2)] = 0  # Pillow may choose a colour that is almost white
    exact = PIL.Image.fromarray(places, "P")
    exact.putpalette(palette.getpalette() or ())
    return exact
