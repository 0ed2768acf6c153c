import math
from itertools import pairwise

import numpy as np
import pytest
from helpers.scores import Net, random_case
from helpers.shared_data import SHARED, load, needs_shared
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rap_keras.errors import InputError
from rap_keras.evaluation import (
    area_over_perturbation_curve,
    area_under_curve,
    blurred,
    deletion_curve,
    faithfulness_correlation,
    insertion_curve,
    noisy_linear_imputation,
    perturb,
    perturbation_curve,
    perturbation_curves,
    perturbation_masks,
    symmetric_relevance_gain,
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
def test_lerf_of_the_negated_map_is_morf(heatmap):
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


# Curves


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("replacement", ["number", "channels", "image", "function"])
def test_curve_equals_that_of_the_masks(order, replacement):
    x, heatmap = random_case()
    other = {
        "number": 0.5,
        "channels": [1.0, -2.0, 3.0],
        "image": -2 * x,
        "function": lambda image, mask: image + mask.sum(),
    }[replacement]
    net = Net(x.shape)
    curve = perturbation_curve(net, x, heatmap, 1, 6, 3, order, other, batch_size=4)
    images = perturb(x, perturbation_masks(heatmap, 6, 3, order), other)
    images = np.concatenate([x[np.newaxis], images])
    np.testing.assert_array_equal(np.concatenate(net.batches)[:7], images)
    logits = net(images)
    np.testing.assert_array_equal(curve.logits, logits[:, 1])
    np.testing.assert_array_equal(curve.correct, logits.argmax(1) == 1)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(curve.probabilities, shares[:, 1], rtol=1e-12)
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
    for name in ("fractions", "logits", "correct", "probabilities"):
        np.testing.assert_array_equal(getattr(curve, name), getattr(whole, name))
        assert getattr(curve, name).shape == (steps + 1,)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
@pytest.mark.parametrize("order", ORDERS)
def test_images_share_batches(order, batch_size, known):
    cases = [random_case(seed=seed) for seed in range(3)]
    replacements = [0.0, np.ones(3), lambda x, mask: x[::-1]]
    net = Net(cases[0][0].shape)
    x, heatmaps = zip(*cases, strict=True)
    logits = net(np.stack(x)) if known else None
    net.batches.clear()
    options = {"steps": 6, "order": order}
    found = perturbation_curves(
        net,
        x,
        heatmaps,
        [0, 2, 1],
        replacements=replacements,
        batch_size=batch_size,
        logits=logits,
        **options,
    )
    rows = 3 * (6 if known else 7)
    assert len(net.batches) == math.ceil(rows / batch_size)
    assert len({batch.shape for batch in net.batches}) == 1
    for k, curve in enumerate(found):
        alone = perturbation_curve(
            net, *cases[k], [0, 2, 1][k], replacement=replacements[k], **options
        )
        for name in ("fractions", "logits", "correct", "probabilities"):
            np.testing.assert_allclose(getattr(curve, name), getattr(alone, name), rtol=1e-6)


def test_curves_of_an_empty_batch():
    assert perturbation_curves(Net((5, 4, 3)), [], [], []) == []


def test_known_logits_are_used_for_step_0():
    x, heatmap = random_case()
    (curve,) = perturbation_curves(Net(x.shape), [x], [heatmap], [1], 4, logits=[[0.0, 7.0, 0.0]])
    assert curve.logits[0] == 7


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

    curve = perturbation_curve(careless, x, heatmap, 0, 10, batch_size=3, head=None)
    honest = perturbation_curve(
        lambda b: b.reshape(len(b), -1).sum(1, keepdims=True, dtype=np.float64),
        *(x, heatmap, 0, 10),
        head=None,
    )
    np.testing.assert_array_equal(curve.logits, honest.logits)

    logits = np.empty((3, 1))

    def reusing(batch):
        logits[:, 0] = batch.reshape(len(batch), -1).sum(1, dtype=np.float64)
        return logits

    curve = perturbation_curve(reusing, x, heatmap, 0, 10, batch_size=3, head=None)
    np.testing.assert_array_equal(curve.logits, honest.logits)


def test_the_arguments_do_not_change():
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


# Patches


def slow_patch_masks(heatmap, steps, patches_per_step, order, side):
    """One patch after the other, by its mean."""
    height, width = heatmap.shape
    corners = [(y, x) for y in range(0, height, side) for x in range(0, width, side)]
    mask, masks = np.zeros(heatmap.shape, bool), []

    def key(corner):
        y, x = corner
        mean = heatmap[y : y + side, x : x + side].mean()
        return mean if order == "lerf" else -mean

    left = sorted(corners, key=key)
    for _ in range(steps):
        for _ in range(patches_per_step):
            y, x = left.pop(0)
            mask[y : y + side, x : x + side] = True
        masks.append(mask.copy())
    return np.array(masks)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("shape", "side"), [((6, 8), 2), ((7, 8), 3), ((5, 4), 1), ((3, 4), 9)])
def test_patches_equal_plain_loops(order, shape, side):
    x, heatmap = random_case((*shape, 2))
    count = math.ceil(shape[0] / side) * math.ceil(shape[1] / side)
    for per_step in {1, min(2, count)}:
        steps = count // per_step
        pixels = per_step * side**2
        slow = slow_patch_masks(heatmap, steps, per_step, order, side)
        masks = perturbation_masks(heatmap, steps, pixels, order, side)
        np.testing.assert_array_equal(masks, slow)
        net = Net(x.shape)
        curve = perturbation_curve(net, x, heatmap, 1, steps, pixels, order, 0.5, patch=side)
        images = np.concatenate([x[np.newaxis], perturb(x, slow, 0.5)])
        np.testing.assert_array_equal(np.concatenate(net.batches)[: steps + 1], images)
        shares = np.arange(steps + 1) * per_step / count
        np.testing.assert_allclose(curve.fractions, shares, rtol=1e-15)


def test_all_patches_are_replaced_by_default():
    x, heatmap = random_case((6, 8, 1))
    net = Net(x.shape)
    curve = perturbation_curve(net, x, heatmap, 0, 4, patch=2)
    assert curve.fractions.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert not net.batches[-1][-1].any()


# Replacements


# Symmetric relevance gain, insertion, deletion


def test_gain_is_the_area_between_the_curves():
    x, heatmap = random_case()
    lerf, morf = (
        perturbation_curve(Net(x.shape), x, heatmap, 1, 10, order=order) for order in ORDERS
    )
    area = sum(
        (lerf.logits[k] - morf.logits[k] + lerf.logits[k + 1] - morf.logits[k + 1]) / 2 * 0.1
        for k in range(10)
    )
    assert symmetric_relevance_gain(lerf, morf) == pytest.approx(area)
    other = perturbation_curve(Net(x.shape), x, heatmap, 1, 5)
    with pytest.raises(InputError, match="same steps"):
        symmetric_relevance_gain(lerf, other)


def test_insertion_and_deletion_by_hand():
    def predict(batch):
        return batch.reshape(len(batch), 2)

    x, heatmap = [[[3.0], [2.0]]], [[4.0, 5.0]]
    curve = deletion_curve(predict, x, heatmap, 0, steps=2)
    assert curve.logits.tolist() == [3, 3, 0]
    shares = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-3)), 0.5]
    np.testing.assert_allclose(curve.probabilities, shares)
    assert deletion_curve(predict, x, heatmap, 0, 1.0, steps=2).logits.tolist() == [3, 3, 1]
    curve = insertion_curve(predict, x, heatmap, 0, [[[7.0], [6.0]]], steps=2)
    assert curve.logits.tolist() == [7, 7, 3]
    np.testing.assert_allclose(curve.probabilities[1], 1 / (1 + math.exp(-5)))
    curve = insertion_curve(predict, x, heatmap, 0, steps=2)
    np.testing.assert_allclose(curve.logits[[0, 2]], [blurred(x)[0, 0, 0], 3])


# Faithfulness correlation


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


def curves(**options):
    given = {"x": [X, X], "heatmaps": [HEATMAP, HEATMAP], "neurons": [0, 1], "steps": 4}
    return perturbation_curves(Net(X.shape), **given | options)


def curve(predict=None, x=X, heatmap=HEATMAP, neuron=0, **options):
    return perturbation_curve(predict or Net(X.shape), x, heatmap, neuron, **{"steps": 4} | options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: perturbation_masks(HEATMAP, 7, 3), r"the 20 pixels of the heatmap, got 7 \* 3"),
        (lambda: perturbation_masks(HEATMAP, 0, 3), "steps to be an integer of at least 1, got 0"),
        (
            lambda: perturbation_masks(HEATMAP, 2, 0),
            "pixels_per_step to be an integer of at least 1",
        ),
        (lambda: perturbation_masks(HEATMAP, 2, 2, "least"), "'lerf', 'morf', got 'least'"),
        (lambda: perturbation_masks(HEATMAP * np.nan, 2, 2), "a heatmap of finite numbers"),
        (lambda: perturb(X[None], MASKS), r"\(height, width, channels\), got shape \(1, 5, 4, 3\)"),
        (lambda: perturb(X[0], MASKS), r"shape \(steps, 4\), .* got bool of shape \(\d+, 5, 4\)"),
        (lambda: perturb(X, MASKS[0]), r"shape \(steps, 5, 4\), .* got bool of shape \(5, 4\)"),
        (lambda: perturb(X, MASKS * 1), "got int64 of shape"),
        (lambda: perturb(X, MASKS[:, 1:]), r"got bool of shape \(2, 4, 4\)"),
        (lambda: perturb(X, MASKS, [1.0, 2.0]), r"shape \(3,\) or \(5, 4, 3\), got shape \(2,\)"),
        (lambda: perturb(X, MASKS, np.nan), "the replacement of finite numbers"),
        (lambda: curve(x=X * np.inf), "the input x of finite numbers"),
        (lambda: curve(heatmap=HEATMAP.T), r"\(5, 4\), got \(4, 5\)"),
        (lambda: curve(steps=21), r"got 21 \* 1: lower"),
        (lambda: curve(pixels_per_step=6), r"got 4 \* 6: lower"),
        (lambda: curve(batch_size=0), "batch_size to be an integer of at least 1"),
        (lambda: curve(neuron=-1), "neuron to be an integer of at least 0"),
        (lambda: curve(neuron=3), "less than the 3 logits of predict, got 3"),
        (lambda: curve(order="random"), "'lerf', 'morf', got 'random'"),
        (lambda: curve(replacement=X[0]), r"got shape \(4, 3\)"),
        (lambda: curve(lambda b: b[:, 0, 0, 0]), r"\(5, classes\), got \(5,\)"),
        (lambda: curve(lambda b: np.ones((1, 3))), r"\(5, classes\), got \(1, 3\)"),
        (lambda: curve(lambda b: np.full((5, 3), np.nan)), "finite logits"),
        (lambda: curve(replacement=lambda x, m: x[0]), r"image of shape \(5, 4, 3\), got \(4, 3\)"),
        (lambda: curve(replacement=lambda x, m: None), "what the replacement returns of real"),
        (lambda: curves(neurons=[0]), "per image, got 2 images, 2 heatmaps, 1 neurons"),
        (lambda: curves(logits=np.ones((1, 3))), "2 replacements, 1 rows of logits"),
        (lambda: curves(logits=np.ones((2, 4))), "logits of the 3 neurons of predict, got 4"),
        (lambda: curves(x=[X, X[1:]], heatmaps=[HEATMAP, HEATMAP[1:]]), "images of one size, got"),
        (lambda: curve(patch=0), "patch to be an integer of at least 1"),
        (lambda: curve(patch=2, pixels_per_step=6), "multiple of the 4 pixels of a patch, got 6"),
        (lambda: curve(patch=2, steps=7), r"the 6 patches of 2 x 2 pixels .* got 7 \* 1"),
        (lambda: blurred(X, -1), "finite sigma >= 0"),
        (lambda: noisy_linear_imputation(X, MASKS[0] * 1), "mask to be a bool array"),
        (lambda: noisy_linear_imputation(X, MASKS[0], -1), "finite noise >= 0"),
        (lambda: noisy_linear_imputation(X, MASKS[0], seed="a"), "seed to be integers"),
        (lambda: faithfulness_correlation(Net(X.shape), X, HEATMAP, 0, 21), "most the 20 pixels"),
        (lambda: faithfulness_correlation(Net(X.shape), X, HEATMAP, 0, 2, 1), "samples to be"),
        (lambda: area_over_perturbation_curve([]), r"of shape \(n,\), got shape \(0,\)"),
        (lambda: area_over_perturbation_curve([1.0, np.nan]), "values of a curve of finite"),
        (lambda: area_under_curve([0.0], [1.0]), "at least two ascending fractions"),
        (lambda: area_under_curve([0.0, 1.0], [1.0]), "same number of values, got 2 and 1"),
        (lambda: area_under_curve([1.0, 0.0], [1.0, 2.0]), "ascending fractions"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


# Heads.


def sum_of(batch):
    """One logit of each image."""
    return batch.sum((1, 2, 3))[:, np.newaxis]


IMAGE = np.linspace(-1, 1.5, 16, dtype=np.float32).reshape(4, 4, 1)
FALLING = -np.arange(16.0).reshape(4, 4)


@pytest.mark.parametrize("curve", [deletion_curve, insertion_curve, perturbation_curve])
@pytest.mark.parametrize("neuron", [0, 1])
def test_one_sigmoid_has_two_classes(curve, neuron):
    found = curve(sum_of, IMAGE, FALLING, neuron, steps=4, head="sigmoid")
    expected = curve(sum_of, IMAGE, FALLING, 0, steps=4, head=None)
    logits = expected.logits if neuron else -expected.logits
    np.testing.assert_array_equal(found.logits, logits)
    np.testing.assert_allclose(found.probabilities, 1 / (1 + np.exp(-logits)))
    np.testing.assert_array_equal(found.correct, logits >= 0)
    # A regression has neither.
    assert expected.correct is None
    assert expected.probabilities is None
    with pytest.raises(InputError, match="curves with probabilities, got curves of a regression"):
        symmetric_relevance_gain(expected, expected, of="probabilities")


def test_several_sigmoids_do_not_exclude_each_other():
    net = Net((4, 4, 1))
    logits = net(IMAGE[np.newaxis])[0]
    for neuron, own in enumerate(logits):
        curve = deletion_curve(net, IMAGE, FALLING, neuron, steps=4, head="sigmoid")
        assert curve.probabilities[0] == pytest.approx(1 / (1 + np.exp(-own)))
        assert curve.correct[0] == (own >= 0)


def test_the_softmax_of_one_logit_is_refused():
    with pytest.raises(InputError, match=r'got one: pass head="sigmoid" .* or head=None') as caught:
        deletion_curve(sum_of, IMAGE, FALLING, 0, steps=4)
    assert caught.value.arguments == ("head",)
    with pytest.raises(InputError, match="head to be 'softmax', 'sigmoid' or None, got 'relu'"):
        deletion_curve(sum_of, IMAGE, FALLING, 0, steps=4, head="relu")
    logits = sum_of(IMAGE[np.newaxis])
    known = perturbation_curves(
        sum_of, [IMAGE], [FALLING], [0], steps=4, logits=logits, head="sigmoid"
    )[0]
    assert known.logits[0] == -logits[0, 0]
