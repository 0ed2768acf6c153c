import itertools
from importlib import resources
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from rap_keras import bundled
from rap_keras.datasets import Scenes, cluttered_digit_pairs, cluttered_digits, preprocess
from rap_keras.datasets.drawing import _pool, draw
from rap_keras.errors import InputError

FIELDS = ("images", "labels", "masks", "boxes")
MODELS = ("vgg", "residual")


@pytest.fixture(scope="module")
def unseen() -> Scenes:
    return cluttered_digits(1000, seed=12345, split="test")


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> keras.Model:
    return bundled.load(request.param)


def test_dtypes_shapes_and_ranges(unseen: Scenes) -> None:
    assert (unseen.images.dtype, unseen.images.shape) == (np.uint8, (1000, 64, 64, 3))
    assert (unseen.labels.dtype, unseen.labels.shape) == (np.int64, (1000,))
    assert (unseen.masks.dtype, unseen.masks.shape) == (np.bool_, (1000, 64, 64))
    assert (unseen.boxes.dtype, unseen.boxes.shape) == (np.int64, (1000, 4))
    assert unseen.images.min() == 0
    assert unseen.images.max() == 255


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_image_depends_on_seed_split_and_index_only(split: str) -> None:
    few, many = cluttered_digits(5, seed=7, split=split), cluttered_digits(50, seed=7, split=split)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(few, field), getattr(many, field)[:5])


def test_seeds_splits_and_indices_differ() -> None:
    sets = [
        cluttered_digits(4, seed=seed, split=split)
        for seed in (0, 1)
        for split in ("train", "test")
    ]
    images = [image for scenes in sets for image in scenes.images]
    for one, other in itertools.combinations(images, 2):
        assert np.mean(one != other) > 0.5


def test_no_test_digit_is_a_train_digit() -> None:
    train, test = ({scan.tobytes() for scan in _pool(split)[0]} for split in ("train", "test"))
    assert len(train) + len(test) == 1797
    assert not train & test


def test_each_split_draws_from_its_own_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    pools = {split: _pool(split) for split in ("train", "test")}
    asked = []

    def spy(split: str) -> tuple[np.ndarray, np.ndarray]:
        asked.append(split)
        return pools[split]

    monkeypatch.setitem(draw.__globals__, "_pool", spy)
    cluttered_digits(2, split="test")
    cluttered_digits(3, split="train")
    assert asked == ["test"] * 2 + ["train"] * 3


def test_boxes_are_the_tight_half_open_boxes_of_the_masks(unseen: Scenes) -> None:
    for mask, (x_min, y_min, x_max, y_max) in zip(unseen.masks, unseen.boxes, strict=True):
        inside = mask[y_min:y_max, x_min:x_max]
        assert inside.sum() == mask.sum()  # Nothing outside,
        assert inside.any(axis=0)[[0, -1]].all()  # and no side to spare.
        assert inside.any(axis=1)[[0, -1]].all()


def test_digits_are_whole_and_of_the_stated_size(unseen: Scenes) -> None:
    assert unseen.boxes.min() >= 1
    assert unseen.boxes.max() <= 63
    heights = unseen.boxes[:, 3] - unseen.boxes[:, 1]
    assert heights.min() >= 16
    assert heights.max() <= 40
    assert np.ptp(unseen.boxes[:, :2], axis=0).min() > 30  # Anywhere, not in the middle only.


@pytest.mark.parametrize("split", [pytest.param("train", marks=pytest.mark.slow), "test"])
def test_the_mask_is_exactly_where_the_digit_was_painted(split: str) -> None:
    scenes = cluttered_digits(100, seed=3, split=split)
    for i in range(100):
        scene = draw(i, 3, split, 1)
        (digit,) = scene.digits
        without = scene.render(without=digit)
        changed = (scenes.images[i] != without).any(axis=-1)
        np.testing.assert_array_equal(changed, scenes.masks[i])


def test_labels_are_roughly_balanced(unseen: Scenes) -> None:
    counts = np.bincount(unseen.labels, minlength=10)
    assert counts.min() >= 70
    assert counts.max() <= 135


def test_scenes_are_drawn_from_the_scan_of_their_label(unseen: Scenes) -> None:
    # The stretched mask must look most like the digits of its own class, for most scenes.
    scans, labels = _pool("test")
    means = np.stack([scans[labels == digit].mean(axis=0).ravel() for digit in range(10)])
    means -= means.mean(axis=1, keepdims=True)
    right = 0
    for mask, (x_min, y_min, x_max, y_max), label in zip(
        unseen.masks, unseen.boxes, unseen.labels, strict=True
    ):
        rows = np.linspace(y_min, y_max - 1, 8).astype(int)
        columns = np.linspace(x_min, x_max - 1, 8).astype(int)
        right += int(np.argmax(means @ mask[np.ix_(rows, columns)].ravel()) == label)
    assert right / 1000 > 0.4  # Chance is 0.1.


@pytest.mark.parametrize(
    "kwargs", [{"n": 0}, {"n": 1, "seed": -1}, {"n": 1, "split": "validation"}]
)
def test_wrong_requests_are_refused(kwargs: dict) -> None:
    with pytest.raises(InputError, match="Expected"):
        cluttered_digits(**kwargs)


def test_preprocess_scales_to_minus_one_to_one() -> None:
    images = np.zeros((2, 64, 64, 3), np.uint8)
    images[1] = 255
    scaled = preprocess(images)
    assert scaled.dtype == np.float32
    assert (scaled[0] == -1).all()
    assert (scaled[1] == 1).all()


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 64, 64, 3), np.float32),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((2, 32, 64, 3), np.uint8),
        np.zeros((2, 64, 64, 1), np.uint8),
    ],
)
def test_preprocess_refuses_other_images(images: np.ndarray) -> None:
    with pytest.raises(InputError, match="Expected uint8 images"):
        preprocess(images)


@pytest.mark.slow
def test_bundled_models_know_unseen_scenes(model: keras.Model, unseen: Scenes) -> None:
    logits = model.predict(preprocess(unseen.images), batch_size=100, verbose=0)
    assert logits.shape == (1000, 10)
    assert np.mean(logits.argmax(axis=1) == unseen.labels) >= 0.97
    # Logits: some negative, rows of any sum.
    assert logits.min() < 0
    assert np.abs(logits.sum(axis=1) - 1).max() > 1


def test_bundled_models_are_bare(model: keras.Model) -> None:
    assert model.input_shape == (None, 64, 64, 3)
    assert not model.compiled
    assert model.layers[-1].activation is keras.activations.linear
    assert not any(isinstance(layer, keras.layers.Softmax) for layer in model.layers)


def test_the_two_bundled_models_are_of_the_stated_kinds() -> None:
    vgg, residual = (
        {type(layer).__name__ for layer in bundled.load(name).layers} for name in MODELS
    )
    assert vgg == {"InputLayer", "Conv2D", "MaxPooling2D", "Flatten", "Dense"}
    assert residual == {
        "InputLayer",
        "Conv2D",
        "BatchNormalization",
        "ReLU",
        "Add",
        "GlobalAveragePooling2D",
        "Dense",
    }


def test_bundled_assets_are_small() -> None:
    with resources.as_file(resources.files("rap_keras") / "assets") as folder:
        sizes = {name: (Path(folder) / f"cluttered_digits_{name}.npz").stat() for name in MODELS}
    assert sum(stat.st_size for stat in sizes.values()) < 2_000_000


def test_an_unknown_bundled_model_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match=r"'resnet': choose one of .*\bvgg, .*residual"):
        bundled.load("resnet")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_pair_has_two_digits_and_each_can_be_taken_away(split: str) -> None:
    pairs = cluttered_digit_pairs(40, seed=3, split=split)
    assert (pairs.labels[:, 0] != pairs.labels[:, 1]).all()
    assert not (pairs.masks[:, 0] & pairs.masks[:, 1]).any()
    assert (pairs.masks.sum((2, 3)) > 30).all()
    for k in range(2):
        changed = (pairs.without[:, k] != pairs.images).any(axis=-1)
        np.testing.assert_array_equal(changed, pairs.masks[:, k])


def test_more_pairs_begin_with_the_same() -> None:
    few, more = cluttered_digit_pairs(3), cluttered_digit_pairs(5)
    np.testing.assert_array_equal(few.images, more.images[:3])
    np.testing.assert_array_equal(few.without, more.without[:3])


@pytest.mark.parametrize("options", [{"n": 0}, {"n": 1, "seed": -1}, {"n": 1, "split": "val"}])
def test_what_gives_no_pairs_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="Expected"):
        cluttered_digit_pairs(**options)


def test_a_classifier_of_single_digits_sees_either_of_a_pair() -> None:

    pairs = cluttered_digit_pairs(60)
    model = bundled.load("vgg")
    for k in range(2):
        predicted = model.predict(preprocess(pairs.without[:, k]), verbose=0).argmax(1)
        assert (predicted == pairs.labels[:, 1 - k]).mean() > 0.9
