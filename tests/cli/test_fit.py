"""Photographs of other proportions than the model's, names of classes, and results of before."""

import json

import numpy as np
import pytest
from helpers.command_line import fail, run, succeed
from PIL import Image

from rap_keras.support.images import read_image

MODEL = """
import keras

def make():
    keras.utils.set_random_seed(3)
    return keras.Sequential([
        keras.Input((12, 12, 3), name="pixels"),
        keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(3, name="head"),
    ])
"""


@pytest.fixture
def common(tmp_path):
    (tmp_path / "net.py").write_text(MODEL)
    return ["--model", f"{tmp_path / 'net.py'}:make", "--preprocess", "unit"]


@pytest.fixture
def photo(tmp_path, rng):
    path = tmp_path / "photo.png"
    Image.fromarray(rng.integers(1, 256, (24, 40, 3), dtype=np.uint8)).save(path)
    return path


def arrays(path):
    if path.suffix == ".npy":
        return {"map": np.load(path)}
    with np.load(path) as file:
        return dict(file)


def test_an_image_that_is_squashed_is_told(common, photo, tmp_path):
    told = run("explain", photo, *common, "--out", tmp_path / "warp").stderr
    assert told == (
        f"rap-keras: Images such as '{photo}' are stretched, from 40 x 24 to 12 x 12 pixels: --fit crop "
        "or --fit pad keeps their proportions.\n"
    )
    for fit in ("crop", "pad"):
        succeed("explain", photo, *common, "--fit", fit, "--out", tmp_path / fit)


@pytest.mark.parametrize("command", ["explain", "compare", "layers"])
@pytest.mark.quick("explain")
def test_each_command_crops(command, common, photo, tmp_path):
    """The maps are those of a photograph of the middle."""
    middle = tmp_path / "middle" / "photo.png"
    middle.parent.mkdir()
    Image.fromarray(read_image(photo)[:, 8:32]).save(middle)
    maps = ["--maps"] if command == "layers" else []
    succeed(command, photo, *common, *maps, "--fit", "crop", "--out", tmp_path / "a")
    succeed(command, middle, *common, *maps, "--out", tmp_path / "b")
    (name,) = (p.name for p in (tmp_path / "a").iterdir() if p.suffix in (".npy", ".npz"))
    found, expected = (arrays(tmp_path / part / name) for part in ("a", "b"))
    assert found.keys() == expected.keys()
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key])


@pytest.mark.parametrize("fit", ["crop", "pad", "warp"])
def test_a_map_at_the_size_of_its_photograph(fit, common, photo, tmp_path):
    out = tmp_path / "out"
    run("explain", photo, *common, "--fit", fit, "--original-size", "--out", out)
    relevance = np.load(out / "photo.npy")
    assert relevance.shape == (24, 40, 3)
    about = json.loads((out / "explain.json").read_text())
    assert about["fit"] == fit
    assert about["original_size"]
    if fit != "pad":  # whose bars have relevance of their own
        assert relevance.sum() == pytest.approx(about["images"][0]["relevance_sum"], rel=1e-4)


def test_other_ways_to_fit_are_refused_at_once(common, photo, tmp_path):
    told = fail("explain", photo, *common, "--fit", "stretch", "--out", tmp_path / "out")
    assert "Expected --fit to be warp, crop or pad, got 'stretch'." in told
    assert not (tmp_path / "out").exists()


def test_names_of_classes(common, photo, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\nfox\n")
    crop = ["--fit", "crop", "--out", tmp_path / "out"]
    by_name = succeed(
        "explain", photo, *common, *crop, "--classes", "cat,dog,fox", "--neuron", "dog"
    )
    assert "class 1 (dog), logit" in by_name
    crop[-1] = tmp_path / "again"
    by_file = succeed("explain", photo, *common, *crop, "--classes", names, "--neuron", "1")
    assert by_file.splitlines()[0] == by_name.splitlines()[0]
    for classes, neuron, message in (
        ("cat,dog", "0", "got 2: pass 3 names"),
        ("cat,dog,dog", "0", "to be different names"),
        (
            "cat,dog,fox",
            "dig",
            "--neuron to be one of 3 classes, got 'dig': did you mean 'dog'",
        ),
        (str(tmp_path / "none.txt"), "0", "There is no file with class names"),
    ):
        told = fail(
            "explain", photo, *common, "--fit", "crop", "--classes", classes, "--neuron", neuron
        )
        assert message in told


def test_results_of_before_are_told(common, photo, tmp_path):
    out = tmp_path / "out"
    call = ["explain", photo, *common, "--fit", "crop", "--out", out]
    succeed(*call)
    (out / "notes.txt").write_text("mine")
    assert run(*call).stderr == (
        f"rap-keras: {out} was not empty: 3 files replaced, 1 file kept.\n"
    )
    assert (out / "notes.txt").read_text() == "mine"
