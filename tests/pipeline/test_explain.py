"""`rap_keras.explain`."""

import dataclasses

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from keras import layers
from PIL import Image

import rap_keras
from rap_keras import InputError, bundled, create_analyzer
from rap_keras.datasets import cluttered_digits, preprocess
from rap_keras.models.loading import load_model


@pytest.fixture(scope="module")
def pixels():
    return cluttered_digits(3).images


@pytest.fixture(scope="module")
def vgg():
    return bundled.load("vgg")


def grey_model():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(5),
        ],
        name="grey",
    )


def test_images_are_fitted_and_maps_brought_back(rng):
    image = rng.integers(1, 256, (56, 84, 3), np.uint8)
    middle = rap_keras.explain("bundled:vgg", image[:, 14:70])
    cropped = rap_keras.explain("bundled:vgg", image, fit="crop")
    np.testing.assert_array_equal(cropped.images, middle.images)
    assert_same(cropped.relevance, middle.relevance, 1e-5)
    whole = rap_keras.explain("bundled:vgg", [image] * 2, fit="crop", original_size=True)
    np.testing.assert_array_equal(whole.images, [image] * 2)
    assert whole.relevance.shape == (2, 56, 84, 3)
    np.testing.assert_allclose(whole.relevance.sum((1, 2, 3)), whole.explained_logits, rtol=1e-4)
    assert not whole.relevance[:, :, :14].any()
    several = rap_keras.explain("bundled:vgg", image, target=[[3, 5]], original_size=True)
    assert several.relevance.shape == (1, 2, 56, 84, 3)


def test_names_of_classes(pixels, tmp_path):
    grey, names = grey_model(), list("abcde")
    found = rap_keras.explain(grey, pixels, preprocess="unit", classes=names, target="c")
    assert found.labels == tuple(names)
    assert set(found.neurons) == {2}
    (tmp_path / "names.txt").write_text("\n".join(names))
    again = rap_keras.explain(grey, pixels, preprocess="unit", classes=tmp_path / "names.txt")
    assert again.labels == found.labels


def test_what_does_not_fit_is_refused(pixels):
    other = np.zeros((20, 30, 3), np.uint8)
    for arguments, message in (
        ({"images": pixels, "fit": "stretch"}, "warp, crop or pad, got 'stretch'"),
        ({"images": [pixels[0], other], "original_size": True}, "leave original_size out"),
        ({"images": np.zeros((1, 56, 56, 3)), "original_size": True}, "Expected images for"),
        (
            {"images": pixels, "classes": ["a", "b"]},
            "each of the 10 neurons of bundled:vgg, got 2",
        ),
    ):
        with pytest.raises(InputError, match=message):
            rap_keras.explain("bundled:vgg", **arguments)


def test_pixels_of_a_model_by_name(pixels, vgg):
    found = rap_keras.explain("bundled:vgg", pixels)
    assert_same(found.relevance, create_analyzer("rap", vgg).analyze(preprocess(pixels)), 1e-5)
    np.testing.assert_array_equal(found.images, pixels)
    assert found.labels == tuple("0123456789")
    assert found.model == "bundled:vgg"


def test_every_kind_of_image_is_the_same_image(pixels, tmp_path):
    loaded = load_model("bundled:vgg")
    small, grey = tmp_path / "a" / "scene.png", pixels[0][..., 0]
    small.parent.mkdir()
    Image.fromarray(pixels[0]).save(small)
    expected = rap_keras.explain(loaded, pixels[:1], "gradient").relevance
    for images in (pixels[0], small, str(small.parent), [small], Image.open(small)):
        assert_same(rap_keras.explain(loaded, images, "gradient").relevance, expected, 1e-5)
    both = rap_keras.explain(loaded, [pixels[0], str(small)], "gradient")
    assert_same(both.relevance, np.repeat(expected, 2, 0), 1e-5)
    for images in (grey, grey[..., None], Image.fromarray(grey)):
        np.testing.assert_array_equal(
            rap_keras.explain(loaded, images, "gradient").images[0], np.stack([grey] * 3, -1)
        )


def test_batches_in_a_list_and_tensors(pixels):
    several = [pixels[:2], pixels[2], keras.ops.convert_to_tensor(pixels[:1])]
    found = rap_keras.explain("bundled:vgg", several, "input").images
    np.testing.assert_array_equal(found, pixels[[0, 1, 2, 0]])
    found = rap_keras.explain("bundled:vgg", keras.ops.convert_to_tensor(pixels), "input")
    np.testing.assert_array_equal(found.images, pixels)
    x = preprocess(pixels)
    found = rap_keras.explain("bundled:vgg", keras.ops.convert_to_tensor(x), "input")
    np.testing.assert_array_equal(found.relevance, x)


def test_other_sizes_are_warped(pixels):
    large = np.repeat(np.repeat(pixels[0], 3, 0), 2, 1)
    found = rap_keras.explain("bundled:vgg", large)
    as_pillow = Image.fromarray(large).resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found.images[0], np.asarray(as_pillow))


@pytest.mark.parametrize(
    "neuron",
    [
        pytest.param(7, id="one", marks=pytest.mark.slow),
        pytest.param([1, 2, 3], id="n"),
        pytest.param(np.array([[1, 7]] * 3), id="nk"),
    ],
)
def test_neurons_by_number(pixels, vgg, neuron):
    found = rap_keras.explain("bundled:vgg", pixels, "lrp.epsilon", neuron)
    analyzer = create_analyzer("lrp.epsilon", vgg)
    assert_same(found.relevance, analyzer.analyze(preprocess(pixels), neuron), 1e-5)


def test_neurons_by_name_and_all(pixels):
    by_name = rap_keras.explain("bundled:vgg", pixels, target="7")
    assert by_name.neurons.tolist() == [7, 7, 7]
    together = rap_keras.explain("bundled:vgg", pixels, target="all")
    assert together.neurons is None
    np.testing.assert_allclose(
        together.relevance.sum((1, 2, 3)), together.logits.sum(1), rtol=1e-4, atol=1e-3
    )


def test_options_reach_the_method(pixels):
    plain, sized = (
        rap_keras.explain("bundled:vgg", pixels, "gradient", postprocess=how).relevance
        for how in (None, "abs")
    )
    np.testing.assert_array_equal(np.abs(plain), sized)


def test_floats_are_what_the_model_takes(pixels, vgg):
    x = preprocess(pixels)
    found = rap_keras.explain(vgg, x)
    assert_same(found.relevance, create_analyzer("rap", vgg).analyze(x), 1e-6)
    assert found.images is None
    with pytest.raises(InputError, match=r"got floats.*leave preprocess out"):
        rap_keras.explain(vgg, x, preprocess="unit")
    with pytest.raises(InputError, match=r"for mean=3, got floats.*leave mean out"):
        rap_keras.explain(vgg, x, mean=3)


@pytest.mark.parametrize("name", ["unit", "tf", "caffe", "torch", "none"])
def test_the_preprocessing_of_floats_is_undone_for_the_figure(name, pixels, vgg):
    loaded = load_model(vgg, preprocess=name)
    resized = np.stack([np.asarray(Image.fromarray(i).resize((64, 64))) for i in pixels])
    found = rap_keras.explain(loaded, loaded.preprocess(resized), "gradient")
    np.testing.assert_array_equal(found.images, resized)
    np.testing.assert_array_equal(loaded.pixels(loaded.preprocess(resized)), resized)


def test_the_preprocessing_of_a_name_is_undone(pixels):
    resized = np.stack([np.asarray(Image.fromarray(i).resize((64, 64))) for i in pixels])
    found = rap_keras.explain("bundled:vgg", preprocess(resized), "gradient")
    np.testing.assert_array_equal(found.images, resized)
    noise = np.random.default_rng(0).normal(size=resized.shape).astype("float32") * 9
    assert rap_keras.explain("bundled:vgg", noise, "gradient").images is None
    with pytest.raises(InputError, match="images that the preprocessing of bundled:vgg made"):
        load_model("bundled:vgg").pixels(noise)
    with pytest.raises(InputError, match=r"got .photo\.jpg.: pass the pixels"):
        load_model("bundled:vgg").pixels("photo.jpg")


def test_other_preprocessings_are_not_undone(pixels, vgg):
    known = load_model(vgg, preprocess="unit")
    curved = dataclasses.replace(known, preprocess=lambda x: np.sqrt(x.astype("float32")))
    assert (
        rap_keras.explain(curved, curved.preprocess(pixels[:, :64, :64]), "gradient").images is None
    )
    grey = load_model(grey_model(), preprocess="tf")
    image = np.repeat(pixels[:, :28, :28, :1], 3, -1)
    np.testing.assert_array_equal(grey.pixels(grey.preprocess(image)), image)


def test_grey_models_take_the_luma(pixels):
    model = grey_model()
    found = rap_keras.explain(model, pixels, preprocess="unit")
    luma = np.stack(
        [
            np.asarray(Image.fromarray(i).resize((28, 28), Image.Resampling.BILINEAR).convert("L"))
            for i in pixels
        ]
    )
    x = load_model(model, preprocess="none").preprocess(found.images)
    assert x.shape == (3, 28, 28, 1)
    scaled = rap_keras.explain(model, pixels, mean=0, std=[255]).relevance
    np.testing.assert_array_equal(scaled, found.relevance)
    assert np.abs(x[..., 0] - luma).max() <= 1  # Pillow's weights are rounded otherwise
    assert_same(found.relevance, create_analyzer("rap", model).analyze(x / np.float32(255)), 1e-5)
    grey = np.arange(28 * 28).reshape(28, 28).astype(np.uint8)
    same = load_model(model, preprocess="none").preprocess(np.stack([grey] * 3, -1)[None])
    np.testing.assert_array_equal(same[0, ..., 0], grey)
    for name in ("caffe", "torch", "resnet50"):
        with pytest.raises(InputError, match="because grey takes grey images"):
            rap_keras.explain(model, pixels, preprocess=name)


WRONG = {
    r"because grey has no names for its classes, got 'cat': pass an index, or classes=NAMES": {
        "target": "cat"
    },
    "Expected at least one image, got none": {"images": []},
    "There is no image or folder 'nowhere.png'": {"images": "nowhere.png"},
    r"uint8 \(height, width, 3\) or \(height, width\), got int": {"images": 3},
    r"got uint8 of shape \(4, 4, 2\)": {"images": np.zeros((4, 4, 2), np.uint8)},
    r"got int64 of shape \(4, 4, 3\)": {"images": np.zeros((1, 4, 4, 3), np.int64)},
    "with pixels, got the shape": {"images": np.zeros((0, 4, 3), np.uint8)},
    "for grey, got none of them": {"preprocess": "auto"},
    "did you mean 'rap'": {"method": "rapp"},
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_input_is_one_sentence(pixels, words):
    arguments = {"images": pixels, "preprocess": "unit"} | WRONG[words]
    with pytest.raises(InputError, match=words) as told:
        rap_keras.explain(grey_model(), **arguments)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "given",
    [
        {"preprocess": "torch"},
        {"mean": np.zeros(3)},
        {"std": 2.0},
        {"weights": "none"},
        {"size": 32},
    ],
)
def test_a_loaded_model_has_its_own_preprocessing(given, pixels, tmp_path):
    loaded = load_model("bundled:vgg")
    (name,) = given
    with pytest.raises(
        InputError, match=f"Expected no {name} for a model that load_model returned"
    ):
        rap_keras.explain(loaded, pixels, **given)
    with pytest.raises(
        InputError, match=f"Expected no {name} for a model that load_model returned"
    ):
        rap_keras.concepts.fit(loaded, pixels, tmp_path, **given)
    assert not list(tmp_path.iterdir())


def test_names_of_classes_are_proposed(pixels):
    loaded = load_model("bundled:vgg")
    object.__setattr__(loaded, "labels", ("tabby cat", *"abcdefg", "crane", "crane"))
    with pytest.raises(
        InputError, match="one of 10 classes, got 'tabby': did you mean 'tabby cat'"
    ):
        rap_keras.explain(loaded, pixels, target="tabby")
    with pytest.raises(InputError, match="got 'crane', which is the name of 8, 9: pass a number"):
        rap_keras.explain(loaded, pixels, target="crane")


def test_images_of_several_sizes(pixels):
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )
    images = [pixels[0], pixels[1][:40]]
    with pytest.raises(InputError, match=r"of one size.*pass size=N"):
        rap_keras.explain(model, images, preprocess="unit")
    assert rap_keras.explain(model, images, preprocess="unit", size=32).images.shape == (
        2,
        32,
        32,
        3,
    )


def test_names_are_those_of_their_output():
    given = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(given)
    ends = [keras.layers.Dense(n, name=name)(flat) for n, name in ((2, "few"), (5, "many"))]
    model = load_model(keras.Model(given, ends), preprocess="none", output="few")
    named = model.with_labels(["cat", "dog"])
    x = np.ones((1, 8, 8, 3), "float32")
    for own in (None, "few", 0):
        found = rap_keras.explain(named, x, "gradient", "dog", output=own)
        assert found.decisions[0].startswith("class 1 (dog), logit ")
    for other in ("many", 1):
        found = rap_keras.explain(named, x, "gradient", 4, output=other)
        assert found.decisions[0].startswith("output 4, logit ")
        with pytest.raises(InputError, match="has no names for its classes"):
            rap_keras.explain(named, x, "gradient", "dog", output=other)
