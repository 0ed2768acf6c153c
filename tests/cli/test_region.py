"""Outputs that are maps, and one output of several, on the command line."""

import json

import numpy as np
import pytest
from helpers.command_line import fail, files, succeed
from helpers.compare import assert_same
from keras.ops import convert_to_numpy
from PIL import Image

import rap_keras
from rap_keras.models.loading import load_model

MODEL = """
import keras
from keras import layers

def parts(size):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((size, size, 3), name="pixels")
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="stem")(inputs)
    x = layers.MaxPooling2D(2, name="pool")(x)
    maps = layers.Conv2D(4, 3, padding="same", activation="softmax", name="maps")(x)
    return inputs, x, maps

def make(size=12):
    inputs, _, maps = parts(size)
    return keras.Model(inputs, maps)

def any_size():
    return make(None)

def binary():
    inputs, x, _ = parts(12)
    return keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x))

def several():
    inputs, x, maps = parts(12)
    boxes = layers.Reshape((9, 12), name="boxes")(layers.Conv2D(3, 1, name="offsets")(x))
    mean = layers.Dense(5, name="dense")(layers.GlobalAveragePooling2D(name="mean")(x))
    return keras.Model(inputs, {"maps": maps, "boxes": boxes, "classes": mean})
"""


@pytest.fixture
def model(tmp_path):
    (tmp_path / "net.py").write_text(MODEL)
    return f"{tmp_path / 'net.py'}:make"


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    for name, image in zip(("a", "b"), pixels, strict=True):
        Image.fromarray(image).save(tmp_path / "in" / f"{name}.png")
    return tmp_path / "in"


def batch(folder):
    return np.stack([np.asarray(Image.open(folder / f"{n}.png")) for n in "ab"]) / np.float32(255)


def explained(photo, model, out, *arguments):
    common = ("--model", model, "--preprocess", "unit", "--out", out, "--method", "rap")
    text = succeed("explain", photo, *common, *arguments)
    record = json.loads((out / "explain.json").read_text("utf-8"))
    return text, record, np.stack([np.load(out / f"{name}.npy") for name in "ab"])


def lime(path):
    """How many pixels of a figure are of an outline's colour."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    return int((abs(pixels - [0, 255, 0]).sum(-1) < 60).sum())


def analyzer(model):
    network = load_model(model, preprocess="unit").model
    return rap_keras.create_analyzer("rap", network)


@pytest.mark.drawn
@pytest.mark.parametrize(
    ("region", "index"),
    [
        ("2,4", np.s_[2, 4, 1]),
        pytest.param("1:3,4:", np.s_[1:3, 4:, 1], marks=pytest.mark.slow),
        (None, np.s_[..., 1]),
    ],
)
def test_a_pixel_a_box_or_everywhere(region, index, photo, model, tmp_path):
    where = () if region is None else ("--region", region)
    text, record, maps = explained(photo, model, tmp_path / "out", "--neuron", 1, *where)
    found = analyzer(model).explain(batch(photo), index)
    assert_same(maps, found.relevance, 1e-5)
    count = int(found.neurons[0].sum())
    assert record["region"] == region
    for one, logit in zip(record["images"], found.explained_logits, strict=True):
        assert (one["neuron"], one["class"]) == (1, None)
        assert one["logit"] == pytest.approx(logit, rel=1e-4)
        assert one["relevance_sum"] == pytest.approx(logit, rel=1e-4)
        assert one.get("positions") == (None if region is None else count)
    told = "" if region is None else f" at {count} position{'s' * (count > 1)}"
    assert f"class 1{told}, logit" in text
    assert (lime(tmp_path / "out" / "a.png") > 20) == (region is not None)


def test_a_mask_from_a_file_at_any_size(photo, model, tmp_path):
    mask = np.zeros((24, 24), np.uint8)
    mask[4:12, 16:] = 7
    Image.fromarray(mask).save(tmp_path / "mask.png")
    where = ("--region", tmp_path / "mask.png", "--neuron", "all")
    text, record, maps = explained(photo, model, tmp_path / "out", *where)
    found = analyzer(model).explain(batch(photo), np.s_[1:3, 4:])
    assert_same(maps, found.relevance, 1e-5)
    assert record["images"][0]["positions"] == 4
    assert "all outputs at 4 positions, logit" in text


def test_a_mask_is_resized_like_the_photo(model, rng, tmp_path):
    (tmp_path / "wide").mkdir()
    for name in "ab":
        wide = rng.integers(1, 256, (24, 48, 3), np.uint8)
        Image.fromarray(wide).save(tmp_path / "wide" / f"{name}.png")
    mask = np.zeros((24, 48), np.uint8)
    mask[:, :24] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    where = ("--region", tmp_path / "mask.png", "--neuron", "all", "--fit", "pad")
    _, record, _ = explained(tmp_path / "wide", model, tmp_path / "out", *where)
    assert record["images"][0]["positions"] == 9  # of 18 in the left half


def test_the_region_of_a_class_and_the_largest_class_of_a_region(photo, model, tmp_path):
    x = batch(photo)
    probabilities = convert_to_numpy(load_model(model, preprocess="unit").model(x))
    k = int(np.bincount(probabilities.argmax(-1).ravel()).argmax())  # backends differ
    won = probabilities.argmax(-1) == k
    assert 0 < won.mean() < 1
    _, record, maps = explained(photo, model, tmp_path / "a", "--region", "class", "--neuron", k)
    mask = won[..., np.newaxis] & (np.arange(4) == k)
    assert_same(maps, analyzer(model).analyze(x, mask), 1e-5)
    assert [one["positions"] for one in record["images"]] == won.sum((1, 2)).tolist()
    _, record, maps = explained(photo, model, tmp_path / "b", "--region", "3,5")
    expected = probabilities[:, 3, 5].argmax(-1)
    assert [one["neuron"] for one in record["images"]] == expected.tolist()
    assert_same(maps, analyzer(model).analyze(x, [(3, 5, int(k)) for k in expected]), 1e-5)


def test_the_one_class_of_a_binary_mask_is_where_it_is_positive(photo, model, tmp_path):
    binary = model.replace(":make", ":binary")
    x = batch(photo)
    won = convert_to_numpy(load_model(binary, preprocess="unit").model(x)) > 0.5
    assert 0 < won.mean() < 1
    _, _, maps = explained(photo, binary, tmp_path / "out", "--region", "class", "--neuron", 0)
    assert_same(maps, analyzer(binary).analyze(x, won), 1e-5)


def test_an_output_as_large_as_the_image(photo, model, tmp_path):
    free = model.replace(":make", ":any_size")
    _, _, maps = explained(photo, free, tmp_path / "out", "--region", "2,4", "--neuron", 1)
    assert_same(maps, analyzer(model).analyze(batch(photo), (2, 4, 1)), 1e-5)


@pytest.mark.slow
def test_one_output_of_several(photo, model, tmp_path):
    several = model.replace(":make", ":several")
    _, record, maps = explained(
        photo, several, tmp_path / "a", "--output", "maps", "--region", "2,4", "--neuron", 1
    )
    assert record["output"] == "maps"
    assert_same(maps, analyzer(model).analyze(batch(photo), (2, 4, 1)), 1e-5)
    whole = load_model(several, preprocess="unit", output=1).model
    for output, options, selection in (
        ("1", ["--neuron", 3], 3),
        ("boxes", ["--region", 7, "--neuron", 3], (7, 3)),
    ):
        _, _, maps = explained(photo, several, tmp_path / output, "--output", output, *options)
        one = rap_keras.create_analyzer(
            "rap",
            whole,
            output={"1": "classes"}.get(output, output),
        )
        assert_same(maps, one.analyze(batch(photo), selection), 1e-5)


@pytest.mark.drawn
@pytest.mark.slow
def test_compare_and_layers_outline_the_region(photo, model, tmp_path):
    common = ("--model", model, "--preprocess", "unit", "--out", tmp_path / "out", "--neuron", 1)
    methods = ("--methods", "rap,gradient")
    succeed("compare", photo, *common, *methods, "--region", "2,4")
    with np.load(tmp_path / "out" / "compare.npz") as maps:
        assert_same(maps["rap"], analyzer(model).analyze(batch(photo), (2, 4, 1)), 1e-5)
    succeed("layers", photo / "b.png", *common, "--region", "1:3,4:", "--maps")
    with np.load(tmp_path / "out" / "b-layers.npz") as maps:
        last = maps["maps"][0]
        assert (np.argwhere(last) == [[i, j, 1] for i in (1, 2) for j in (4, 5)]).all()
    kinds = ("json", "npz", "png")
    assert files(tmp_path / "out") == [f"{n}.{k}" for n in ("b-layers", "compare") for k in kinds]
    for name in ("b-layers.png", "compare.png"):
        assert lime(tmp_path / "out" / name) > 20, name


WRONG = {
    "pass --region REGION, --target CLASS or both": [],
    "got none: pass --target CLASS": ["--region", "class"],
    "--region 6,0 does not fit the positions of the output, 6 x 6: positions start at 0": [
        *("--region", "6,0", "--neuron", 1)
    ],
    "--region 2:2,0 does not fit the positions of the output, 6 x 6: it selects no position": [
        *("--region", "2:2,0", "--neuron", 1)
    ],
    "pass one number or range for each of its axes": ["--region", "1,2,3"],
    "y0:y1,x0:x1, class, or the image file of a mask, got 'x,y'": [*("--region", "x,y")],
    "Expected --target from 0 to 3, got 4: ": ["--region", "1,1", "--target", 4],
    "Expected --neuron to be a number, because": ["--region", "1,1", "--neuron", "cat"],
    "Expected --output to be one of 'maps', or a number from 0 to 0, got 'logits'": [
        *("--output", "logits", "--neuron", 1)
    ],
}


@pytest.mark.parametrize("message", WRONG)
def test_errors_name_the_flags(message, photo, model, tmp_path):
    out = tmp_path / "no"
    for command in ("explain", "compare"):
        arguments = [command, photo, "--model", model, "--preprocess", "unit", "--out", out]
        assert message in fail(*arguments, *WRONG[message])
    assert not out.exists()


def test_errors_that_a_model_or_an_image_decides(photo, model, tmp_path):
    out = ("--preprocess", "unit", "--out", tmp_path / "no")
    several = ("--model", model.replace(":make", ":several"))
    message = fail("explain", photo, *several, *out)
    assert "Expected --output NAME, because the model has 3 outputs, got none" in message
    assert "'boxes', 'classes', 'maps'" in message
    message = fail("explain", photo, *several, *out, "--output", "classes", "--region", "1,1")
    assert "is one vector of 5, which has no positions: leave it out" in message
    Image.new("L", (12, 12)).save(tmp_path / "black.png")
    where = ("--region", tmp_path / "black.png", "--neuron", 1)
    assert "it selects no position" in fail("explain", photo, "--model", model, *out, *where)
    plain, never = _lost(model, tmp_path / "plain")
    message = fail("explain", plain, "--model", model, *out, "--region", "class", "--neuron", never)
    assert f"where class {never} has the largest logit for --region class, got none in" in message
    assert "pass another --neuron CLASS" in message
    message = fail("benchmark", "--model", model, "--preprocess", "unit", "--out", tmp_path / "no")
    assert "Expected a classifier, whose output is one vector of classes, got" in message
    message = fail("benchmark", *several, "--preprocess", "unit", "--out", tmp_path / "no")
    assert "Expected a classifier with one output, got" in message


def _lost(model, folder):
    """Photos of one colour where a class has nowhere the largest logit, and this class."""
    network = load_model(model, preprocess="unit").model
    folder.mkdir()
    for red in range(0, 256, 5):
        for name in ("a.png", "b.png"):
            Image.new("RGB", (12, 12), (red, 255 - red, 128)).save(folder / name)
        winners = set(convert_to_numpy(network(batch(folder))).argmax(axis=-1).ravel())
        if lost := set(range(4)) - winners:
            return folder, min(lost)
    raise AssertionError("each class has the largest logit somewhere on every colour")


def test_patterns_of_one_output(photo, model, tmp_path):
    several = ("--model", model.replace(":make", ":several"), "--preprocess", "unit")
    out = tmp_path / "patterns.npz"
    succeed("patterns", "fit", photo, *several, "--output", "classes", "--out", out)
    with np.load(out) as patterns:
        assert {name for name in patterns if "dense" in name}
        assert not {name for name in patterns if "maps" in name}
    shown = ("--output", "classes", "--patterns", out, "--method", "pattern.net")
    succeed("explain", photo, *several, *shown, "--out", tmp_path / "out")
