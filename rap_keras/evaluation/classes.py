"""Does a map distinguish classes? Maps of one class compared with those of another."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from rap_keras.errors import InputError
from rap_keras.evaluation.reading import read_array, read_heatmap, read_mask
from rap_keras.support.options import choose, read_integer


def relevance_share(
    heatmap: ArrayLike,
    mask: ArrayLike,
    relevance: str = "positive",
    void: ArrayLike | None = None,
) -> float:
    """The share of the relevance that is in its place: the energy-based pointing game.

    With R+ and R- the sizes of the positive and of the negative relevance, and sums over pixels:

        "positive"   sum_inside R+ / sum R+
        "all"        (sum_inside R+ + sum_outside R-) / sum |R|

    The first is the energy-based pointing game of Wang et al., "Score-CAM", CVPR 2020 Workshops,
    arXiv 1910.01279; the second is its form for signed maps, after eq. 11 of RAP (arXiv 1904.00605):
    negative relevance is in its place outside the object. What chance gives is the share of the pixels
    that are inside for "positive", and for "all" a half where signs are drawn evenly.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`.
        relevance: Which relevance counts, "positive" or "all".
        void: The pixels that count nowhere, bool `(height, width)`; default: none.

    Returns:
        The share, 0 to 1. NaN where there is no such relevance.
    """
    choose("relevance", relevance, ("positive", "all"))
    values = read_heatmap(heatmap)
    inside = read_mask("mask", mask, values.shape)
    counted = np.ones(values.shape, bool)
    if void is not None:
        counted = ~read_mask("void", void, values.shape)
    positive = np.where(counted, np.maximum(values, 0), 0)
    negative = np.where(counted, np.maximum(-values, 0), 0)
    if relevance == "positive":
        return _share(positive[inside].sum(), positive[~inside].sum())
    return _share(
        positive[inside].sum() + negative[~inside].sum(),
        positive[~inside].sum() + negative[inside].sum(),
    )


def _share(right: float, wrong: float) -> float:
    return float(right / (right + wrong)) if right + wrong > 0 else math.nan


def grid_pointing_game(
    heatmap: ArrayLike,
    cell: tuple[int, int],
    grid: tuple[int, int] = (2, 2),
    relevance: str = "positive",
) -> float:
    """The share of the relevance that lies in the cell whose class is explained.

    The grid pointing game of Böhle, Fritz and Schiele, "Convolutional dynamic alignment networks for
    interpretable classifications", CVPR 2021, arXiv 2104.00032: images of different classes, which the
    model is sure of, stand side by side, and one of these classes is explained. Chance is one over the
    number of cells for "positive", and a half for "all" where signs are drawn evenly.

    Args:
        heatmap: The relevance of the grid's pixels, `(height, width)`.
        cell: The row and the column of the cell whose class is explained, from 0 on.
        grid: Rows and columns.
        relevance: "positive", as the paper has it, or "all"; see `relevance_share`.

    Returns:
        The share, 0 to 1. NaN where there is no such relevance.

    Raises:
        InputError: The heatmap or the options are not as described, or the cells have no pixels.
    """
    values = read_heatmap(heatmap)
    return relevance_share(values, cell_mask(values.shape, cell, grid), relevance)


def cell_mask(
    shape: tuple[int, ...], cell: tuple[int, int], grid: tuple[int, int] = (2, 2)
) -> NDArray[np.bool_]:
    """The pixels of one cell of a grid.

    Args:
        shape: Height and width of the grid.
        cell: The row and the column of the cell, from 0 on.
        grid: Rows and columns.

    Returns:
        Where the cell is, bool `(height, width)`.

    Raises:
        InputError: There is no such cell, or it has no pixels.
    """
    counts = [read_integer("grid", n, 1) for n in grid]
    places = [read_integer("cell", n, 0) for n in cell]
    if not len(counts) == len(places) == 2 or places[0] >= counts[0] or places[1] >= counts[1]:
        raise InputError(f"Expected a cell (row, column) of the grid {grid}, got {cell}.")
    mask = np.zeros(shape, bool)
    rows, columns = (
        slice(size * place // count, size * (place + 1) // count)
        for size, place, count in zip(shape, places, counts, strict=True)
    )
    mask[rows, columns] = True
    if not mask.any():
        raise InputError(
            f"Expected cells of a pixel at least, got the grid {grid} of {shape} pixels."
        )
    return mask


def map_similarity(heatmap: ArrayLike, other: ArrayLike, absolute: bool = False) -> float:
    """How much a map is like another: Spearman's rank correlation over the pixels.

    The random-logit test of Sixt, Granz and Landgraf, "When explanations lie: why many modified BP
    attributions fail", ICML 2020, arXiv 1912.09818, compares the map of a class with that of another:
    a map that depends on the class is unlike it. They take the structural similarity of maps whose
    scale is normalized; ranks need no scale.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        other: Another map of the same shape.
        absolute: Compare the sizes of relevance only, without its signs.

    Returns:
        -1 to 1; 1 for maps with the same order of pixels, 0 for unrelated ones. NaN where a map is the
        same everywhere.
    """
    maps = [read_heatmap(heatmap), read_heatmap(other)]
    if maps[0].shape != maps[1].shape:
        raise InputError(
            f"Expected maps of one shape, got {maps[0].shape} and {maps[1].shape}: resize one."
        )
    return rank_correlation(*(np.abs(m) if absolute else m for m in maps))


def rank_correlation(values: ArrayLike, others: ArrayLike) -> float:
    """Spearman's rank correlation, as of the relevance of objects with their true effects.

    With the relevance of each object of a scene and what taking it away does to the logit, it is the
    score of single deletions of Hesse, Schaub-Meyer and Roth, "FunnyBirds", ICCV 2023, arXiv 2308.06248.

    Args:
        values: Numbers, of any shape.
        others: As many others.

    Returns:
        -1 to 1. NaN where one side is the same throughout.
    """
    first = read_array("values", values, None).ravel()
    second = read_array("others", others, None).ravel()
    if first.size != second.size:
        raise InputError(f"Expected as many others as values, got {second.size} and {first.size}.")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(spearmanr(first, second).statistic)
