"""A class against others, on the command line."""

import json

import numpy as np
import pytest
from command_line import fail, succeed
from PIL import Image

from rap_keras import create_analyzer, embedded
from rap_keras.datasets import cluttered_digit_pairs, preprocess


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    path = tmp_path_factory.mktemp("scene") / "scene.png"
    Image.fromarray(cluttered_digit_pairs(1).images[0]).save(path)
    return path


@pytest.mark.parametrize(
    ("flags", "contrast", "words"),
    [
        (["--contrast", "softmax"], "softmax", "against the others"),
        (["--contrast", "uniform"], "uniform", "against"),
        (["--neuron", 1, "--against", 4], [4], "against 4"),
        (["--neuron", 1, "--against", "4, 7"], [4, 7], "against 4"),
    ],
)
def test_explained_against_others(scene, tmp_path, flags, contrast, words):
    out = tmp_path / "out"
    text = succeed("explain", scene, "--model", "embedded:vgg", *flags, "--out", out)
    assert words in text
    told = json.loads((out / "explain.json").read_text())
    assert told["contrast"] == contrast
    found = np.load(out / "scene.npy")
    analyzer = create_analyzer(
        "rap", embedded.load("vgg"), neuron_selection_mode="index", contrast=contrast
    )
    x = preprocess(cluttered_digit_pairs(1).images)
    expected = analyzer.analyze(x, [told["images"][0]["neuron"]])[0]
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert abs(found.sum()) < 1e-4 * np.abs(found).sum()


def test_methods_compared_against_others(scene, tmp_path):
    out = tmp_path / "out"
    methods = ["--methods", "rap,lrp.alpha_1_beta_0,gradient"]
    succeed(
        "compare", scene, "--model", "embedded:vgg", *methods, "--contrast", "softmax", "--out", out
    )
    assert (out / "compare.png").is_file()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--contrast", "both"], "softmax or uniform"),
        (["--contrast", "softmax", "--against", 3], "pass one of them"),
        (["--against", "cat"], "INDEX"),
        (["--neuron", 3, "--against", 3], "explained itself"),
        (["--against", 10], "from 0 to 9"),
        (["--contrast", "softmax", "--method", "smoothgrad"], "contrast"),
    ],
)
def test_what_cannot_be_set_against_others(scene, tmp_path, flags, words):
    out = tmp_path / "out"
    assert words in fail("explain", scene, "--model", "embedded:vgg", *flags, "--out", out)
    assert not out.exists()
