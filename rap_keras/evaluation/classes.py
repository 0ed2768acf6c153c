"""Metrics of class dependence: maps of one class compared with maps of another."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from rap_keras.errors import InputError
from rap_keras.evaluation.reading import cell_numbers, read_array, read_heatmap, read_mask
from rap_keras.support.options import choose, read_integer


def relevance_share(
    heatmap: ArrayLike, mask: ArrayLike, relevance: str = "positive", void: ArrayLike | None = None
) -> float:
    """The share of the relevance that is in the correct place: the energy-based pointing game.

    R+ and R- are the absolute values of the positive and the negative relevance, and sums are taken over
    pixels:

        "positive"   sum_inside R+ / sum R+
        "all"        (sum_inside R+ + sum_outside R-) / sum |R|

    The first is the energy-based pointing game of Wang et al., "Score-CAM", CVPR 2020 Workshops, arXiv
    1910.01279. The second is its form for signed maps, after eq. 11 of RAP (arXiv 1904.00605): negative
    relevance is correct outside the object. By chance, "positive" gives the share of the pixels that
    are inside, and "all" gives one half if signs are drawn evenly.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        mask: Where the object is, bool `(height, width)`.
        relevance: Which relevance counts, "positive" or "all".
        void: The ignored pixels, bool `(height, width)`; default: none.

    Returns:
        The share, 0 to 1. NaN if there is no such relevance.

    Example:
        >>> mask = np.array([[True, False]])
        >>> rap_keras.evaluation.relevance_share([[3.0, 1.0]], mask)
        0.75
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
    interpretable classifications", CVPR 2021, arXiv 2104.00032. Images of different classes, which
    the model classifies with certainty, are joined to a grid, and one of the classes is explained. By
    chance, "positive" gives one over the number of cells, and "all" gives one half if signs are drawn
    evenly.

    Args:
        heatmap: The relevance of the grid's pixels, `(height, width)`.
        cell: Row and column of the cell whose class is explained, counted from 0.
        grid: Number of rows and columns.
        relevance: "positive", as in the paper, or "all"; see `relevance_share`.

    Returns:
        The share, 0 to 1. NaN if there is no such relevance.

    Raises:
        InputError: The heatmap or an option is invalid, or a cell has no pixels.

    Example:
        >>> rap_keras.evaluation.grid_pointing_game([[3.0, 1.0], [0.0, 0.0]], cell=(0, 0))
        0.75
    """
    values = read_heatmap(heatmap)
    return relevance_share(values, cell_mask(values.shape, cell, grid), relevance)


def cell_mask(
    shape: tuple[int, ...], cell: tuple[int, int], grid: tuple[int, int] = (2, 2)
) -> NDArray[np.bool_]:
    """The pixels of one cell of a grid.

    Args:
        shape: Height and width of the grid.
        cell: Row and column of the cell, counted from 0.
        grid: Number of rows and columns.

    Returns:
        Where the cell is, bool `(height, width)`.

    Raises:
        InputError: There is no such cell, or it has no pixels.

    Example:
        >>> rap_keras.evaluation.cell_mask((2, 4), cell=(0, 1))
        array([[False, False,  True,  True],
               [False, False, False, False]])
    """
    numbers = cell_numbers(shape, grid)
    places = [read_integer("cell", n, 0) for n in cell]
    if len(places) != len(grid) or any(k >= n for k, n in zip(places, grid, strict=True)):
        raise InputError(f"Expected a cell (row, column) of the grid {grid}, got {cell}.")
    return np.asarray(numbers == np.ravel_multi_index(places, grid))


def map_similarity(heatmap: ArrayLike, other: ArrayLike, absolute: bool = False) -> float:
    """The similarity of two maps: Spearman's rank correlation over the pixels.

    The random-logit test of Sixt, Granz and Landgraf, "When explanations lie: why many modified BP
    attributions fail", ICML 2020, arXiv 1912.09818, compares the map of a class with the map of another
    class. They should differ if maps depend on the class. The paper uses the structural similarity of
    normalized maps; ranks need no normalization.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        other: Another map of the same shape.
        absolute: Compare the absolute values of the relevance.

    Returns:
        -1 to 1: 1 if the pixels have the same order in both maps, 0 for unrelated maps. NaN if a map is
        constant.

    Example:
        >>> round(rap_keras.evaluation.map_similarity([[3.0, 1.0, 0.0]], [[9.0, 1.0, 0.0]]), 6)
        1.0
    """
    maps = [read_heatmap(heatmap), read_heatmap(other)]
    if maps[0].shape != maps[1].shape:
        raise InputError(
            f"Expected maps of one shape, got {maps[0].shape} and {maps[1].shape}: resize one."
        )
    return rank_correlation(*(np.abs(m) if absolute else m for m in maps))


def rank_correlation(values: ArrayLike, others: ArrayLike) -> float:
    """Spearman's rank correlation, for example between the relevance of objects and their true effects.

    Applied to the relevance of each object of a scene and the drop of the logit when that object is
    removed, this is the score of single deletions of Hesse, Schaub-Meyer and Roth, "FunnyBirds", ICCV
    2023, arXiv 2308.06248.

    Args:
        values: Numbers, of any shape.
        others: The same number of other numbers.

    Returns:
        -1 to 1. NaN if one side is constant.

    Example:
        >>> round(rap_keras.evaluation.rank_correlation([3, 2, 1], [1, 2, 3]), 6)
        -1.0
    """
    first = read_array("values", values, None).ravel()
    second = read_array("others", others, None).ravel()
    if first.size != second.size:
        raise InputError(
            f"Expected values and others of one size, got {first.size} and {second.size}."
        )
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(spearmanr(first, second).statistic)
