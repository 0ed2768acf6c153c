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
from rap_keras.plot.drawing import PERCENTILE, NotebookFigure
from rap_keras.support.text import printable

# More rows than these are for the page of heat maps.
MOST_ROWS = 12
DPI = 150
WIDEST = 1600
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
        row_titles=[_label(names.get(position, str(position)), 26) for position in positions],
    )
    for ax, title in zip(figure.axes[has_photos:], titles, strict=False):
        ax.set_title(_label(title), fontsize="small")
    return figure


def perturbation_figure(protocol: Json, summary: Json, name: str) -> Figure:
    """Draws accuracy and logit over the share of replaced pixels, in the manner of the paper's Fig. 7.

    Each method is a line with a band of one standard error; controls are dashed. `name` is "lerf" or
    "morf".
    """
    shares = 100 * np.asarray(protocol["perturbation"]["fractions"], dtype=np.float64)
    figure = NotebookFigure(figsize=(12, 4.5), dpi=DPI, layout="constrained")
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
    labels = [_label(title, 32) for title in summary["methods"]]
    figure.legend(
        left.lines, labels, loc="outside right center", fontsize="small", handlelength=3.5
    )
    return figure


def ranks_figure(summary: Json, ranked: Sequence[Column]) -> Figure:
    """Draws mean ranks with critical differences, a panel for each measure (Demsar 2006, sec. 3.2.2).

    Each method's bar is as long as the critical difference.
    """
    wide = min(2, len(ranked))
    high = -(-len(ranked) // wide)
    number = len(next(iter(summary["ranks"][c.quantity] for c in ranked))["methods"])
    size = (6.5 * wide, high * (1.1 + 0.26 * number))
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
        ax.set_yticks(range(len(titles)), [_label(title, 32) for title in titles], fontsize="small")
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
    lines = textwrap.wrap(printable(text).replace(":", ": "), width) or [""]
    return "\n".join(line.replace(": ", ":") for line in lines).replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file, the same at every run."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return smaller(buffer.getvalue())


def smaller(picture: bytes) -> bytes:
    """A PNG file as pages show it: at most `WIDEST` pixels wide, of 256 colours."""
    image, small = PIL.Image.open(io.BytesIO(picture)).convert("RGB"), io.BytesIO()
    if image.width > WIDEST:
        image = image.resize((WIDEST, round(image.height * WIDEST / image.width)))
    image.quantize(256).save(small, "PNG", optimize=True)
    return small.getvalue()
