"""Relevance maps as pictures: red is positive relevance, blue negative, white exactly zero.

What blue means depends on the method: see the table in docs/faq.md.

Every function draws with matplotlib's object interface: without a display, without pyplot and its
global list of figures. Save with `figure.savefig(...)` (`axes.figure.savefig(...)`). A notebook shows
a figure that is the last value of a cell.
"""

from rap_keras.plot.figures import explanation, grid, heatmap, overlay
from rap_keras.plot.layers import layers

__all__ = ["explanation", "grid", "heatmap", "layers", "overlay"]
