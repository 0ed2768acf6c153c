"""Whether an attribution predicts what changes of the input do to the logit."""

import math

import numpy as np
import pytest
from helpers.scores import Net, random_case

from rap_keras.errors import InputError
from rap_keras.evaluation import faithfulness_correlation, infidelity


@pytest.mark.parametrize("replacement", [0.0, "function"])
def test_faithfulness_correlation_equals_plain_loops(replacement):
    x, heatmap = random_case()
    other = (lambda image, mask: image * mask.sum()) if replacement == "function" else 0.0
    net = Net(x.shape)
    found = faithfulness_correlation(net, x, heatmap, 1, 3, 20, other, seed=5, batch_size=8)
    assert {batch.shape for batch in net.batches} == {(7, *x.shape)}
    images = np.concatenate(net.batches)[:21]
    np.testing.assert_array_equal(images[0], x)
    sums, drops = [], []
    for image in images[1:]:
        mask = (image != x).any(-1)
        assert mask.sum() == 3
        sums.append(heatmap[mask].sum())
        drops.append(float(net([x])[0, 1] - net([image])[0, 1]))
        expected = 3 * x if replacement == "function" else 0 * x
        np.testing.assert_array_equal(image[mask], expected[mask])
    assert found == pytest.approx(np.corrcoef(sums, drops)[0, 1], abs=1e-9)
    assert len({image.tobytes() for image in images}) > 15
    again = faithfulness_correlation(Net(x.shape), x, heatmap, 1, 3, 20, other, seed=5)
    assert again == pytest.approx(found, abs=1e-9)
    assert faithfulness_correlation(Net(x.shape), x, heatmap, 1, 3, 20, other, 6) != found


def test_faithfulness_correlation_of_the_true_map_is_one():
    x, _ = random_case((10, 8, 3))
    net = Net(x.shape)
    truth = (net.weights[2] * x).sum(-1)
    assert faithfulness_correlation(net, x, truth, 2) == pytest.approx(1)
    assert len(net.batches) == 4
    # By default a set has a tenth of the pixels.
    assert (net.batches[0][1] != x).any(-1).sum() == 8
    assert faithfulness_correlation(net, x, -truth, 2) == pytest.approx(-1)
    assert math.isnan(faithfulness_correlation(net, x, np.ones((10, 8)), 2))
    assert math.isnan(faithfulness_correlation(lambda b: np.ones((len(b), 3)), x, truth, 2))


def sum_of(batch):
    """One logit of each image."""
    return batch.sum((1, 2, 3))[:, np.newaxis]


IMAGE = np.linspace(-1, 1.5, 16, dtype=np.float32).reshape(4, 4, 1)


def test_losses_of_class_0():
    correlations = [
        faithfulness_correlation(sum_of, IMAGE, IMAGE[..., 0], k, samples=9, head="sigmoid")
        for k in (0, 1)
    ]
    assert correlations[0] == pytest.approx(-correlations[1])
    assert correlations[1] == faithfulness_correlation(sum_of, IMAGE, IMAGE[..., 0], 0, samples=9)


def net(seed=0, shape=(6, 5, 2)):
    """Quadratic logits, of a single image."""
    rng = np.random.default_rng(seed)
    weights, squares = rng.normal(size=(2, 3, *shape))
    return lambda x: np.array(
        [(w * x + s * x**2).sum() for w, s in zip(weights, squares, strict=True)]
    )


class Predict:
    """The same on batches. It stores the arguments of its calls."""

    def __init__(self):
        self.single, self.batches = net(), []

    def __call__(self, batch):
        self.batches.append(batch.copy())
        return np.array([self.single(x) for x in batch])


X = np.random.default_rng(1).normal(size=(6, 5, 2)).astype(np.float32)


HEATMAP = np.random.default_rng(2).normal(size=(6, 5))


def test_infidelity_of_squares_equals_plain_loops():
    predict = Predict()
    found = infidelity(predict, X, HEATMAP, 1, size=3, samples=12, seed=7, batch_size=5)
    scaled = infidelity(
        predict, X, HEATMAP, 1, size=3, samples=12, seed=7, batch_size=5, scaled=True
    )
    images = np.concatenate(predict.batches)[:13]
    np.testing.assert_array_equal(images[0], X)
    claimed, drops, corners = [], [], set()
    for image in images[1:]:
        mask = (image != X).any(-1)
        rows, columns = np.nonzero(mask)
        assert rows.max() - rows.min() == columns.max() - columns.min() == 2
        assert mask.sum() == 9
        assert not image[mask].any()
        corners.add((rows.min(), columns.min()))
        claimed.append(HEATMAP[mask].sum())
        drops.append(predict.single(X)[1] - predict.single(image)[1])
    assert len(corners) > 4
    assert found == pytest.approx(
        sum((t - d) ** 2 for t, d in zip(claimed, drops, strict=True)) / 12
    )
    least = min(
        sum((beta * t - d) ** 2 for t, d in zip(claimed, drops, strict=True)) / 12
        for beta in np.linspace(-20, 20, 40001)
    )
    assert scaled == pytest.approx(least, rel=1e-4)
    assert scaled < found
    again = infidelity(Predict(), X, 3 * HEATMAP, 1, size=3, samples=12, seed=7, scaled=True)
    assert again == pytest.approx(scaled)


def test_squares_lie_everywhere_and_are_a_quarter_of_the_side_by_default():
    x = np.ones((12, 16, 1))
    batches = []

    def predict(batch):
        batches.append(batch.copy())
        return np.zeros((len(batch), 1))

    infidelity(predict, x, np.zeros((12, 16)), 0, samples=3000)
    removed = 1 - np.concatenate(batches)[1:3001, ..., 0]
    assert (removed.sum((1, 2)) == 9).all()
    assert removed.any(0).all()
    assert len({image.tobytes() for image in removed}) == 10 * 14


def test_infidelity_of_noise_equals_plain_loops():
    predict = Predict()
    phi = np.random.default_rng(5).normal(size=X.shape)
    found = infidelity(predict, X, phi, 2, "noise", size=0.3, samples=40)
    images = np.concatenate(predict.batches)[:41].astype(float)
    terms = []
    for image in images[1:]:
        change = X - image
        claimed = sum(a * b for a, b in zip(change.flat, phi.flat, strict=True))
        terms.append((claimed - (predict.single(X)[2] - predict.single(image)[2])) ** 2)
    assert found == pytest.approx(sum(terms) / 40, rel=1e-4)
    assert (X - images[1:]).std() == pytest.approx(0.3, rel=0.05)
    assert found == infidelity(Predict(), X, phi, 2, "noise", size=0.3, samples=40)
    assert found != infidelity(Predict(), X, phi, 2, "noise", size=0.3, samples=40, seed=1)
    predict = Predict()
    infidelity(predict, X, phi, 2, "noise")
    assert (X - np.concatenate(predict.batches)[1:101]).std() == pytest.approx(0.2, rel=0.05)


def test_the_true_map_has_no_infidelity():
    weights = np.random.default_rng(6).normal(size=X.shape)

    def linear(batch):
        return (batch * weights).reshape(len(batch), -1).sum(1, keepdims=True)

    assert infidelity(linear, X, (weights * X).sum(-1), 0) == pytest.approx(0, abs=1e-9)
    assert infidelity(linear, X, weights, 0, "noise") == pytest.approx(0, abs=1e-9)
    # No scale helps a map without information.
    nothing = infidelity(linear, X, np.zeros((6, 5)), 0, scaled=True)
    assert nothing == infidelity(linear, X, np.zeros((6, 5)), 0) > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: infidelity(Predict(), X, HEATMAP, 0, "blur"), "'squares', 'noise', got 'blur'"),
        (lambda: infidelity(Predict(), X, X, 0), r"\(height, width\), got shape"),
        (lambda: infidelity(Predict(), X, X[1:], 0, "noise"), r"\(6, 5, 2\), got \(5, 5, 2\)"),
        (lambda: infidelity(Predict(), X, HEATMAP, 0, size=6), "at most 5 pixels a side, got 6"),
        (lambda: infidelity(Predict(), X, HEATMAP, 0, samples=0), "samples to be an integer"),
    ],
)
def test_other_input_of_infidelity_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
