"""Both classes of a model with one sigmoid, on the command line."""

import json
import warnings

import numpy as np
import pytest
from helpers.command_line import fail, run, succeed
from PIL import Image

MODEL = """
import keras
import numpy as np

def make():
    inputs = keras.Input((12, 12, 3))
    h = keras.layers.Conv2D(3, 3, activation="relu", name="conv")(inputs)
    head = keras.layers.Dense(1, activation="sigmoid", name="head")
    model = keras.Model(inputs, head(keras.layers.GlobalAveragePooling2D()(h)))
    kernel = np.random.default_rng(0).random((3, 3, 3, 3))
    model.set_weights([kernel, np.zeros(3), np.array([[-1.0], [-0.5], [-0.25]]), np.zeros(1)])
    return model
"""


@pytest.fixture(scope="module")
def common(tmp_path_factory):
    folder = tmp_path_factory.mktemp("binary")
    (folder / "net.py").write_text(MODEL)
    pixels = np.random.default_rng(1).integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return [folder / "a.png", "--model", f"{folder / 'net.py'}:make", "--preprocess", "unit"]


def told(out):
    (record,) = json.loads((out / "explain.json").read_text())["images"]
    return record["neuron"], record["class"], record["logit"]


def test_explain_either_class(common, tmp_path):
    logits = {}
    for neuron, names, expected in (
        ("max", "no,yes", (1, "yes")),
        ("0", "yes", (0, "not yes")),
    ):
        arguments = [*common, "--classes", names, "--neuron", neuron, "--out", tmp_path / neuron]
        said = succeed("explain", *arguments)
        *found, logits[neuron] = told(tmp_path / neuron)
        assert tuple(found) == expected
        assert f"class {expected[0]} ({expected[1]}), logit {logits[neuron]:.4g}, prob" in said
        (record,) = json.loads((tmp_path / neuron / "explain.json").read_text())["images"]
        chance = 1 / (1 + np.exp(-logits[neuron]))
        assert record["probability"] == pytest.approx(chance, rel=1e-6)
    assert logits["0"] == -logits["max"] > 0


def test_layers_of_class_0(common, tmp_path):
    class_0 = ["--classes", "no,yes", "--neuron", "no"]
    succeed("layers", *common, *class_0, "--out", tmp_path / "layers")
    about = json.loads((tmp_path / "layers" / "a-layers.json").read_text())
    assert (about["neuron"], about["class"]) == (0, "no")


def test_a_white_map_is_told_in_a_line(common, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        result = run("explain", *common, "--method", "grad_cam", "--out", tmp_path / "out")
    assert result.exit_code == 0
    lines = [line for line in result.stderr.splitlines() if "is zero everywhere for 1 of 1" in line]
    assert len(lines) == 1
    assert lines[0].startswith("rap-keras: The map of 'grad_cam'")
    told = fail("explain", *common, "--neuron", "2", "--out", tmp_path / "new")
    assert "Expected --neuron from 0 to 1, got 2: " in told
