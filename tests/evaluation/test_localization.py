import math
import random

import numpy as np
import pytest
from helpers.scores import QUANTUS_MAP
from helpers.shared_data import SHARED, load, needs_shared
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rap_keras.errors import InputError
from rap_keras.evaluation import (
    SegmentationCounts,
    average_precision,
    foreground,
    intersection_over_union,
    mean_iou,
    outside_inside_ratio,
    pixel_accuracy,
    pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
    segmentation_counts,
    top_k_intersection,
)

THRESHOLDS = ["mean", "zero", 60, 12.5]
# Quarters: sums of them are exact, and ties are frequent.
quarters = st.integers(-8, 8).map(lambda n: n / 4)


@st.composite
def scenes(draw):
    """A heatmap, a mask and void pixels, each possibly degenerate."""
    shape = draw(arrays.array_shapes(min_dims=2, max_dims=2, max_side=5))
    heatmap = draw(arrays.arrays(np.float64, shape, elements=quarters))
    mask = draw(arrays.arrays(bool, shape))
    void = draw(arrays.arrays(bool, shape))
    return heatmap, mask, void


def same(a, b, **tolerance):
    return (math.isnan(a) and math.isnan(b)) or a == pytest.approx(b, **tolerance)


def pixels(heatmap, mask, void):
    """(relevance, on the object?) of the labelled pixels, as a plain list."""
    return [
        (float(heatmap[place]), bool(mask[place]))
        for place in np.ndindex(heatmap.shape)
        if not void[place]
    ]


def slow_ratio(heatmap, mask, void, relevance):
    labelled = pixels(heatmap, mask, void)
    inside = sum(1 for _, on in labelled if on)
    outside = len(labelled) - inside
    if not inside or not outside:
        return math.nan
    right = wrong = 0.0
    for value, on in labelled:
        if value < 0 and relevance == "positive":
            continue
        share = abs(value) / (inside if on else outside)
        if (value > 0) == on:
            right += share
        else:
            wrong += share
    return wrong / right if right else math.nan


def slow_counts(heatmap, mask, void, threshold):
    values = sorted(float(v) for v in heatmap.ravel())
    if threshold == "mean":
        level = sum(values) / len(values)
    elif threshold == "zero":
        level = 0.0
    else:
        place = threshold / 100 * (len(values) - 1)
        below, above = values[math.floor(place)], values[math.ceil(place)]
        level = below + (above - below) * (place - math.floor(place))
    found = [(value > level, on) for value, on in pixels(heatmap, mask, void)]
    both = [sum(1 for pair in found if pair == (k, k)) for k in (False, True)]
    either = [sum(1 for pair in found if k in pair) for k in (False, True)]
    return SegmentationCounts(tuple(both), tuple(either), sum(both), len(found))


def slow_average_precision(heatmap, mask, void):
    labelled = pixels(heatmap, mask, void)
    total = sum(on for _, on in labelled)
    if not total:
        return math.nan
    result = hits_before = 0.0
    for level in sorted({value for value, _ in labelled}, reverse=True):
        chosen = [on for value, on in labelled if value >= level]
        result += (sum(chosen) - hits_before) / total * sum(chosen) / len(chosen)
        hits_before = sum(chosen)
    return result


def slow_pointing_game(heatmap, mask, void, tolerance):
    places = [place for place in np.ndindex(heatmap.shape) if not void[place]]
    top = max(heatmap[place] for place in places)
    return all(
        any(mask[b] and math.dist(a, b) <= tolerance for b in places)
        for a in places
        if heatmap[a] == top
    )


# The reference


@pytest.fixture(scope="module")
def reference():
    return load(SHARED / "fixtures" / "metrics_reference.npz")


@needs_shared
def test_ratio_equals_the_reference(reference):
    for k, heatmap in enumerate(reference["heatmap"]):
        y0, x0, y1, x1 = reference["box_y0x0y1x1"][k]
        box = np.zeros(heatmap.shape, bool)
        box[y0:y1, x0:x1] = True
        for relevance, key in {"all": "mu_all", "positive": "mu_pos"}.items():
            ratio = outside_inside_ratio(heatmap, box, relevance)
            assert ratio == pytest.approx(reference[key][k], rel=1e-12, abs=0)


@needs_shared
@pytest.mark.parametrize("threshold", ["mean", "zero"])
def test_segmentation_equals_the_commonly_used_script(reference, threshold):
    counts = [
        segmentation_counts(heatmap, mask == 1, threshold)
        for heatmap, mask in zip(reference["heatmap"], reference["gt"], strict=True)
    ]
    for name, key in {"intersection": "inter", "union": "union", "correct": "correct"}.items():
        found = [getattr(c, name) for c in counts]
        np.testing.assert_array_equal(found, reference[f"{key}_{threshold}"])
    assert {c.labelled for c in counts} == {96 * 96}
    close = {"rel": 1e-12, "abs": 0}
    assert pixel_accuracy(counts) == pytest.approx(reference[f"pix_acc_{threshold}"], **close)
    assert mean_iou(counts) == pytest.approx(reference[f"miou_{threshold}"], **close)
    iou = intersection_over_union(counts)
    assert iou == pytest.approx(reference[f"iou_bg_fg_{threshold}"], **close)


# By hand

HEATMAP = np.array([[4.0, -1.0], [2.0, -3.0]])
MASK = np.array([[True, True], [False, False]])


def test_ratio_by_hand():
    # Positive: (2 / 2) / (4 / 2). All: ((2 + 1) / 2) / ((4 + 3) / 2).
    assert outside_inside_ratio(HEATMAP, MASK, "positive") == 0.5
    assert outside_inside_ratio(HEATMAP, MASK, "all") == 3 / 7
    assert outside_inside_ratio(HEATMAP, MASK) == 3 / 7
    # Means, not sums: without the 2 there is one pixel outside.
    void = np.array([[False, False], [True, False]])
    assert outside_inside_ratio(HEATMAP, MASK, void=void) == (1 / 2) / (4 / 2 + 3)


@pytest.mark.parametrize("relevance", ["all", "positive"])
def test_ratio_is_undefined_without_inside_outside_or_correct_relevance(relevance):
    everywhere = np.ones((2, 2), bool)
    heatmap = np.array([[-1.0, -1.0], [1.0, 1.0]])  # all of it misplaced
    assert math.isnan(outside_inside_ratio(HEATMAP, everywhere, relevance))
    assert math.isnan(outside_inside_ratio(HEATMAP, ~everywhere, relevance))
    assert math.isnan(outside_inside_ratio(HEATMAP, MASK, relevance, void=MASK))
    assert math.isnan(outside_inside_ratio(HEATMAP, MASK, relevance, void=~MASK))
    assert math.isnan(outside_inside_ratio(heatmap, MASK, relevance))


def test_foreground_by_hand():
    heatmap = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 20.0]])  # the mean is 5
    assert foreground(heatmap).tolist() == [[False] * 3, [False, False, True]]
    assert foreground(heatmap - 3, "zero").tolist() == [[False] * 3, [False, True, True]]
    # The percentiles at 20 % are the numbers themselves, which are not above themselves.
    assert foreground(heatmap, 60).tolist() == [[False] * 3, [False, True, True]]
    assert foreground(heatmap, 59.0).tolist() == [[False] * 3, [True, True, True]]


@pytest.mark.parametrize("threshold", ["mean", 1, 50, 99.9])
def test_a_constant_map_has_no_foreground(threshold):
    # The mean of these, rounded, is less than 0.1 for some shape.
    shapes = [(1, n) for n in range(1, 40)]
    assert any(np.full(shape, 0.1).mean() < 0.1 for shape in shapes)
    assert not any(foreground(np.full(shape, 0.1), threshold).any() for shape in shapes)


def test_counts_by_hand():
    # Found: the 4 and the 2; on the object: the 4 and the -1.
    counts = segmentation_counts(HEATMAP, MASK, "zero")
    assert counts == SegmentationCounts((1, 1), (3, 3), 2, 4)
    assert pixel_accuracy([counts]) == 0.5
    assert intersection_over_union([counts]).tolist() == [1 / 3, 1 / 3]
    assert mean_iou([counts]) == 1 / 3
    void = np.array([[False, True], [False, False]])
    without = segmentation_counts(HEATMAP, MASK, "zero", void)
    assert without == SegmentationCounts((1, 1), (2, 2), 2, 3)
    assert all(type(n) is int for n in (*without.union, *without.intersection, without.correct))


def test_the_mean_is_over_void_pixels_too():
    heatmap = np.array([[1.0, 2.0, 9.0]])
    mask = np.array([[False, True, False]])
    void = np.array([[False, False, True]])
    # Above the mean of all, 4, there is only the void pixel.
    counts = segmentation_counts(heatmap, mask, "mean", void)
    assert counts == SegmentationCounts((1, 0), (2, 1), 1, 2)


def test_pooled_or_mean_of_the_images():
    large = SegmentationCounts((60, 20), (80, 40), 80, 100)
    small = SegmentationCounts((1, 1), (9, 9), 2, 10)
    assert pixel_accuracy([large, small]) == 82 / 110
    assert pixel_accuracy([large, small], pooled=False) == pytest.approx((0.8 + 0.2) / 2)
    pooled = intersection_over_union([large, small])
    np.testing.assert_allclose(pooled, [61 / 89, 21 / 49], rtol=1e-15)
    each = intersection_over_union([large, small], pooled=False)
    np.testing.assert_allclose(each, [(3 / 4 + 1 / 9) / 2, (1 / 2 + 1 / 9) / 2], rtol=1e-15)
    assert mean_iou([large, small]) == pytest.approx((61 / 89 + 21 / 49) / 2)
    assert mean_iou([large, small], pooled=False) == pytest.approx((5 / 8 + 1 / 9) / 2)
    assert mean_iou(iter([large, small])) == mean_iou([large, small])


def test_absent_classes_are_left_out_of_the_means():
    both = SegmentationCounts((2, 1), (3, 2), 3, 4)
    only_background = SegmentationCounts((4, 0), (4, 0), 4, 4)
    nothing = SegmentationCounts((0, 0), (0, 0), 0, 0)
    images = [both, only_background, nothing]
    iou = intersection_over_union(images, pooled=False)
    np.testing.assert_allclose(iou, [(2 / 3 + 1) / 2, 1 / 2], rtol=1e-15)
    assert mean_iou(images, pooled=False) == pytest.approx(((2 / 3 + 1 / 2) / 2 + 1) / 2)
    assert pixel_accuracy(images, pooled=False) == (3 / 4 + 1) / 2
    assert intersection_over_union([only_background])[0] == 1
    assert math.isnan(intersection_over_union([only_background])[1])
    assert mean_iou([only_background]) == 1
    for pooled in (True, False):
        assert math.isnan(pixel_accuracy([nothing], pooled))
        assert math.isnan(mean_iou([nothing], pooled))
        assert np.isnan(intersection_over_union([nothing], pooled)).all()


def test_average_precision_by_hand():
    # In order of relevance the object is hit by the first and the third pixel.
    assert average_precision(HEATMAP, MASK) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert average_precision(HEATMAP, MASK, void=HEATMAP == 2) == 1
    assert average_precision(np.zeros((2, 2)), MASK) == 0.5
    assert average_precision(HEATMAP, np.ones((2, 2), bool)) == 1
    assert math.isnan(average_precision(HEATMAP, ~np.ones((2, 2), bool)))
    assert math.isnan(average_precision(HEATMAP, MASK, void=MASK))


def test_pointing_game_by_hand():
    heatmap = np.zeros((5, 9))
    heatmap[0, 0], heatmap[4, 8] = 2, 1
    mask = np.zeros((5, 9), bool)
    mask[3, 4] = True
    assert not pointing_game(heatmap, mask)
    # The maximum is 3 rows and 4 columns from the object.
    assert pointing_game(heatmap, mask, tolerance=5)
    assert not pointing_game(heatmap, mask, tolerance=4.99)
    mask[4, 8] = True
    assert not pointing_game(heatmap, mask)
    assert pointing_game(heatmap, mask, void=heatmap == 2)
    # A void pixel is no object either.
    assert not pointing_game(heatmap, mask, void=mask & (heatmap == 0), tolerance=5)
    assert type(pointing_game(heatmap, mask)) is bool


def test_all_of_several_maxima_must_hit():
    heatmap = np.array([[1.0, 0.0, 1.0, 0.0]])
    mask = np.array([[True, True, False, False]])
    assert not pointing_game(heatmap, mask)
    assert pointing_game(heatmap, mask, tolerance=1)
    assert pointing_game(heatmap, heatmap == 1)
    assert not pointing_game(np.ones((1, 4)), mask, tolerance=1)
    assert pointing_game(np.ones((1, 4)), mask, tolerance=2)
    assert not pointing_game(np.zeros((1, 4)), mask)


# The same by loops


@settings(deadline=None, max_examples=50)
@given(scenes())
def test_equal_to_plain_loops(scene):
    heatmap, mask, void = scene
    for relevance in ("all", "positive"):
        fast = outside_inside_ratio(heatmap, mask, relevance, void)
        assert same(fast, slow_ratio(heatmap, mask, void, relevance), rel=1e-12)
    # Percentiles that are exact in binary: the loop may round others to the other side.
    for threshold in ("mean", "zero", 25, 50.0, 12.5):
        fast = segmentation_counts(heatmap, mask, threshold, void)
        assert fast == slow_counts(heatmap, mask, void, threshold)
    fast = average_precision(heatmap, mask, void)
    assert same(fast, slow_average_precision(heatmap, mask, void), rel=1e-12)
    if (mask & ~void).any():
        for tolerance in (0, 1, 1.5, 3):
            fast = pointing_game(heatmap, mask, void, tolerance)
            assert fast == slow_pointing_game(heatmap, mask, void, tolerance)


# Properties


def everything(heatmap, mask, void, thresholds=THRESHOLDS):
    """All measures of one scene."""
    numbers = [
        *(outside_inside_ratio(heatmap, mask, which, void) for which in ("all", "positive")),
        average_precision(heatmap, mask, void),
        *((pointing_game(heatmap, mask, void, t) for t in (0, 2)) if (mask & ~void).any() else ()),
    ]
    return numbers, [segmentation_counts(heatmap, mask, t, void) for t in thresholds]


@settings(deadline=None, max_examples=50)
@given(scenes(), st.integers(-60, 60))
def test_scale_does_not_matter(scene, exponent):
    heatmap, mask, void = scene
    numbers, counts = everything(heatmap, mask, void)
    scaled_numbers, scaled_counts = everything(heatmap * 2.0**exponent, mask, void)
    np.testing.assert_array_equal(scaled_numbers, numbers)
    assert scaled_counts == counts


@settings(deadline=None, max_examples=50)
@given(scenes(), st.integers(0, 2**32 - 1))
def test_relevance_of_void_pixels_does_not_matter(scene, seed):
    heatmap, mask, void = scene
    other = np.where(void, np.random.default_rng(seed).normal(0, 100, heatmap.shape), heatmap)
    numbers, counts = everything(heatmap, mask, void, ["zero"])
    other_numbers, other_counts = everything(other, mask, void, ["zero"])
    np.testing.assert_array_equal(other_numbers, numbers)
    assert other_counts == counts
    # Nor whether the mask covers them.
    assert everything(heatmap, mask ^ void, void)[1] == everything(heatmap, mask, void)[1]


@settings(deadline=None, max_examples=50)
@given(scenes())
def test_a_map_that_equals_its_mask_is_perfect(scene):
    _, mask, _ = scene
    assume(mask.any() and not mask.all())
    heatmap = mask.astype(float)
    assert outside_inside_ratio(heatmap, mask, "all") == 0
    assert outside_inside_ratio(heatmap, mask, "positive") == 0
    assert outside_inside_ratio(heatmap - 1, mask, "all") == 0
    assert average_precision(heatmap, mask) == 1
    assert pointing_game(heatmap, mask)
    for threshold in ("mean", "zero"):
        np.testing.assert_array_equal(foreground(heatmap, threshold), mask)
        counts = [segmentation_counts(heatmap, mask, threshold)]
        assert pixel_accuracy(counts) == mean_iou(counts) == 1


@settings(deadline=None, max_examples=50)
@given(scenes())
def test_ratio_of_all_relevance_inverts_with_the_map_and_with_the_mask(scene):
    heatmap, mask, void = scene
    ratio = outside_inside_ratio(heatmap, mask, "all", void)
    turned = outside_inside_ratio(-heatmap, mask, "all", void)
    assert same(turned, outside_inside_ratio(heatmap, ~mask, "all", void), rel=1e-12)
    if ratio > 0 and turned > 0:
        assert ratio * turned == pytest.approx(1, rel=1e-12)
    positive = np.maximum(heatmap, 0)
    assert same(
        outside_inside_ratio(positive, mask, "all", void),
        outside_inside_ratio(heatmap, mask, "positive", void),
        rel=1e-12,
    )


@settings(deadline=None, max_examples=50)
@given(scenes(), st.integers(0, 5))
def test_pooled_counts_of_two_halves_add_up(scene, row):
    heatmap, mask, void = scene
    row = min(row, len(heatmap))
    halves = [slice(0, row), slice(row, None)]
    counts = [
        segmentation_counts(heatmap[half], mask[half], "zero", void[half])
        for half in halves
        if len(heatmap[half])
    ]
    whole = [segmentation_counts(heatmap, mask, "zero", void)]
    assert same(pixel_accuracy(counts), pixel_accuracy(whole), rel=1e-15)
    np.testing.assert_array_equal(intersection_over_union(counts), intersection_over_union(whole))
    assert same(mean_iou(counts), mean_iou(whole), rel=1e-15)


def test_the_arguments_do_not_change():
    heatmap, mask, void = HEATMAP.copy(), MASK.copy(), HEATMAP == 2
    for array in (heatmap, mask, void):
        array.flags.writeable = False
    everything(heatmap, mask, void)  # would raise


# Refused


def with_nan():
    heatmap = HEATMAP.copy()
    heatmap[1, 1] = math.nan
    return heatmap


@pytest.mark.parametrize(
    "measure", [outside_inside_ratio, segmentation_counts, average_precision, pointing_game]
)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heatmap": with_nan()}, "a heatmap of finite numbers, got NaN or infinity"),
        ({"heatmap": HEATMAP[np.newaxis]}, r"\(height, width\), got shape \(1, 2, 2\)"),
        ({"heatmap": MASK}, "a heatmap of real numbers, got bool"),
        ({"mask": MASK.astype(int)}, "mask to be a bool array, got int64: .*`mask == 1`"),
        ({"mask": MASK[:1]}, r"mask of the heatmap's shape \(2, 2\), got \(1, 2\)"),
        ({"void": MASK * 255}, "void to be a bool array, got int64"),
        ({"void": MASK[:, :1]}, r"void of the heatmap's shape \(2, 2\), got \(2, 1\)"),
    ],
)
def test_wrong_maps_and_masks_are_refused(measure, arguments, message):
    with pytest.raises(InputError, match=message):
        measure(**{"heatmap": HEATMAP, "mask": MASK} | arguments)


@pytest.mark.parametrize("threshold", ["median", 0, 100, -1, 101.0, math.nan, True, None, [50]])
def test_wrong_thresholds_are_refused(threshold):
    for call in (
        lambda: foreground(HEATMAP, threshold),
        lambda: segmentation_counts(HEATMAP, MASK, threshold),
    ):
        with pytest.raises(InputError, match="'mean', 'zero' or a percentile between 0 and 100"):
            call()


def test_wrong_options_are_refused():
    with pytest.raises(InputError, match="'all', 'positive', got 'negative'"):
        outside_inside_ratio(HEATMAP, MASK, "negative")
    with pytest.raises(InputError, match="tolerance >= 0, got -1"):
        pointing_game(HEATMAP, MASK, tolerance=-1)
    for empty, void in ((~np.ones((2, 2), bool), None), (MASK, MASK)):
        with pytest.raises(InputError, match="pixel of the object that is not void"):
            pointing_game(HEATMAP, empty, void)
    for measure in (pixel_accuracy, intersection_over_union, mean_iou):
        with pytest.raises(InputError, match="counts of at least one image"):
            measure([])


# Mass, rank and top-k accuracy


def slow_expected_share(values, inside, labelled, count):
    """The mean share inside over many orders of equal values, each a sorted list."""
    generator, shares = random.Random(0), []
    pixels = [place for place in np.ndindex(values.shape) if labelled[place]]
    for _ in range(400):
        generator.shuffle(pixels)
        first = sorted(pixels, key=lambda place: -values[place])[:count]
        shares.append(sum(inside[place] for place in first) / count)
    return np.mean(shares)


# Made by Quantus 0.6.0, without normalisation: RelevanceMassAccuracy (of the positive part),
# RelevanceRankAccuracy, TopKIntersection with k=5, also with concept_influence.


def test_mass_rank_and_top_k_equal_quantus():
    mask = np.zeros((6, 6), bool)
    mask[1:4, 2:5] = True
    assert relevance_mass_accuracy(QUANTUS_MAP, mask) == pytest.approx(0.15205327, abs=1e-8)
    assert relevance_rank_accuracy(QUANTUS_MAP, mask) == pytest.approx(0.11111111, abs=1e-8)
    assert top_k_intersection(QUANTUS_MAP, mask, 5) == pytest.approx(0.2)
    assert top_k_intersection(QUANTUS_MAP, mask, 5, weighted=True) == pytest.approx(0.8)


@pytest.mark.parametrize("seed", range(4))
def test_mass_rank_and_top_k_equal_plain_loops(seed):
    rng = np.random.default_rng(seed)
    values, mask = rng.normal(size=(4, 5)), rng.random((4, 5)) < 0.4
    void = rng.random((4, 5)) < 0.2
    inside, labelled = mask & ~void, ~void
    total = sum(max(values[p], 0) for p in np.ndindex(values.shape) if labelled[p])
    own = sum(max(values[p], 0) for p in np.ndindex(values.shape) if inside[p])
    assert relevance_mass_accuracy(values, mask, void) == pytest.approx(own / total)
    size = int(inside.sum())
    rank = slow_expected_share(np.maximum(values, 0), inside, labelled, size)
    assert relevance_rank_accuracy(values, mask, void) == pytest.approx(rank, abs=0.03)
    for k in (1, 3, 7):
        share = slow_expected_share(values, inside, labelled, k)
        assert top_k_intersection(values, mask, k, void=void) == pytest.approx(share)
        weighted = share * labelled.sum() / size
        found = top_k_intersection(values, mask, k, weighted=True, void=void)
        assert found == pytest.approx(weighted)


def test_ties_count_as_their_expected_value():
    values = np.array([[2.0, 1, 1], [1, 0, 0]])
    mask = np.array([[True, True, False], [False, False, True]])
    # The 3 first: the 2, and two of the three 1s, of which one is on the object.
    assert relevance_rank_accuracy(values, mask) == pytest.approx((1 + 2 / 3) / 3)
    assert top_k_intersection(values, mask, 3) == pytest.approx((1 + 2 / 3) / 3)
    # Negative relevance is no relevance to the rank accuracy; to the k largest it is less than none.
    values = np.array([[1.0, -1, 0], [0, 0, 0]])
    mask = np.array([[True, True, False], [False, False, False]])
    assert relevance_rank_accuracy(values, mask) == pytest.approx((1 + 1 / 5) / 2)
    assert top_k_intersection(values, mask, 2) == pytest.approx(1 / 2)
    # More than all pixels are all pixels.
    assert top_k_intersection(values, mask, 99) == pytest.approx(2 / 6)


def test_mass_rank_and_top_k_are_undefined_without_object_or_relevance():
    nothing = np.zeros((2, 2), bool)
    assert math.isnan(relevance_rank_accuracy(np.eye(2), nothing))
    assert math.isnan(top_k_intersection(np.eye(2), nothing))
    assert math.isnan(relevance_mass_accuracy(-np.eye(2), ~nothing))


def test_top_k_refuses_other_options():
    with pytest.raises(InputError, match="k to be an integer of at least 1"):
        top_k_intersection(np.eye(2), np.eye(2) == 1, 0)
    with pytest.raises(InputError, match="weighted to be True or False"):
        top_k_intersection(np.eye(2), np.eye(2) == 1, 1, 1)
