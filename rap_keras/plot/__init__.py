"""Figures of relevance maps. Red is positive relevance, blue negative, white zero.

The meaning of blue depends on the method: see the table in docs/faq.md.

Every function uses matplotlib's object interface, so they need no display and no pyplot. Save with
`figure.savefig(...)` or `axes.figure.savefig(...)`. A notebook shows a figure that is the last value of
a cell.
"""

from rap_keras.plot.figures import explanation, grid, heatmap, overlay
from rap_keras.plot.layers import concepts, layers

__all__ = ["concepts", "explanation", "grid", "heatmap", "layers", "overlay"]
