"""Methods that make many copies of a sample need the memory of one batch of them."""

import tracemalloc

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.networks import plain
from keras import layers

from rap_keras import create_analyzer

traced = pytest.mark.programs  # each analyzer runs often: its graph is worth it
SIDE = 64
COPY = SIDE * SIDE * 3 * 4  # bytes
# The option for the number of copies, with a small and a large value.
NUMBERS = {
    "integrated_gradients": ("steps", 8, 128),
    "smoothgrad": ("augment_by_n", 8, 128),
    "expected_gradients": ("draws", 8, 128),
    "rise": ("masks", 8, 128),
    "occlusion": ("stride", 32, 3),
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(2, 8, strides=8, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).normal(size=(1, SIDE, SIDE, 3)).astype(np.float32)


def made(method, model, number, batch_size=2):
    option, *_ = NUMBERS[method]
    own = {"background": np.ones((3, SIDE, SIDE, 3))} if method == "expected_gradients" else {}
    own |= {"window": 32} if method == "occlusion" else {}
    return create_analyzer(method, model, batch_size=batch_size, **{option: number}, **own)


def peak(call):
    """The most bytes that NumPy and Python use at a time."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@traced
@pytest.mark.parametrize("method", NUMBERS)
@pytest.mark.quick("integrated_gradients", "rise")
def test_memory_does_not_grow_with_the_number_of_copies(method, model, image, monkeypatch):
    _, few, many = NUMBERS[method]
    peaks, sizes = [], []

    def sized(function):
        return lambda arrays, *rest: sizes.append(len(arrays[0])) or function(arrays, *rest)

    for number in (few, many):
        analyzer = made(method, model, number)
        analyzer.analyze(image)  # traces
        with monkeypatch.context() as patch:
            if hasattr(analyzer, "_gradient"):
                patch.setattr(analyzer._gradient, "raw_maps", sized(analyzer._gradient.raw_maps))
            else:
                patch.setitem(vars(analyzer._network), "logits", sized(analyzer._network.logits))
            peaks.append(peak(lambda analyzer=analyzer: analyzer.analyze(image)))
    assert len(sizes) > 50  # those of many
    assert max(sizes) == 2
    assert peaks[1] < 1.5 * peaks[0]
    assert max(peaks) < 20 * COPY


@traced
@pytest.mark.parametrize("method", NUMBERS)
@pytest.mark.quick("integrated_gradients", "rise", "occlusion")
def test_maps_do_not_depend_on_the_size_of_batches(method, model, image):
    x = np.concatenate([image, -image])
    number = 16 if method == "occlusion" else 8
    found = [made(method, model, number, size).analyze(x) for size in (1, 3, 32)]
    assert_same(found[1], found[0])
    assert_same(found[2], found[0])


@traced
@pytest.mark.parametrize("method", [*(m for m in NUMBERS if m != "occlusion"), "random"])
def test_parts_of_a_call_get_the_noise_of_the_whole_call(method, model, image):
    x = np.concatenate([image] * 3)
    noise = method == "random"
    analyzer = create_analyzer("random", model, seed=4) if noise else made(method, model, 3)
    whole = analyzer.analyze(x)
    with analyzer.counting_from(1):
        assert_same(analyzer.analyze(x[1:]), whole[1:])
    assert_same(analyzer.analyze(x[:1]), whole[:1])


def test_the_noise_of_several_inputs_is_drawn_input_by_input(rng):
    inputs = [keras.Input((3,)), keras.Input((2,))]
    products = layers.Dot(1)([layers.Dense(4)(each) for each in inputs])
    model = keras.Model(inputs, products)
    x = [rng.normal(size=(2, 3)).astype("f"), rng.normal(size=(2, 2)).astype("f")]
    made = {"augment_by_n": 5, "batch_size": 2, "noise_scale": 0.5, "seed": 3}
    found = create_analyzer("smoothgrad", model, **made).analyze(x)
    gradient = create_analyzer("gradient", model)
    for k in range(2):
        drawn = np.random.default_rng([3, k])
        copies = [(a[k] + drawn.normal(0, 0.5, (5, a.shape[1]))).astype("f") for a in x]
        for own, each in zip(found, gradient.analyze(copies), strict=True):
            assert_same(own[k], each.mean(0))


def test_masks_drawn_in_batches_equal_masks_drawn_at_once():
    analyzer = create_analyzer("rise", plain(), masks=7, batch_size=3, cells=4, seed=5)
    masks = np.concatenate(list(analyzer._masks((12, 12), 2)))
    drawn = np.random.default_rng([5, 2])
    grids = drawn.random((7, 4, 4)) < 0.5
    shifts = np.stack([drawn.integers(0, 3, 7) for _ in range(2)], 1)
    for mask, grid, (y, x) in zip(masks, grids, shifts, strict=True):
        # The middle of a cell has its value.
        for row, column in np.ndindex(4, 4):
            place = np.array([row, column]) * 15 / 4 + 15 / 8 - 0.5 - [y, x]
            low, high = np.floor(place).astype(int), np.ceil(place).astype(int)
            if (low >= 0).all() and (high < 12).all():
                near = mask[low[0] : high[0] + 1, low[1] : high[1] + 1]
                assert near.min() - 0.5 <= grid[row, column] <= near.max() + 0.5
