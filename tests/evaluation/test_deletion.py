"""Single deletion against its definition, written out patch by patch."""

import math

import numpy as np
import pytest
from helpers.scores import Net, random_case

from rap_keras.errors import InputError
from rap_keras.evaluation import (
    deletion_correlation,
    patch_relevance,
    single_deletion_drops,
    single_deletion_score,
)

GRID = (3, 2)
# Of 8 x 5 pixels: rows 0-1, 2-4, 5-7 and columns 0-1, 2-4.
PATCHES = [np.s_[a:b, c:d] for a, b in ((0, 2), (2, 5), (5, 8)) for c, d in ((0, 2), (2, 5))]


class Curved(Net):
    """Logits that are no sum over the patches."""

    def __call__(self, batch):
        return np.sin(super().__call__(batch)) + super().__call__(batch) / 9


def spearman(first, second):
    """Without ties."""
    distances = [
        sum(a > x for x in first) - sum(b > y for y in second)
        for a, b in zip(first, second, strict=True)
    ]
    n = len(first)
    return 1 - 6 * sum(d**2 for d in distances) / (n * (n**2 - 1))


@pytest.mark.parametrize("replacement", [0.0, 0.25, "function"])
def test_the_score_equals_plain_loops(replacement):
    x, heatmap = random_case((8, 5, 3))
    net = Curved(x.shape)
    sums, drops = [], []
    for patch in PATCHES:
        without = x.copy()
        without[patch] = 0.5 * x[patch] if replacement == "function" else replacement
        sums.append(heatmap[patch].sum())
        drops.append((net([x]) - net([without]))[0, 2])
    other = (lambda image, mask: image / 2) if replacement == "function" else replacement
    np.testing.assert_allclose(patch_relevance(heatmap, GRID).ravel(), sums)
    found = single_deletion_drops(net, [x], [2], GRID, [other])
    assert found.shape == (1, *GRID)
    np.testing.assert_allclose(found.ravel(), drops)
    score = single_deletion_score(net, x, heatmap, 2, GRID, other, batch_size=3)
    assert score == pytest.approx(spearman(sums, drops))
    assert score == pytest.approx(deletion_correlation(heatmap, found[0], GRID))
    with pytest.raises(InputError, match=r"one drop for each patch, \(3, 2\), got \(3,\)"):
        deletion_correlation(heatmap, found[0, :, 0], GRID)
    assert abs(score) < 0.95


def test_the_true_map_of_a_linear_network_scores_one():
    x, _ = random_case((9, 10, 3))
    net = Net(x.shape)
    truth = (net.weights[1] * x).sum(-1)
    assert single_deletion_score(net, x, truth, 1) == pytest.approx(1)
    assert single_deletion_score(net, x, -truth, 1) == pytest.approx(-1)
    assert sum(map(len, net.batches)) == 2 * 17
    np.testing.assert_allclose(
        single_deletion_drops(net, [x], [1])[0], patch_relevance(truth), rtol=1e-5
    )
    for constant in (0, 1):  # the patches have different sizes
        assert math.isnan(single_deletion_score(net, x, np.full((9, 10), constant), 1))
    assert math.isnan(single_deletion_score(lambda b: np.ones((len(b), 3)), x, truth, 1))


def test_images_share_batches_and_known_logits_are_not_computed_again():
    images = np.random.default_rng(4).normal(size=(3, 6, 6, 2)).astype(np.float32)
    net = Curved(images.shape[1:])
    alone = [single_deletion_drops(net, [x], [k])[0] for k, x in enumerate(images)]
    known = net(images)
    net.batches.clear()
    found = single_deletion_drops(net, images, [0, 1, 2], batch_size=20, logits=known)
    np.testing.assert_allclose(found, alone)
    assert {len(batch) for batch in net.batches[::2]} == {16}  # Curved asks twice
    assert len(net.batches) == 6


def test_class_0_of_one_sigmoid_has_the_negative_drops():
    x, heatmap = random_case((8, 8, 3))
    net = Net(x.shape, classes=1)
    zero, one = (single_deletion_score(net, x, heatmap, k, head="sigmoid") for k in (0, 1))
    assert zero == pytest.approx(-one)
    known = single_deletion_drops(net, [x], [0], logits=net([x]), head="sigmoid")
    np.testing.assert_allclose(known, single_deletion_drops(net, [x], [0], head="sigmoid"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grid": (9, 1)}, "at least one pixel"),
        ({"grid": (2, 2, 2)}, "at least one pixel"),
        ({"grid": (0, 2)}, "grid"),
        ({"neuron": 3}, "neuron"),
        ({"heatmap": np.ones((5, 8))}, "input's pixels"),
        ({"head": "relu"}, "head"),
    ],
)
def test_wrong_arguments_are_refused(change, words):
    x, heatmap = random_case((8, 5, 3))
    given = {"x": x, "heatmap": heatmap, "neuron": 0} | change
    with pytest.raises(InputError, match=words):
        single_deletion_score(Net(x.shape), **given)


def test_images_that_do_not_fit_together_are_refused():
    x, _ = random_case((8, 8, 3))
    net = Net(x.shape)
    for images, neurons, logits, words in (
        ([x, x], [0], None, "one of each"),
        ([], [], None, "one of each"),
        ([x, x[:4]], [0, 0], None, "one size"),
        ([x], [0], np.ones((1, 2)), r"logits of shape \(1, 3\)"),
    ):
        with pytest.raises(InputError, match=words):
            single_deletion_drops(net, images, neurons, logits=logits)
