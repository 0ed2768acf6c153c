import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from shared_data import SHARED, load, needs_shared

from rap_keras.errors import InputError
from rap_keras.evaluation import (
    area_over_perturbation_curve,
    area_under_curve,
    perturb,
    perturbation_curve,
    perturbation_masks,
)

ORDERS = ["lerf", "morf"]
shapes = arrays.array_shapes(min_dims=2, max_dims=2, max_side=5)
with_ties = arrays.arrays(np.float64, shapes, elements=st.integers(-3, 3).map(float))


def slow_masks(heatmap, steps, pixels_per_step, order):
    """One pixel after the other, each time the first of the remaining that is least (or most)."""
    left = list(np.ndindex(heatmap.shape))
    mask, masks = np.zeros(heatmap.shape, bool), []
    for _ in range(steps):
        for _ in range(pixels_per_step):
            place = left[0]
            for other in left[1:]:
                first, second = (heatmap[place], heatmap[other])
                if second < first if order == "lerf" else second > first:
                    place = other
            left.remove(place)
            mask[place] = True
        masks.append(mask.copy())
    return np.array(masks)


class Net:
    """Linear logits of a batch, computed image by image; keeps what it was called with."""

    def __init__(self, shape, classes=3, seed=0):
        self.weights = np.random.default_rng(seed).normal(size=(classes, *shape))
        self.batches = []

    def __call__(self, batch):
        self.batches.append(batch)
        return np.array([[(w * image).sum() for w in self.weights] for image in batch])


def random_case(shape=(5, 4, 3), seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(np.float32), rng.normal(size=shape[:2])


# Masks


@needs_shared
def test_masks_equal_the_reference():
    data = load(SHARED / "fixtures" / "metrics_reference.npz")
    for k, heatmap in enumerate(data["heatmap"]):
        masks = perturbation_masks(heatmap, steps=40, pixels_per_step=100)
        for step in (1, 10, 40):
            np.testing.assert_array_equal(masks[step - 1], data[f"lerf_mask_{step}"][k])


def test_masks_by_hand():
    heatmap = np.array([[0.0, -2.0, 0.0], [3.0, 0.0, -0.0]])
    lerf = perturbation_masks(heatmap, 3, 2)
    assert lerf.astype(int).tolist() == [
        [[1, 1, 0], [0, 0, 0]],
        [[1, 1, 1], [0, 1, 0]],
        [[1, 1, 1], [1, 1, 1]],
    ]
    morf = perturbation_masks(heatmap, 2, 2, "morf")
    assert morf.astype(int).tolist() == [[[1, 0, 0], [1, 0, 0]], [[1, 0, 1], [1, 1, 0]]]


@pytest.mark.parametrize("order", ORDERS)
def test_many_ties_are_broken_row_by_row(order):
    # Large enough for a sort that is not stable to mix them up.
    heatmap = np.zeros((30, 40))
    heatmap[::3, ::7] = -0.0
    masks = perturbation_masks(heatmap, 30, 40, order)
    np.testing.assert_array_equal(masks[9], np.indices((30, 40))[0] < 10)


@settings(deadline=None)
@given(with_ties, st.data())
def test_masks_equal_plain_loops(heatmap, data):
    steps = data.draw(st.integers(1, heatmap.size))
    per_step = data.draw(st.integers(1, heatmap.size // steps))
    for order in ORDERS:
        masks = perturbation_masks(heatmap, steps, per_step, order)
        np.testing.assert_array_equal(masks, slow_masks(heatmap, steps, per_step, order))


@settings(deadline=None)
@given(with_ties)
def test_least_of_the_negative_is_most(heatmap):
    # Also with ties, which both orders break from the upper left.
    lerf = perturbation_masks(-heatmap, heatmap.size, 1, "lerf")
    np.testing.assert_array_equal(lerf, perturbation_masks(heatmap, heatmap.size, 1, "morf"))


@settings(deadline=None)
@given(shapes, st.randoms(use_true_random=False))
def test_without_ties_the_first_of_one_order_are_the_last_of_the_other(shape, random):
    values = [float(n) for n in range(math.prod(shape))]
    random.shuffle(values)
    heatmap = np.reshape(values, shape)
    lerf, morf = (perturbation_masks(heatmap, heatmap.size, 1, order) for order in ORDERS)
    np.testing.assert_array_equal(lerf[:-1], ~morf[:-1][::-1])


# Images


@pytest.mark.parametrize(
    ("replacement", "expected"),
    [(7, [7, 7]), ([8.0, 9.0], [8, 9]), ([[[1.0, 2.0], [3.0, 4.0]]], [3, 4])],
)
def test_perturb_by_hand(replacement, expected):
    x = np.array([[[10, 20], [30, 40]]], np.float32)
    masks = np.array([[[False, True]], [[False, False]]])
    images = perturb(x, masks, replacement)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, [[[[10, 20], expected]], x])
    np.testing.assert_array_equal(x, [[[10, 20], [30, 40]]])


@pytest.mark.parametrize(
    ("given_dtype", "dtype"),
    [("float64", "float64"), ("float16", "float16"), ("uint8", "float32"), ("int64", "float32")],
)
def test_dtype_of_perturbed_images(given_dtype, dtype):
    x = np.ones((1, 2, 1), given_dtype)
    images = perturb(x, np.array([[[True, False]]]), 0.5)
    assert images.dtype == dtype
    assert images.ravel().tolist() == [0.5, 1]


# Curves


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("replacement", ["number", "channels", "image"])
def test_curve_is_that_of_the_masks(order, replacement):
    x, heatmap = random_case()
    other = {"number": 0.5, "channels": [1.0, -2.0, 3.0], "image": -2 * x}[replacement]
    net = Net(x.shape)
    curve = perturbation_curve(net, x, heatmap, 1, 6, 3, order, other, batch_size=4)
    images = perturb(x, perturbation_masks(heatmap, 6, 3, order), other)
    images = np.concatenate([x[np.newaxis], images])
    np.testing.assert_array_equal(np.concatenate(net.batches)[:7], images)
    logits = net(images)
    np.testing.assert_array_equal(curve.logits, logits[:, 1])
    np.testing.assert_array_equal(curve.correct, logits.argmax(1) == 1)
    np.testing.assert_allclose(curve.fractions, np.arange(7) * 3 / 20, rtol=1e-15)


def test_curve_by_hand():
    # The logits are the two pixels themselves.
    curve = perturbation_curve(
        lambda batch: batch.reshape(len(batch), 2), [[[3.0], [2.0]]], [[5.0, 4.0]], 0, steps=2
    )
    assert curve.fractions.tolist() == [0, 0.5, 1]
    assert curve.logits.tolist() == [3, 3, 0]
    # In the end both are 0: no other neuron has a larger logit.
    assert curve.correct.tolist() == [True, True, True]
    curve = perturbation_curve(
        lambda batch: batch.reshape(len(batch), 2),
        [[[3.0], [2.0]]],
        [[5.0, 4.0]],
        0,
        steps=2,
        order="morf",
    )
    assert curve.logits.tolist() == [3, 0, 0]
    assert curve.correct.tolist() == [True, False, True]


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 30), st.sampled_from(ORDERS))
def test_batch_size_does_not_matter(steps, batch_size, order):
    x, heatmap = random_case()
    net = Net(x.shape)
    curve = perturbation_curve(net, x, heatmap, 2, steps=steps, order=order, batch_size=batch_size)
    # All batches are of one size, and there are no more of them than needed.
    count = math.ceil((steps + 1) / batch_size)
    assert len(net.batches) == count
    (shape,) = {batch.shape for batch in net.batches}
    assert shape[1:] == x.shape
    assert shape[0] <= batch_size
    assert 0 <= shape[0] * count - (steps + 1) < count
    assert {batch.dtype for batch in net.batches} == {np.dtype(np.float32)}
    whole = perturbation_curve(Net(x.shape), x, heatmap, 2, steps=steps, order=order)
    for name in ("fractions", "logits", "correct"):
        np.testing.assert_array_equal(getattr(curve, name), getattr(whole, name))
        assert getattr(curve, name).shape == (steps + 1,)


def test_curve_ends_with_nearly_all_pixels_by_default():
    x, heatmap = random_case((9, 9, 1))
    net = Net(x.shape)
    last = (heatmap == heatmap.max())[..., np.newaxis]
    curve = perturbation_curve(net, x, heatmap, 0)
    assert len(curve.logits) == 41
    assert curve.fractions[-1] == 80 / 81
    np.testing.assert_array_equal(net.batches[-1][-1], np.where(last, x, 0))


def test_predict_may_return_and_change_its_batch():
    x, heatmap = random_case()

    def careless(batch):
        flat = batch.reshape(len(batch), -1)
        logits = flat.sum(1, keepdims=True, dtype=np.float64)
        flat[...] = np.nan
        return logits

    curve = perturbation_curve(careless, x, heatmap, 0, 10, batch_size=3)
    honest = perturbation_curve(
        lambda b: b.reshape(len(b), -1).sum(1, keepdims=True, dtype=np.float64), x, heatmap, 0, 10
    )
    np.testing.assert_array_equal(curve.logits, honest.logits)

    logits = np.empty((3, 1))

    def reusing(batch):
        logits[:, 0] = batch.reshape(len(batch), -1).sum(1, dtype=np.float64)
        return logits

    curve = perturbation_curve(reusing, x, heatmap, 0, 10, batch_size=3)
    np.testing.assert_array_equal(curve.logits, honest.logits)


def test_the_arguments_are_not_changed():
    x, heatmap = random_case()
    replacement = np.zeros(3, np.float32)
    for array in (x, heatmap, replacement):
        array.flags.writeable = False
    before = x.copy()
    masks = perturbation_masks(heatmap, 4, 5)
    images = perturb(x, masks, replacement)
    images[...] = 1
    perturbation_curve(Net(x.shape), x, heatmap, 0, 4, replacement=replacement)
    np.testing.assert_array_equal(x, before)


# Areas


def test_areas_by_hand():
    assert area_over_perturbation_curve([4.0, 3.0, -1.0]) == (0 + 1 + 5) / 3
    assert area_over_perturbation_curve([4.0]) == 0
    assert area_under_curve([0.0, 0.5, 1.0], [4.0, 2.0, 0.0]) == 2
    assert area_under_curve([0.0, 0.25, 1.0], [0.0, 4.0, 0.0]) == 0.5 + 1.5


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-9, 9)), min_size=2, max_size=9))
def test_areas_equal_plain_loops(points):
    fractions = sorted(fraction / 10 for fraction, _ in points)
    values = [float(value) for _, value in points]
    pairs = list(zip(fractions, values, strict=True))
    area = sum((b - a) * (v + w) / 2 for (a, v), (b, w) in pairwise(pairs))
    assert area_under_curve(fractions, values) == pytest.approx(area, abs=1e-12)
    over = sum(values[0] - value for value in values) / len(values)
    assert area_over_perturbation_curve(values) == pytest.approx(over, abs=1e-12)


# Refused

X, HEATMAP = random_case()
MASKS = perturbation_masks(HEATMAP, 2, 5)


def curve(predict=None, x=X, heatmap=HEATMAP, neuron=0, **options):
    return perturbation_curve(predict or Net(X.shape), x, heatmap, neuron, **{"steps": 4} | options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: perturbation_masks(HEATMAP, 7, 3), r"the 20 pixels of the heatmap, got 7 \* 3"),
        (lambda: perturbation_masks(HEATMAP, 0, 3), "steps to be an integer from 1 on, got 0"),
        (lambda: perturbation_masks(HEATMAP, 2, 0), "pixels_per_step to be an integer from 1 on"),
        (lambda: perturbation_masks(HEATMAP, 2, 2, "least"), "'lerf', 'morf', got 'least'"),
        (lambda: perturbation_masks(HEATMAP * np.nan, 2, 2), "a heatmap of finite numbers"),
        (lambda: perturb(X[0], MASKS), r"\(height, width, channels\), got shape \(4, 3\)"),
        (lambda: perturb(X, MASKS[0]), r"shape \(steps, 5, 4\), .* got bool of shape \(5, 4\)"),
        (lambda: perturb(X, MASKS * 1), "got int64 of shape"),
        (lambda: perturb(X, MASKS[:, 1:]), r"got bool of shape \(2, 4, 4\)"),
        (lambda: perturb(X, MASKS, [1.0, 2.0]), r"shape \(3,\) or \(5, 4, 3\), got shape \(2,\)"),
        (lambda: perturb(X, MASKS, np.nan), "the replacement of finite numbers"),
        (lambda: curve(x=X * np.inf), "the input x of finite numbers"),
        (lambda: curve(heatmap=HEATMAP.T), r"\(5, 4\), got \(4, 5\)"),
        (lambda: curve(steps=21), r"got 21 \* 1: lower"),
        (lambda: curve(pixels_per_step=6), r"got 4 \* 6: lower"),
        (lambda: curve(batch_size=0), "batch_size to be an integer from 1 on"),
        (lambda: curve(neuron=-1), "neuron to be an integer from 0 on"),
        (lambda: curve(neuron=3), "less than the 3 logits of predict, got 3"),
        (lambda: curve(order="random"), "'lerf', 'morf', got 'random'"),
        (lambda: curve(replacement=X[0]), r"got shape \(4, 3\)"),
        (lambda: curve(lambda b: b[:, 0, 0, 0]), r"\(5, classes\), got \(5,\)"),
        (lambda: curve(lambda b: np.ones((1, 3))), r"\(5, classes\), got \(1, 3\)"),
        (lambda: curve(lambda b: np.full((5, 3), np.nan)), "finite logits"),
        (lambda: area_over_perturbation_curve([]), r"of shape \(n,\), got shape \(0,\)"),
        (lambda: area_over_perturbation_curve([1.0, np.nan]), "values of a curve of finite"),
        (lambda: area_under_curve([0.0], [1.0]), "at least two ascending fractions"),
        (lambda: area_under_curve([0.0, 1.0], [1.0]), "as many values, got 2 and 1"),
        (lambda: area_under_curve([1.0, 0.0], [1.0, 2.0]), "ascending fractions"),
    ],
)
def test_other_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
