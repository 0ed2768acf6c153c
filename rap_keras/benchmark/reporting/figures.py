"""The figures of the report."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rap_keras import plot
from rap_keras.benchmark.metrics import Column, chosen, columns
from rap_keras.benchmark.reporting.document import Image
from rap_keras.benchmark.reporting.numbers import format_p
from rap_keras.benchmark.reporting.words import colours
from rap_keras.benchmark.statistics import Json
from rap_keras.benchmark.store import Maps
from rap_keras.plot.drawing import PANEL_INCHES, PERCENTILE, NotebookFigure
from rap_keras.support.text import printable

# The page of heat maps shows more images.
MOST_ROWS = 3
DPI = 150
WIDEST = 1600
LARGEST = 200_000
QUALITIES = ((WIDEST, 256), (WIDEST, 64), (1280, 64), (1280, 32), (960, 32))
SAMPLE = 30_000  # pixels from which the colours are chosen
# Heat maps: the height of letters on a page of `PAGE` pixels, and the columns with upright titles.
PAGE, LETTERS, UPRIGHT = 1280, 12, 12
# Those of tab10, without the grey, which is for controls; and three dark ones.
COLORS = (
    *("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf"),
    *("#bcbd22", "#08306b", "#00441b", "#3f007d"),
)
CONTROL_COLORS = ("0.15", "0.45", "0.65")
MARKERS = "osD^vP<X>*hpd"
MARKERS_PER_CURVE = 7

MapsOfImages = Mapping[int, Maps]


@dataclass(frozen=True)
class _Drawn:
    """A figure with its place in the report."""

    title: str
    block: Image
    figure: Figure


def draw_figures(
    protocol: Json, summary: Json, images: Sequence[Json], maps: MapsOfImages
) -> list[_Drawn]:
    """The figures that the report shows, as far as there is something to draw."""
    figures = []
    if maps:
        caption = (
            "Images and their heat maps (in the manner of Fig. 5 of arXiv 1904.00605). "
            f"{colours(protocol['methods'])} Each map has a scale of its own; its colours saturate at "
            f"the {PERCENTILE}th percentile of the absolute values."
        )
        image = Image("figures/heatmaps.png", caption)
        figures.append(_Drawn("Heat maps", image, heatmap_figure(protocol, images, maps)))
    for metric in chosen(protocol["metrics"]):
        if (curve := metric.curve) is None:
            continue
        caption = (
            f"Accuracy and explained logit, means over the images, while pixels are replaced from the "
            f"{curve.first} relevant on (in the manner of Fig. 7 of arXiv 1904.00605): the curves of "
            f"good methods stay {curve.good}. Bands: one standard error. Dashed: controls."
        )
        image = Image(f"figures/{metric.name}.png", caption)
        drawn = perturbation_figure(protocol, summary, metric.name)
        title = f"Perturbation, {curve.first} relevant first ({curve.title})"
        figures.append(_Drawn(title, image, drawn))
    ranked = [c for c in columns(chosen(protocol["metrics"])) if summary["ranks"].get(c.quantity)]
    if ranked:
        caption = (
            "Mean rank of each method over the images where all have a value, 1 is the best. Methods "
            "whose bars do not overlap differ by more than the critical difference (Nemenyi's test at "
            "0.05, as in Demsar 2006); p is of Friedman's test, that all are alike."
        )
        image = Image("figures/ranks.png", caption)
        figures.append(_Drawn("Ranks", image, ranks_figure(summary, ranked)))
    return figures


def heatmap_figure(protocol: Json, images: Sequence[Json], maps: MapsOfImages) -> Figure:
    """Draws the first images and their heat maps, a row for each, in the manner of the paper's Fig. 5.

    A method is drawn if every image has its map.
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
    """Names rows and columns in letters that stay readable on a page, however wide the figure is."""
    width, height = figure.get_size_inches()
    letter = max(8.3 / 72, LETTERS * width / PAGE)  # the size of letters in inches
    room = int(0.93 * PANEL_INCHES / (0.6 * letter))
    upright = len(columns) <= UPRIGHT
    titles = [_label(title, room if upright else 24) for title in columns]
    names = [_label(name, room) for name in rows]
    for ax, title in zip(figure.axes, titles, strict=False):
        ax.set_title(title, fontsize=72 * letter, rotation=0 if upright else 90)
    for ax, name in zip(figure.axes[:: len(columns)], names, strict=True):
        ax.set_ylabel(name, fontsize=72 * letter)
    lines = [title.split("\n") for title in titles]
    above = max(map(len, lines)) * 1.25 if upright else 0.6 * max(map(len, sum(lines, [])))
    left = max(name.count("\n") + 1 for name in names) * 1.25
    figure.set_size_inches(width + left * letter, height + above * letter)


def perturbation_figure(protocol: Json, summary: Json, name: str) -> Figure:
    """Draws accuracy and logit over the share of replaced pixels, in the manner of the paper's Fig. 7.

    Each method is a line with a band of one standard error; controls are dashed. `name` is "lerf" or
    "morf".
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
    left.set_ylabel("accuracy (%)")
    right.set_ylabel("logit of the explained class")
    for ax in (left, right):
        ax.set_xlabel("replaced pixels (%)")
        ax.grid(color="0.9")
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(left.lines, labels, loc="outside right center", handlelength=3.5)
    return figure


def ranks_figure(summary: Json, ranked: Sequence[Column]) -> Figure:
    """Draws mean ranks with critical differences, a panel for each measure (Demsar 2006, sec. 3.2.2).

    Each method's bar is as long as the critical difference.
    """
    wide = min(2, len(ranked))
    high = -(-len(ranked) // wide)
    number = len(next(iter(summary["ranks"][c.quantity] for c in ranked))["methods"])
    size = (5.25 * wide, high * (1.1 + 0.28 * number))
    figure = NotebookFigure(figsize=size, dpi=DPI, layout="constrained")
    places = figure.add_gridspec(high, 2 * wide)
    for number, column in enumerate(ranked):
        # The last of an odd number of panels stands in the middle.
        left = 2 * (number % wide) + (number == len(ranked) - 1 and len(ranked) % wide)
        ax = figure.add_subplot(places[number // wide, left : left + 2])
        found = summary["ranks"][column.quantity]
        titles = sorted(found["methods"], key=lambda title: found["methods"][title], reverse=True)
        half = found["critical_difference"] / 2
        for row, title in enumerate(titles):
            color = COLORS[0] if title == summary["reference"] else "0.3"
            ax.errorbar(
                found["methods"][title],
                row,
                xerr=half,
                fmt="o",
                color=color,
                capsize=3,
                linewidth=1.8,
            )
        ax.set_yticks(range(len(titles)), [_label(title, 28) for title in titles])
        p = format_p(found["p_value"])
        ax.set_title(f"{column.title}: {found['images']} images, p {p}", fontsize="medium")
        ax.set_xlabel("mean rank")
        ax.grid(axis="x", color="0.9")
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _styles(summary: Json, points: int) -> dict[str, dict[str, Any]]:
    """How each line is drawn: no two of two dozen are the same, the first method is on top."""
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
            # Where curves lie on each other, their markers stand side by side.
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
    """Arrays of perhaps different sizes as one, filled up at the right and below."""
    height, width = (max(array.shape[axis] for array in arrays) for axis in (0, 1))
    filled = []
    for array in arrays:
        margins = [(0, height - array.shape[0]), (0, width - array.shape[1])]
        margins += [(0, 0)] * (array.ndim - 2)
        filled.append(np.pad(array, margins, constant_values=filling))
    return np.stack(filled)


def _label(text: str, width: int = 22) -> str:
    """Text for a figure: lines that fit, and no formulas."""
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
        palette = _palette(small, colors)
        # Dithering would add noise to white areas.
        small.quantize(palette=palette, dither=PIL.Image.Dither.NONE).save(
            buffer, "PNG", optimize=True
        )
        data = buffer.getvalue()
        if len(data) <= LARGEST:
            break
    return data


def _palette(image: PIL.Image.Image, colors: int) -> PIL.Image.Image:
    """An image with the colours that suit a sample of the pixels best, and white if there is any."""
    pixels = np.asarray(image).reshape(-1, 3)
    sample = np.ascontiguousarray(pixels[:: -(-len(pixels) // SAMPLE)])
    palette = PIL.Image.fromarray(sample[np.newaxis]).quantize(
        colors, PIL.Image.Quantize.MAXCOVERAGE, kmeans=1
    )
    if (sample == 255).all(axis=1).any():
        # Its mean with other light colours is slightly grey.
        found = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
        found[found.astype(int).sum(axis=1).argmax()] = 255
        palette.putpalette(found.tobytes())
    return palette
