"""Measures of vectors and series: hand-computed values on linear models."""

import math

import numpy as np
import pytest
from helpers.scores import Net

from rap_keras import evaluation
from rap_keras.errors import InputError

WEIGHTS = np.array([4.0, -1.0, 2.0, 3.0])
SERIES_WEIGHTS = np.array([[1.0, 1.0], [0.0, 4.0], [-1.0, 0.0], [5.0, 1.0], [0.0, 0.0], [2.0, 1.0]])


def vector_net(batch):
    """Logits of two classes: w . x, and 0."""
    return np.stack([batch @ WEIGHTS, 0 * batch[:, 0]], 1)


def series_net(batch):
    logits = (batch * SERIES_WEIGHTS).sum((1, 2))
    return np.stack([logits, 0 * logits], 1)


VECTOR, SERIES = np.ones(4), np.ones((6, 2))
# The relevance of a linear model with inputs of 1: its weights, summed over the channels.
CASES = {
    "vector": (vector_net, VECTOR, WEIGHTS),
    "series": (series_net, SERIES, np.array([2.0, 4.0, -1.0, 6.0, 0.0, 3.0])),
}
both = pytest.mark.parametrize("case", CASES)


def test_curves_of_a_vector():
    given = vector_net, VECTOR, WEIGHTS, 0
    lerf = evaluation.perturbation_curve(*given, steps=4)
    morf = evaluation.deletion_curve(*given, steps=4)
    np.testing.assert_array_equal(lerf.logits, [8, 9, 7, 4, 0])
    np.testing.assert_array_equal(morf.logits, [8, 4, 1, -1, 0])
    assert evaluation.symmetric_relevance_gain(lerf, morf) == (8 / 2 + 20) / 4 - (8 / 2 + 4) / 4
    insertion = evaluation.insertion_curve(*given, start=np.zeros(4), steps=2)
    np.testing.assert_array_equal(insertion.logits, [0, 7, 8])
    masks = evaluation.perturbation_masks(WEIGHTS, 2, 1)
    np.testing.assert_array_equal(masks, [[0, 1, 0, 0], [0, 1, 1, 0]])


def test_curves_of_a_series_in_segments():
    net, x, heatmap = CASES["series"]
    given = net, x, heatmap, 0
    # The segments sum to 6, 5 and 3.
    curve = evaluation.perturbation_curve(*given, steps=3, order="morf", patch=2)
    np.testing.assert_array_equal(curve.logits, [14, 8, 3, 0])
    ones = evaluation.perturbation_curve(*given, steps=3, pixels_per_step=2)
    np.testing.assert_array_equal(ones.logits, [14, 15, 10, 0])
    doubled = evaluation.perturbation_curve(*given, steps=3, patch=2, replacement=2.0)
    np.testing.assert_array_equal(doubled.logits, [14, 17, 22, 28])
    colour = evaluation.perturbation_curve(*given, steps=3, patch=2, replacement=[3.0, 1.0])
    np.testing.assert_array_equal(colour.logits, [14, 18, 26, 28])
    with pytest.raises(InputError, match="multiple of the 2 pixels of a patch"):
        evaluation.perturbation_curve(*given, steps=3, patch=2, pixels_per_step=3)
    with pytest.raises(InputError, match="3 patches of 2 pixels"):
        evaluation.perturbation_curve(*given, steps=4, patch=2)


@both
def test_faithfulness_of_the_true_map(case):
    net, x, truth = CASES[case]
    given = net, x, truth, 0
    assert evaluation.faithfulness_correlation(*given, pixels=2) == pytest.approx(1)
    assert evaluation.infidelity(*given) == 0
    assert evaluation.infidelity(*given, size=2) == 0
    # One position of a segment of the whole length: the logit is missed.
    assert evaluation.infidelity(net, x, 0 * truth, 0, size=len(x)) == truth.sum() ** 2
    gradient = WEIGHTS if case == "vector" else SERIES_WEIGHTS
    noise = evaluation.infidelity(net, x, gradient, 0, "noise")
    assert noise == pytest.approx(0, abs=1e-9)
    assert evaluation.infidelity(net, x, 0 * gradient, 0, "noise") > 0.1
    assert evaluation.conservation_error(truth, truth.sum()) == 0


@both
def test_single_deletion(case):
    net, x, truth = CASES[case]
    drops = evaluation.single_deletion_drops(net, [x], [0])
    np.testing.assert_array_equal(drops, [truth])  # fewer than 16 steps: each alone
    assert evaluation.single_deletion_score(net, x, truth, 0) == pytest.approx(1)
    halves = [truth[: len(x) // 2].sum(), truth[len(x) // 2 :].sum()]
    np.testing.assert_array_equal(evaluation.patch_relevance(truth, grid=(2,)), halves)
    other = np.arange(len(truth))  # Spearman's correlation without ties, from the ranks
    distances = np.argsort(np.argsort(truth)) - other
    n = len(truth)
    expected = 1 - 6 * (distances**2).sum() / (n * (n**2 - 1))
    assert evaluation.single_deletion_score(net, x, other, 0) == pytest.approx(expected)
    assert evaluation.patch_relevance(np.ones(40)).shape == (16,)


def test_maps():
    np.testing.assert_array_equal(evaluation.heatmap(SERIES_WEIGHTS), CASES["series"][2])
    np.testing.assert_array_equal(evaluation.heatmap(WEIGHTS), WEIGHTS)
    assert evaluation.sparsity([0.0, 0.0, 0.0, 4.0]) == 0.75
    assert evaluation.complexity([1.0, -1.0, 0.0]) == pytest.approx(math.log(2))
    assert evaluation.effective_pixels([4.0, 3.0, 0.01]) == 2
    assert evaluation.average_precision([4.0, 1.0], np.array([True, False])) == 1
    inside = np.array([True, False, False, False])
    assert evaluation.pointing_game([1.0, 0.0, 4.0, 0.0], inside, tolerance=2)
    assert not evaluation.pointing_game([1.0, 0.0, 4.0, 0.0], inside, tolerance=1)


@both
def test_robustness(case):
    _, x, heatmap = CASES[case]
    near = evaluation.neighbours(x, 0.5, 3)
    assert near.shape == (3, *x.shape)
    assert 0 < np.abs(near - x).max() <= 0.5
    others = np.stack([heatmap, heatmap])
    others[1, 0] += 3
    found = evaluation.max_sensitivity(heatmap, others)
    assert found == pytest.approx(3 / np.linalg.norm(heatmap))
    inputs = np.stack([x + 1, x])
    inputs[1].flat[0] += 2
    assert evaluation.local_lipschitz(heatmap, others, x, inputs) == pytest.approx(3 / 2)
    smooth = evaluation.smoothed_map(lambda i: np.ones((len(i), len(x))), x, 0.1)
    np.testing.assert_array_equal(smooth, np.ones(len(x)))
    assert evaluation.randomisation_similarity(heatmap, others)[0] == pytest.approx(1)


def test_a_series_is_blurred_along_its_steps(rng):
    series = rng.normal(size=(7, 3))
    image = np.repeat(series[:, np.newaxis], 4, axis=1)
    soft = evaluation.blurred(series, 2)
    np.testing.assert_allclose(soft, evaluation.blurred(image, 2)[:, 1], rtol=1e-5, atol=1e-7)
    net = Net(series.shape)
    curve = evaluation.insertion_curve(net, series, series.sum(-1), 1, steps=7)
    np.testing.assert_allclose(
        curve.logits[[0, -1]], net([evaluation.blurred(series), series])[:, 1]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluation.blurred(VECTOR), "image or a series to blur, got a vector"),
        (lambda: evaluation.insertion_curve(vector_net, VECTOR, WEIGHTS, 0), "start=X"),
        (
            lambda: evaluation.noisy_linear_imputation(SERIES, np.ones(6, bool)),
            r"image \(height, width, channels\) for ROAD",
        ),
        (
            lambda: evaluation.perturbation_curve(series_net, SERIES, SERIES, 0),
            r"\(6,\), got \(6, 2\)",
        ),
        (lambda: evaluation.sparsity(np.ones((2, 2, 2))), "one image at a time"),
        (
            lambda: evaluation.neighbours(np.ones((1, 2, 2, 3)), 1, 2),
            r"\(features,\), \(steps, channels\) or \(height, width, channels\), got",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
