"""The measures of classes against their definitions, written out."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from rap_keras import evaluation
from rap_keras.errors import InputError


def noise(seed=0, shape=(6, 8)):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("relevance", ["positive", "all"])
@pytest.mark.parametrize("with_void", [False, True])
def test_relevance_share_by_pixels(relevance, with_void):
    values = noise()
    mask = noise(1) > 0.3
    void = noise(2) > 0.8 if with_void else None
    right = total = 0.0
    for place, value in np.ndenumerate(values):
        if with_void and void[place]:
            continue
        if value > 0:
            right += value * mask[place]
            total += value
        elif relevance == "all":
            right -= value * (not mask[place])
            total -= value
    found = evaluation.relevance_share(values, mask, relevance, void)
    assert found == pytest.approx(right / total, rel=1e-12)


def test_extreme_relevance_shares():
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    signed = np.where(mask, 2.0, -1.0)
    assert evaluation.relevance_share(signed, mask) == 1
    assert evaluation.relevance_share(signed, mask, "all") == 1
    assert evaluation.relevance_share(-signed, mask, "all") == 0
    assert math.isnan(evaluation.relevance_share(np.zeros((4, 4)), mask))
    assert math.isnan(evaluation.relevance_share(-np.ones((4, 4)), mask))
    assert evaluation.relevance_share(np.ones((4, 4)), mask) == 0.5


@pytest.mark.parametrize(("shape", "grid"), [((6, 8), (2, 2)), ((7, 9), (2, 3)), ((5, 5), (1, 2))])
def test_the_cells_of_a_grid_share_the_relevance(shape, grid):
    values = np.abs(noise(0, shape))
    cells = [(r, c) for r in range(grid[0]) for c in range(grid[1])]
    covered = sum(evaluation.cell_mask(shape, cell, grid).astype(int) for cell in cells)
    assert (covered == 1).all()
    shares = [evaluation.grid_pointing_game(values, cell, grid) for cell in cells]
    assert sum(shares) == pytest.approx(1)
    top_left = values[: shape[0] // grid[0], : shape[1] // grid[1]].sum() / values.sum()
    assert shares[0] == pytest.approx(top_left)


def test_the_signed_grid_pointing_game_rewards_negative_relevance_elsewhere():
    values = np.full((4, 4), -1.0)
    values[2:, :2] = 3
    assert evaluation.grid_pointing_game(values, (1, 0), relevance="all") == 1
    assert evaluation.grid_pointing_game(values, (0, 0), relevance="all") == pytest.approx(8 / 24)
    assert evaluation.grid_pointing_game(values, (0, 0)) == 0


@pytest.mark.parametrize("absolute", [False, True])
def test_map_similarity_is_the_correlation_of_spearman(absolute):
    a, b = np.round(noise(3), 1), np.round(noise(4), 1)  # with ties
    pair = (abs(a), abs(b)) if absolute else (a, b)
    expected = spearmanr(pair[0].ravel(), pair[1].ravel()).statistic
    assert evaluation.map_similarity(a, b, absolute) == pytest.approx(expected, abs=1e-12)


def test_extreme_map_similarities():
    a = noise()
    assert evaluation.map_similarity(a, np.exp(a)) == pytest.approx(1)
    assert evaluation.map_similarity(a, -a) == pytest.approx(-1)
    assert evaluation.map_similarity(a, -a, absolute=True) == pytest.approx(1)
    assert math.isnan(evaluation.map_similarity(a, np.ones_like(a)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: evaluation.relevance_share(noise(), noise() > 0, "negative"), "relevance"),
        (lambda: evaluation.relevance_share(noise(), noise(1, (2, 2)) > 0), "shape"),
        (lambda: evaluation.relevance_share(noise(), noise() > 0, void=noise()), "bool"),
        (lambda: evaluation.grid_pointing_game(noise(), (2, 0)), "cell"),
        (lambda: evaluation.grid_pointing_game(noise(), (0, -1)), "cell"),
        (lambda: evaluation.grid_pointing_game(noise(), (0, 0), (9, 1)), "pixel"),
        (lambda: evaluation.grid_pointing_game(noise(), (0, 0), (0, 1)), "grid"),
        (lambda: evaluation.map_similarity(noise(), noise(1, (2, 2))), "one shape"),
        (lambda: evaluation.rank_correlation([1, 2], [1, 2, 3]), "of one size"),
        (lambda: evaluation.rank_correlation([1, np.nan], [1, 2]), "finite"),
    ],
)
def test_wrong_arguments_are_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
