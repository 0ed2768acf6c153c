"""What is explained, from values and from text."""

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from keras import layers
from PIL import Image

import rap_keras
from rap_keras import InputError
from rap_keras.models.loading import load_model
from rap_keras.pipeline.explainer import Explainer
from rap_keras.pipeline.methods import MethodSpec
from rap_keras.pipeline.target import Region, parse_contrast, parse_target, read_region

NAMES = ("cat", "dog", "dog, wet", "fox")


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(4),
        ],
        name="net",
    )
    return load_model(model, preprocess="unit").with_labels(NAMES)


@pytest.fixture(scope="module")
def segmentation():
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(4, 3, padding="same"),
        ],
        name="parts",
    )
    return load_model(model, preprocess="unit").with_labels(NAMES)


@pytest.fixture
def pixels(rng):
    return rng.integers(1, 256, (2, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max", None),
        ("all", "all"),
        (" 7 ", 7),
        ("cat", "cat"),
        ("1,cat", "1,cat"),
        ("top:2", rap_keras.TopK(2)),
    ],
)
def test_targets_as_they_are_typed(text, expected):
    assert parse_target(text) == expected


@pytest.mark.parametrize(
    ("target", "neurons"),
    [
        ("dog", [1, 1]),
        ("dog, wet", [2, 2]),
        ("3, dog", [[3, 1], [3, 1]]),
        ([[2, 0]], [[2, 0], [2, 0]]),
        ([2, 0], [2, 0]),
        (np.int64(3), [3, 3]),
        ("3", [3, 3]),
        (rap_keras.TopK(1), None),
        (["fox", "cat"], [3, 0]),
    ],
)
def test_classes_by_number_and_name(target, neurons, classifier, pixels):
    found = rap_keras.explain(classifier, pixels, "gradient", target)
    if neurons is None:
        neurons = found.logits.argmax(-1)[:, np.newaxis]
    np.testing.assert_array_equal(found.neurons, neurons)


def test_numbers_in_a_text_are_indices(classifier, pixels):
    """Where they are names too: a name alone is a name, as `bundled:segmentation` has them."""
    shifted = classifier.with_labels(["void", "0", "1", "2"])
    for target, neurons in (("1,2", [[1, 2]] * 2), ("1", [2, 2]), (parse_target("1"), [1, 1])):
        found = rap_keras.explain(shifted, pixels, "gradient", target)
        np.testing.assert_array_equal(found.neurons, neurons)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (4, "Expected target from 0 to 3, got 4: the model has 4 output neurons"),
        ("dgo", "did you mean 'dog'"),
        ("1,dgo", "did you mean 'dog'"),
    ],
)
def test_classes_that_are_none(target, message, classifier, pixels):
    with pytest.raises(InputError, match=message) as told:
        rap_keras.explain(classifier, pixels, target=target)
    assert told.value.arguments == ("target",)


def test_a_class_against_another(classifier, pixels):
    found = rap_keras.explain(classifier, pixels, target="dog", against=3)
    same = rap_keras.explain(classifier, pixels, target=1, contrast=3)
    np.testing.assert_array_equal(found.relevance, same.relevance)
    assert found.decisions[0].startswith("class 1 (dog) against 3, logit ")
    with pytest.raises(InputError, match="Expected against or contrast"):
        rap_keras.explain(classifier, pixels, against=3, contrast=2)
    for against in ("cow", "3,7", [99]):  # the argument that was passed, not the option
        with pytest.raises(InputError, match=r"^Expected (the classes of )?against ") as error:
            rap_keras.explain(classifier, pixels, against=against)
        assert error.value.arguments == ("against",)
    named = rap_keras.explain(classifier, pixels, target="dog", against="fox")
    assert named.decisions == found.decisions
    every = rap_keras.explain(classifier, pixels, against="uniform").decisions[0]
    assert " against the others, logit " in every
    np.testing.assert_array_equal(named.relevance, same.relevance)
    with pytest.raises(InputError, match="Expected no against for the method 'smoothgrad'"):
        rap_keras.explain(classifier, pixels, "smoothgrad", against=3)
    assert parse_contrast(None, "1, cat") == [1, "cat"]
    assert parse_contrast("softmax", None) == "softmax"


def test_regions_of_every_kind(segmentation, pixels, tmp_path):
    mask = np.zeros((8, 8), bool)
    mask[2:6, 4:] = True
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "mask.png")
    analyzer = Explainer(segmentation, MethodSpec("rap", "rap"))
    expected = analyzer.explain(segmentation.preprocess(pixels), np.s_[1:3, 2:, 1])
    for region in ("1:3,2:", mask, tmp_path / "mask.png"):
        found = rap_keras.explain(segmentation, pixels, target="dog", region=region)
        np.testing.assert_array_equal(found.neurons, expected.neurons)
        assert_same(found.relevance, expected.relevance, 1e-6)
        assert found.decisions[0].startswith("class 1 (dog) at 4 positions, logit ")
        assert found.regions[0].sum() == 4


def test_a_class_of_a_map_is_explained_wherever_it_is(segmentation, pixels):
    found = rap_keras.explain(segmentation, pixels, target=2)
    np.testing.assert_array_equal(found.neurons[1], np.broadcast_to(np.arange(4) == 2, (4, 4, 4)))
    assert found.decisions[0].startswith("class 2 (dog, wet), logit ")
    assert found.regions == [None, None]
    largest = rap_keras.explain(segmentation, pixels, region="1,2")
    logits = segmentation.logits(segmentation.preprocess(pixels))
    assert [one.summaries()[0]["neuron"] for one in largest] == logits[:, 1, 2].argmax(-1).tolist()
    together = rap_keras.explain(segmentation, pixels, target="all", region="1,2")
    assert together.summaries()[0]["neuron"] == "all"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "pass region=REGION, target=CLASS or both"),
        ({"region": "class"}, "got none: pass target=CLASS"),
        ({"region": "9,9", "target": 1}, "does not fit the positions of the output, 4 x 4"),
        (
            {"region": "1,1", "target": [1, 2]},
            'Expected target with region to be one class, "all" or None',
        ),
        ({"region": "1,1", "target": 4}, "Expected target from 0 to 3, got 4"),
        ({"region": 3}, "Expected region to be a pixel y,x"),
        ({"target": "1,2"}, "parts predicts classes at each position, got .* one class at a time"),
        ({"target": rap_keras.TopK(2)}, "explain one class at a time"),
        ({"target": 4}, "Expected target from 0 to 3, got 4: parts has 4 classes"),
    ],
)
def test_regions_that_do_not_fit(given, message, segmentation, pixels):
    with pytest.raises(InputError, match=message):
        rap_keras.explain(segmentation, pixels, **given)


def test_pixels_without_the_class_are_told_by_their_place(pixels):
    always_0 = layers.Conv2D(2, 1, kernel_initializer="zeros")
    model = load_model(keras.Sequential([keras.Input((8, 8, 3)), always_0]), preprocess="unit")
    with pytest.raises(InputError, match="got none in 'image 0': pass another"):
        rap_keras.explain(model, pixels, target=1, region="class")


def test_a_vector_has_no_positions(classifier, pixels):
    with pytest.raises(
        InputError, match="the output of net is one vector of 4, which has no positions"
    ):
        rap_keras.explain(classifier, pixels, region="1,1")


@pytest.mark.parametrize("text", ["", "1;2", "1.5,2", "1:2:3,4", "missing.png", "a" * 5000, "\0"])
def test_texts_that_are_no_region(text):
    with pytest.raises(InputError, match="Expected region to be a pixel"):
        read_region(text)


def test_a_pixel_can_be_a_tuple(segmentation, pixels):
    found = rap_keras.explain(segmentation, pixels, region=(1, np.int64(2)), target=1)
    assert (
        found.decisions == rap_keras.explain(segmentation, pixels, region="1,2", target=1).decisions
    )
    with pytest.raises(InputError, match="region=9,9 does not fit"):
        rap_keras.explain(segmentation, pixels, region=(9, 9), target=1)


def test_a_region_is_read_once():
    assert read_region(None) is None
    assert read_region("class").is_class
    region = read_region("1, 2:")
    assert isinstance(region, Region)
    assert region.index == (1, slice(2, None))


@pytest.mark.parametrize("fit", ["warp", "crop", "pad"])
def test_a_mask_is_resized_like_the_image(segmentation, rng, fit):
    image = rng.integers(1, 256, (8, 16, 3), np.uint8)
    mask = np.zeros((8, 16), bool)
    mask[:, :10] = True
    left = {
        "warp": np.s_[:, :2],  # of 4 x 4 positions
        "crop": np.s_[:, :3],
        "pad": np.s_[1:3, :2],
    }[fit]
    expected = np.zeros((4, 4), bool)
    expected[left] = True
    found = rap_keras.explain(segmentation, image, target=1, region=mask, fit=fit)
    assert_same(found.neurons[0, ..., 1], expected)
    assert not found.neurons[..., [0, 2, 3]].any()
