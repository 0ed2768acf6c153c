import itertools
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import NOTICES, fail, files, run, succeed
from helpers.compare import assert_same
from keras.ops import convert_to_numpy
from PIL import Image
from scipy.special import softmax

import rap_keras
from rap_keras.cli.demo import _share_inside as share_inside
from rap_keras.cli.session import unique_stems
from rap_keras.datasets import cluttered_digits
from rap_keras.errors import InputError
from rap_keras.models.loading import load_model
from rap_keras.support.files import save_npz

MODEL = """
import keras

def make(size=12, head="softmax"):
    keras.utils.set_random_seed(3)
    layers = keras.layers
    return keras.Sequential([
        keras.Input((size, size, 3), name="pixels"),
        layers.Conv2D(4, 3, activation="relu", name="conv"),
        layers.MaxPooling2D(2, name="pool"),
        layers.GlobalAveragePooling2D(name="mean"),
        layers.Dense(5, activation=head, name="head"),
    ])

def any_size():
    return make(None, None)

def logits():
    return make(head=None)

def recurrent():
    layers = keras.layers
    return keras.Sequential([keras.Input((4, 4, 3)), layers.Reshape((4, 12)), layers.LSTM(2)])
"""


@pytest.fixture
def model(tmp_path):
    (tmp_path / "net.py").write_text(MODEL)
    return f"{tmp_path / 'net.py'}:make"


@pytest.fixture
def photos(tmp_path):
    """Two folders with images of several sizes, two of them with the same name."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, shape in {"a.png": (9, 7), "b.png": (20, 16), "more/a.png": (9, 7)}.items():
        pixels = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def picture_size(path):
    with Image.open(path) as picture:
        return picture.size


def warped(path, size=12):
    with Image.open(path) as image:
        return np.array(image.resize((size, size), Image.Resampling.BILINEAR))


def summary(out):
    return json.loads((out / "explain.json").read_text())


@pytest.mark.drawn
def test_explain_writes_the_map_that_the_analyzer_gives(photos, model, tmp_path):
    out = tmp_path / "new" / "out"
    text = succeed(
        "explain", photos, "--model", model, "--preprocess", "unit", "--out", out, "--batch-size", 1
    )
    assert files(out) == ["a.npy", "a.png", "b.npy", "b.png", "explain.json"]

    network = load_model(model, preprocess="unit").model
    x = np.stack([warped(photos / name) for name in ("a.png", "b.png")]) / np.float32(255)
    expected = rap_keras.create_analyzer("rap", network).analyze(x)
    # The same model without its softmax: RAP hands on the logit, not the probability.
    logits = convert_to_numpy(
        load_model(model.replace(":make", ":logits"), preprocess="unit").model(x)
    )
    for k, record in enumerate(summary(out)["images"]):
        relevance = np.load(out / record["map"])
        assert relevance.dtype == np.float32
        np.testing.assert_allclose(relevance, expected[k], rtol=1e-4, atol=1e-6)
        assert record["file"] == str(photos / "ab"[k]) + ".png"
        assert record["figure"] == f"{'ab'[k]}.png"
        assert record["method"] == "rap"
        assert record["neuron"] == logits[k].argmax()
        assert record["class"] is None
        assert record["relevance_sum"] == pytest.approx(expected[k].sum(), rel=1e-4)
        assert record["logit"] == pytest.approx(logits[k].max(), rel=1e-4)
        assert record["relevance_sum"] == pytest.approx(logits[k].max(), rel=1e-4)
        assert record["probability"] == pytest.approx(
            convert_to_numpy(network(x[k : k + 1])).max(), rel=1e-4
        )
        chance = f"probability {record['probability']:.1%}"
        assert f"class {record['neuron']}, logit {record['logit']:.4g}, {chance}, the map" in text
        assert picture_size(out / record["figure"])[0] > 500


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rap", "smoothgrad:augment_by_n=2:seed=0"])
def test_results_do_not_depend_on_the_batch(photos, model, method, tmp_path):
    for size in (1, 2, 8):
        arguments = ("--preprocess", "tf", "--batch-size", size, "--out", tmp_path / f"{size}")
        arguments += ("--method", method)
        succeed("explain", photos / "**" / "*.png", "--model", model, *arguments)
    for name in ("a.npy", "b.npy", "a-2.npy"):
        one, two, eight = (np.load(tmp_path / size / name) for size in "128")
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(one, eight, rtol=1e-4, atol=1e-7)
    arguments = ("--preprocess", "tf", "--batch-size", 1, "--out", tmp_path / "all")
    succeed("compare", photos, "--model", model, "--methods", method, *arguments)
    with np.load(tmp_path / "all" / "compare.npz") as compared:
        for name, found in zip("ab", compared[method], strict=True):
            expected = np.load(tmp_path / "8" / f"{name}.npy")
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_files_called_alike_do_not_overwrite_each_other(photos, model, tmp_path):
    out = tmp_path / "out"
    arguments = ("--model", model, "--preprocess", "none", "--method", "input", "--out", out)
    succeed("explain", photos, photos / "more" / "a.png", *arguments)
    records = {record["file"]: record["map"] for record in summary(out)["images"]}
    assert sorted(records.values()) == ["a-2.npy", "a.npy", "b.npy"]
    for file, name in records.items():
        np.testing.assert_array_equal(np.load(out / name), warped(file))


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        (["a", "a", "a"], ["a", "a-2", "a-3"]),
        (["a-2", "a", "a"], ["a-2", "a", "a-3"]),
        (["a", "a", "a-2"], ["a", "a-2", "a-2-2"]),
        (["A", "a"], ["A", "a-2"]),
    ],
)
def test_stems_are_unique(stems, expected):
    paths = [Path(f"folder{index}") / f"{stem}.png" for index, stem in enumerate(stems)]
    assert unique_stems(paths) == expected


def test_explain_a_chosen_neuron_or_all(photos, model, tmp_path):
    network = load_model(model, preprocess="unit").model
    x = warped(photos / "b.png")[np.newaxis] / np.float32(255)
    by_index = rap_keras.create_analyzer("gradient", network)
    every = rap_keras.create_analyzer("gradient", network, neuron_selection_mode="all")
    for neuron, expected in {"3": by_index.analyze(x, 3), "all": every.analyze(x)}.items():
        out = tmp_path / neuron
        arguments = ("--preprocess", "unit", "--method", "gradient", "--neuron", neuron)
        succeed("explain", photos / "b.png", "--model", model, *arguments, "--out", out)
        np.testing.assert_allclose(np.load(out / "b.npy"), expected[0], rtol=1e-4, atol=1e-7)
        (record,) = summary(out)["images"]
        assert str(record["neuron"]) == neuron


def test_a_map_of_each_of_several_classes(photos, model, tmp_path):
    arguments = ["--model", model, "--preprocess", "unit", "--classes", "a,b,c,d,e"]
    out = tmp_path / "out"
    told = succeed("explain", photos / "b.png", *arguments, "--target", "3, b", "--out", out)
    network = load_model(model, preprocess="unit").model
    x = warped(photos / "b.png")[np.newaxis] / np.float32(255)
    index = rap_keras.create_analyzer("rap", network)
    assert_same(np.load(out / "b.npy"), index.analyze(x, [[3, 1]])[0], 1e-5)
    about = summary(out)
    assert about["target"] == "3, b"
    (record,) = about["images"]
    assert (record["neuron"], record["class"]) == ([3, 1], ["d", "b"])
    assert record["relevance_sum"] == pytest.approx(record["logit"], rel=1e-4)
    first, second = told.splitlines()[0].split("; ")
    chance = f"probability {record['probability'][0]:.1%}"
    assert f"b.png: class 3 (d), logit {record['logit'][0]:.4g}, {chance}, the map sums" in first
    assert second.startswith("class 1 (b), logit ")
    for command, words in (
        ("compare", "Expected one class to compare, got --target 3,1: name one class, or use"),
        ("layers", "Expected one --target of each sample here, got 2"),
    ):
        no = ["--target", "3,1", "--out", tmp_path / "no"]
        assert words in fail(command, photos / "b.png", *arguments, *no)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("flag", ["--target", "--neuron"])
def test_errors_name_the_flag_that_was_typed(flag, photos, model):
    common = ["explain", photos / "a.png", "--model", model, "--preprocess", "unit"]
    for typed in ([flag, "-1"], [f"{flag}=-1"]):
        assert f"Expected {flag} to be max, all, top:K" in fail(*common, *typed)
    assert f"Expected {flag} from 0 to 4, got 7" in fail(*common, flag, "7")


def test_a_model_of_any_size_sees_the_images_as_they_are(photos, model, tmp_path):
    any_size = model.replace(":make", ":any_size")
    arguments = ("--model", any_size, "--preprocess", "none", "--method", "input")
    succeed("explain", photos, *arguments, "--out", tmp_path / "own")
    for name in ("a", "b"):
        with Image.open(photos / f"{name}.png") as image:
            np.testing.assert_array_equal(np.load(tmp_path / "own" / f"{name}.npy"), image)
    succeed("explain", photos, *arguments, "--size", 10, "--out", tmp_path / "ten")
    np.testing.assert_array_equal(np.load(tmp_path / "ten" / "b.npy"), warped(photos / "b.png", 10))


def test_mean_and_std(photos, model, tmp_path):
    arguments = ("--mean", "1,2,3", "--std", "4", "--method", "input", "--out", tmp_path / "out")
    succeed("explain", photos / "a.png", "--model", model, *arguments)
    expected = (warped(photos / "a.png") - np.array([1.0, 2, 3])) / 4
    np.testing.assert_allclose(np.load(tmp_path / "out" / "a.npy"), expected, rtol=1e-6)
    assert summary(tmp_path / "out")["mean"] == [1, 2, 3]


@pytest.mark.drawn
def test_compare_draws_all_methods_and_keeps_their_maps(photos, model, tmp_path):
    out = tmp_path / "out"
    methods = ["rap", "lrp.alpha_1_beta_0", "guided_backprop"]
    options = ["--model", model, "--preprocess", "unit", "--out", out, "--neuron", 1]
    text = succeed("compare", photos, *options, "--methods", ", ".join(methods))
    assert "2 images by 3 methods" in text
    assert files(out) == ["compare.json", "compare.npz", "compare.png"]
    about = json.loads((out / "compare.json").read_text())
    assert about["methods"] == methods
    assert [(Path(one["file"]).name, one["neuron"]) for one in about["images"]] == [
        ("a.png", 1),
        ("b.png", 1),
    ]
    network = load_model(model, preprocess="unit").model
    x = np.stack([warped(photos / name) for name in ("a.png", "b.png")]) / np.float32(255)
    with np.load(out / "compare.npz") as maps:
        assert sorted(maps) == sorted(["images", *methods])
        for name in methods:
            analyzer = rap_keras.create_analyzer(name, network)
            assert_same(maps[name], analyzer.analyze(x, 1), 1e-5)
    logits = load_model(model, preprocess="unit").logits(x)
    assert [one["logit"] for one in about["images"]] == pytest.approx(list(logits[:, 1]), rel=1e-4)
    width, height = picture_size(out / "compare.png")
    assert width > 1.5 * height  # four columns, two rows
    message = fail("compare", photos, "--model", model, "--methods", "rap,rap", "--out", out)
    assert "different names" in message
    assert "did you mean" in fail("compare", photos, *options, "--methods", "rap,gradent")


def test_explain_with_a_bundled_model(tmp_path):
    scenes = cluttered_digits(2)
    for k, pixels in enumerate(scenes.images):
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
    out = tmp_path / "out"
    succeed("explain", tmp_path / "*.png", "--model", "bundled:vgg", "--out", out)
    loaded = load_model("bundled:vgg")
    x = loaded.preprocess(scenes.images)
    expected = rap_keras.create_analyzer("rap", loaded.model).analyze(x)
    logits = convert_to_numpy(loaded.model(x))
    for k, record in enumerate(summary(out)["images"]):
        np.testing.assert_allclose(np.load(out / f"{k}.npy"), expected[k], rtol=1e-3, atol=1e-4)
        assert record["class"] == str(logits[k].argmax())
        assert record["logit"] == pytest.approx(logits[k].max(), rel=1e-4)
        assert record["relevance_sum"] == pytest.approx(record["logit"], rel=1e-3)


def test_layers_writes_the_relevance_of_every_layer(photos, model, tmp_path):
    out = tmp_path / "out"
    arguments = ("--model", model, "--preprocess", "unit", "--neuron", 2, "--out", out)
    succeed("layers", photos / "a.png", *arguments)
    assert files(out) == ["a-layers.json", "a-layers.png"]
    about = json.loads((out / "a-layers.json").read_text())
    assert about["neuron"] == 2
    assert about["relevance_sum"] == pytest.approx(about["logit"], rel=1e-4)
    succeed("layers", photos / "a.png", *arguments, "--maps")
    assert files(out) == ["a-layers.json", "a-layers.npz", "a-layers.png"]
    network = load_model(model, preprocess="unit").model
    analyzer = rap_keras.create_analyzer("rap", network)
    expected = analyzer.analyze_layers(warped(photos / "a.png")[np.newaxis] / np.float32(255), 2)
    with np.load(out / "a-layers.npz") as saved:
        assert list(saved) == list(expected) == ["pixels", "conv", "pool", "mean", "head"]
        for name in saved:
            np.testing.assert_allclose(saved[name], expected[name], rtol=1e-4, atol=1e-7)


@pytest.mark.drawn
@pytest.mark.slow
def test_layers_by_name(photos, model, tmp_path):
    common = ("layers", photos / "a.png", "--model", model, "--preprocess", "unit")
    succeed(*common, "--layer", "conv", "--layer", "pool", "--out", tmp_path / "two")
    succeed(*common, "--out", tmp_path / "all")
    two, every = (picture_size(tmp_path / name / "a-layers.png") for name in ("two", "all"))
    # Two layers and the image, three layers and the image.
    assert two[0] / 3 == every[0] / 4
    assert "'convx'" in fail(*common, "--layer", "convx", "--out", tmp_path / "none")
    assert "no positions" in fail(*common, "--layer", "head", "--out", tmp_path / "none")
    assert "no relevance of layers" in fail(
        *common, "--method", "input", "--out", tmp_path / "none"
    )
    assert not (tmp_path / "none").exists()


def test_npz_holds_layers_of_any_name(tmp_path):
    arrays = {
        "file": np.ones(2),
        "block/conv": np.zeros((1, 3)),
        "allow_pickle": np.arange(3),
        "split": [np.ones(1), np.zeros(2)],
    }
    save_npz(tmp_path / "maps.npz", arrays)
    with np.load(tmp_path / "maps.npz") as saved:
        assert list(saved) == ["file", "block/conv", "allow_pickle", "split[0]", "split[1]"]
        np.testing.assert_array_equal(saved["file"], 1)
        np.testing.assert_array_equal(saved["split[1]"], [0, 0])


@pytest.mark.parametrize(
    ("count", "models"),
    [
        (2, ("residual",)),
        pytest.param(
            6, ("vgg", "residual"), id="whole", marks=[pytest.mark.slow, pytest.mark.drawn]
        ),
    ],
)
def test_demo(count, models, tmp_path, monkeypatch):
    if count == 2:  # as it is, it takes ten times as long
        monkeypatch.setattr("rap_keras.cli.demo.DEMO_SCENES", count)
        monkeypatch.setattr("rap_keras.cli.demo.DEMO_MODELS", models)
    out = tmp_path / "demo"
    text = succeed("demo", "--out", out)
    per_model = ("grid.png", "layers.npz", "layers.png", "maps.npz")
    expected = {f"{name}-{kind}" for name in models for kind in per_model}
    assert set(files(out)) == expected | {"overlays.png"}
    assert all(name in text for name in files(out))
    scenes = cluttered_digits(count)
    for name in models:
        loaded = load_model(f"bundled:{name}")
        x = loaded.preprocess(scenes.images)
        logits = convert_to_numpy(loaded.model(x))
        with np.load(out / f"{name}-maps.npz") as maps:
            np.testing.assert_array_equal(maps["images"], scenes.images)
            methods = ["rap", "rap.epsilon", "lrp.epsilon_plus", "grad_cam"]
            assert list(maps) == ["images", *methods]
            for method in ("rap", "rap.epsilon"):
                found = maps[method].sum(axis=(1, 2, 3))
                np.testing.assert_allclose(found, logits.max(axis=1), rtol=1e-3, err_msg=method)
            inside = share_inside(maps["rap"], scenes.masks)
            means = [f"{one} {share_inside(maps[one], scenes.masks).mean():.0%}" for one in methods]
        # A line per scene: digit, predicted, logit, probability, sum of relevance, share inside, area.
        _, _, table = text.partition(f"The {name} model")
        assert table.splitlines()[2 + count].endswith(f"in the digit: {', '.join(means)}.")
        lines = [line.replace("%", "").split() for line in table.splitlines()[2 : 2 + count]]
        printed = np.array(lines, dtype=float)
        logit = logits.max(axis=1)
        decisions = np.stack([scenes.labels, logits.argmax(axis=1), logit, logit], axis=1)
        np.testing.assert_allclose(printed[:, [0, 1, 2, 4]], decisions, rtol=1e-3)
        chances = softmax(logits.astype(float), axis=1).max(axis=1)
        percent = 100 * np.stack([chances, inside, scenes.masks.mean(axis=(1, 2))], axis=1)
        np.testing.assert_allclose(printed[:, [3, 5, 6]], percent, atol=0.6)
        with np.load(out / f"{name}-layers.npz") as layers:
            first = next(iter(layers))
            np.testing.assert_allclose(
                layers[first].sum(), logits[0].max(), rtol=1e-3, err_msg=first
            )


def spoilt(folder, how):
    """A file that is no image, or one that ends early."""
    path = folder / "aa.png"
    whole = (folder / "a.png").read_bytes()
    path.write_bytes(b"text" if how == "other" else whole[: len(whole) // 2])
    return path


@pytest.mark.parametrize(
    ("command", "how"), list(itertools.product(["explain", "compare"], ["other", "cut"]))
)
@pytest.mark.quick("explain-other")
def test_one_bad_image_is_skipped_and_told(command, how, photos, common, tmp_path):
    out = tmp_path / "new" / "out"
    bad = spoilt(photos, how)
    result = run(command, photos, *common)
    assert result.exit_code == 0, result.output
    assert "2 images" in result.stdout if command == "compare" else "2 figures" in result.stdout
    assert NOTICES.sub("", result.stderr).startswith("rap-keras: Skipped: ")
    assert str(bad) in result.stderr
    about = json.loads((out / f"{command}.json").read_text())
    assert [Path(one["file"]).name for one in about["images"]] == ["a.png", "b.png"]
    assert [one["file"] for one in about["skipped"]] == [str(bad)]
    assert about["skipped"][0]["reason"] in result.stderr
    if command == "explain":
        assert files(out) == ["a.npy", "a.png", "b.npy", "b.png", "explain.json"]
    result = run(command, photos, *common[:-1], tmp_path / "strict", "--strict")
    assert result.exit_code == 2
    assert str(bad) in result.stderr
    assert "Skipped" not in result.stderr
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize("how", ["other", "cut"])
def test_nothing_but_bad_images(how, photos, common, tmp_path):
    bad = spoilt(photos, how)
    other = bad.rename(photos / "bad.png")
    twin = photos / "bad2.png"
    twin.write_bytes(other.read_bytes())
    assert str(other) in fail("explain", other, *common)
    result = run("explain", other, twin, *common)
    assert result.exit_code == 2
    assert (
        "Expected images, got 2 files that cannot be read: see the warnings above." in result.stderr
    )
    assert not (tmp_path / "new").exists()


def test_layers_takes_one_image(photos, common):
    assert "Expected one image, got 2" in fail("layers", photos, *common)


def test_alpha_is_told(common, tmp_path):
    for name in "ab":
        Image.new("RGBA", (8, 8), (200, 10, 10, 0)).save(tmp_path / f"{name}.png")
    result = run("explain", tmp_path / "a.png", tmp_path / "b.png", *common)
    assert result.exit_code == 0
    assert f"alpha channel of '{tmp_path / 'a.png'}' (and of 1 more) is ignored" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_share_inside():
    maps = np.zeros((3, 2, 2, 1))
    maps[0, :, :, 0] = [[3, 1], [-5, 0]]
    maps[2] = -1
    masks = np.zeros((3, 2, 2), bool)
    masks[:, 0, 0] = True
    np.testing.assert_allclose(share_inside(maps, masks), [0.75, 0, 0])


@pytest.fixture
def common(photos, model, tmp_path):
    """Arguments that work, but for what a test adds."""
    return ["--model", model, "--preprocess", "unit", "--out", tmp_path / "new" / "out"]


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (["--method", "rapp"], "'rap'"),
        (
            ["--neuron", "5"],
            "Expected --neuron from 0 to 4, got 5: the model has 5 output neurons.",
        ),
        (["--neuron", "-1"], "its index (at least 0), got '-1'"),
        (
            ["--neuron", "cat"],
            "--neuron to be a number, because {tmp}/net.py:make has no names for its classes",
        ),
        (["--model", "vgg17"], "no model 'vgg17'"),
        (["--model", "missing.keras"], "no model file"),
        (["--model", "{tmp}/bad.keras"], "not a valid Keras archive"),
        (["--model", "{tmp}/net.py:nothing"], "to return a model, got an error"),
        (["--model", "{tmp}/net.py:recurrent"], "LSTM"),
        (["--weights", "missing.h5"], "no weights file"),
        (["--weights", "none"], "its weights: leave weights out"),
        (["--preprocess", "auto"], "Expected --preprocess (none, unit"),
        (["--preprocess", "zscore"], "no preprocessing 'zscore'"),
        (["--mean", "a,b,c"], "Expected --mean to be one number or R,G,B"),
        (["--std", "0"], "positive"),
        (["--size", "13"], "only images of 12 x 12"),
        (["--percentile", "0"], "Expected --percentile to be above 0"),
        (["--percentile", "nan"], "Expected --percentile to be above 0"),
    ],
)
@pytest.mark.parametrize("command", ["explain", "layers"])
def test_bad_options_leave_nothing_behind(command, added, message, photos, common, tmp_path):
    (tmp_path / "bad.keras").write_bytes(b"no model")
    before = files(tmp_path)
    added = [text.format(tmp=tmp_path) for text in added]
    assert message.format(tmp=tmp_path) in fail(command, photos / "a.png", *common, *added)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("missing.png", "no image"),
        ("empty", "contains no images"),
        ("*.jpg", "No image matches"),
        ("text.png", "is not in an image format that can be read"),
    ],
)
def test_bad_images_leave_nothing_behind(image, message, photos, common, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no image")
    before = files(tmp_path)
    assert message in fail("explain", photos / "a.png", tmp_path / image, *common, "--strict")
    assert files(tmp_path) == before


@pytest.mark.parametrize("out", ["file", "file/below", "file/far/below"])
@pytest.mark.parametrize("command", ["explain", "layers", "demo"])
def test_an_output_folder_that_cannot_be(command, out, photos, model, tmp_path):
    (tmp_path / "file").write_text("kept")
    before = files(tmp_path)
    options = ["--model", model, "--preprocess", "unit"]
    arguments = [] if command == "demo" else [photos / "a.png", *options]
    assert "cannot be written to" in fail(command, *arguments, "--out", tmp_path / out)
    assert files(tmp_path) == before
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_without_permission(photos, common, tmp_path):
    (tmp_path / "new").mkdir(mode=0o500)
    assert "cannot be written to" in fail("explain", photos, *common)
    assert files(tmp_path / "new") == []


def test_a_folder_in_the_way_of_a_result(photos, common, tmp_path):
    out = tmp_path / "new" / "out"
    (out / "b.npy").mkdir(parents=True)
    (out / "a.png").write_text("kept")
    assert "b.npy' is a folder" in fail("explain", photos, *common)
    assert files(out) == ["a.png", "b.npy"]
    assert (out / "a.png").read_text() == "kept"


@pytest.mark.parametrize("failure", [InputError("No luck."), OSError(28, "No space left")])
@pytest.mark.quick("failure0")
def test_a_failure_half_way_leaves_nothing_behind(failure, photos, common, tmp_path, monkeypatch):
    saved = []

    def save(path, array):
        saved.append(path)
        if len(saved) == 2:
            raise failure
        path.write_bytes(b"first")

    monkeypatch.setattr(np, "save", save)
    before = files(tmp_path)
    assert "No " in fail("explain", photos, *common)
    assert len(saved) == 2
    assert files(tmp_path) == before


def test_an_interruption_leaves_nothing_behind(photos, common, tmp_path, monkeypatch):
    def save(path, array):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", save)
    assert run("explain", photos, *common).exit_code not in (0, 2)
    assert not (tmp_path / "new").exists()


def test_results_are_replaced_and_other_files_kept(photos, common, tmp_path):
    out = tmp_path / "new" / "out"
    out.mkdir(parents=True)
    (out / "other.txt").write_text("kept")
    (out / "a.npy").write_text("old")
    succeed("explain", photos / "a.png", *common)
    assert files(out) == ["a.npy", "a.png", "explain.json", "other.txt"]
    assert np.load(out / "a.npy").shape == (12, 12, 3)


@pytest.mark.parametrize(
    "arguments",
    [["explain"], ["explain", "a.png", "--batch-size", "0"], ["nothing"], ["demo", "--bogus"]],
)
def test_wrong_usage(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.stderr


def test_python_runs_the_package_as_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rap_keras", "--version"])
    with pytest.raises(SystemExit, match=r"^0$"):
        runpy.run_module("rap_keras", run_name="__main__")
    assert capsys.readouterr().out == f"rap-keras {rap_keras.__version__}\n"


def test_version_and_help():
    assert succeed("--version") == f"rap-keras {rap_keras.__version__}\n"
    for command in ([], ["explain"], ["layers"], ["demo"], ["methods"], ["merge"]):
        text = succeed(*command, "--help")
        assert "Usage" in text
        assert not re.search(r"<\w", text)  # no types of Python


@pytest.mark.parametrize("width", [80, 100])
def test_help_is_in_groups_and_nothing_is_cut(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", width)
    for command, groups in (
        ("explain", "Model Method Target Images Output Performance Other"),
        ("compare", "Model Method Target Images Output Performance Other"),
        ("layers", "Model Method Target Images Output Other"),
        ("benchmark", "Model Data Methods Metrics Performance Output Other"),
        ("doctor", "Model Images Other"),
    ):
        text = succeed(command, "--help")
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        titles = re.findall(r"^╭─ (\w+) ─", text, re.M)
        assert [title for title in titles if title in groups.split()] == groups.split()
        assert "Options" not in titles


def test_help_does_not_import_tensorflow():
    code = "import sys, rap_keras.cli; sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs sh")
@pytest.mark.parametrize(
    "closed",
    [
        pytest.param(">&-", marks=pytest.mark.slow),
        pytest.param("2>&-", marks=pytest.mark.slow),
        "<&- >&- 2>&-",
    ],
)
def test_closed_streams_are_replaced(closed, tmp_path):
    """No other file may get their numbers, and libraries ask them whether they are terminals."""
    code = (
        "import sys, rap_keras.cli.app\n"
        "def command(**options):\n"
        "    with open('file', 'w') as file:\n"
        "        found = [s.isatty() for s in (sys.stdin, sys.stdout, sys.stderr)]\n"
        "        print(file.fileno() > 2, len(found), file=file)\n"
        "rap_keras.cli.app.app = command\n"
        "rap_keras.cli.main()\n"
    )
    run = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code]
    assert subprocess.run(run, cwd=tmp_path).returncode == 0
    assert (tmp_path / "file").read_text().split() == ["True", "3"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("typed", ["methods", pytest.param("--help", marks=pytest.mark.slow)])
def test_output_that_cannot_be_written_is_an_error_in_one_line(typed):
    with open("/dev/full", "w") as full:
        run = [sys.executable, "-m", "rap_keras", typed]
        result = subprocess.run(run, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert re.fullmatch(r"rap-keras: the output cannot be written \([^\n]*\)\.\n", result.stderr), (
        result.stderr
    )


@pytest.mark.slow
def test_the_installed_command_is_silent_on_stderr(photos, common, tmp_path):
    command = [Path(sys.executable).parent / "rap-keras", "explain", *common, "--fit", "pad"]
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    for image, code, stderr in (
        ("a.png", 0, r""),
        (
            "none.png",
            2,
            r"rap-keras: There is no image or folder '[^\n]*none.png': check its path.\n",
        ),
    ):
        result = subprocess.run(
            [*command, photos / image], capture_output=True, text=True, env=environment
        )
        assert result.returncode == code
        assert re.fullmatch(stderr, result.stderr)
    assert files(tmp_path / "new" / "out") == ["a.npy", "a.png", "explain.json"]
