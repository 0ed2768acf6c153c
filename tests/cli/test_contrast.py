"""A class against others, on the command line."""

import json

import numpy as np
import pytest
from helpers.command_line import fail, succeed
from PIL import Image

from rap_keras import bundled, create_analyzer
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
@pytest.mark.quick("flags3-contrast3-against 4")
def test_explained_against_others(scene, tmp_path, flags, contrast, words):
    out = tmp_path / "out"
    text = succeed("explain", scene, "--model", "bundled:vgg", *flags, "--out", out)
    assert words in text
    told = json.loads((out / "explain.json").read_text())
    assert told["contrast"] == contrast
    found = np.load(out / "scene.npy")
    analyzer = create_analyzer("rap", bundled.load("vgg"), contrast=contrast)
    x = preprocess(cluttered_digit_pairs(1).images)
    expected = analyzer.analyze(x, [told["images"][0]["neuron"]])[0]
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert abs(found.sum()) < 1e-4 * np.abs(found).sum()


def test_methods_compared_against_others(scene, tmp_path):
    out = tmp_path / "out"
    methods = ["--methods", "rap,lrp.alpha_1_beta_0,gradient"]
    succeed(
        "compare", scene, "--model", "bundled:vgg", *methods, "--contrast", "softmax", "--out", out
    )
    assert (out / "compare.png").is_file()
    about = json.loads((out / "compare.json").read_text())
    assert about["contrast"] == {
        "rap": "softmax",
        "lrp.alpha_1_beta_0": "softmax",
        "gradient": "softmax",
    }


@pytest.mark.slow
def test_methods_with_options(scene, tmp_path):
    out = tmp_path / "out"
    named = ["rap:contrast=softmax", "rap", "gradient:postprocess=abs"]
    flags = ["--model", "bundled:vgg", "--contrast", "uniform"]
    succeed("compare", scene, *flags, "--methods", ",".join(named[:2]), "--out", out)
    model, x = bundled.load("vgg"), preprocess(cluttered_digit_pairs(1).images)
    with np.load(out / "compare.npz") as found:
        for name, contrast in zip(named, ("softmax", "uniform"), strict=False):
            expected = create_analyzer("rap", model, contrast=contrast).analyze(x)
            bound = 1e-4 * np.abs(expected).max()
            np.testing.assert_allclose(found[name], expected, atol=bound)
    again = tmp_path / "again"
    text = succeed("explain", scene, "--model", "bundled:vgg", "--method", named[0], "--out", again)
    assert "against the others" in text
    told = json.loads((again / "explain.json").read_text())
    assert told["contrast"] == "softmax"
    assert told["images"][0]["method"] == named[0]
    third = tmp_path / "third"
    succeed("explain", scene, "--model", "bundled:vgg", "--method", named[2], "--out", third)
    assert np.load(third / "scene.npy").min() >= 0
    layered = tmp_path / "layered"
    succeed(
        "layers", scene, "--model", "bundled:vgg", "--method", named[0], "--out", layered, "--maps"
    )
    with np.load(layered / "scene-layers.npz") as found:
        sums = [found[name].sum(dtype=np.float64) for name in found.files]
        sizes = [np.abs(found[name]).sum(dtype=np.float64) for name in found.files]
    assert all(abs(total) < 1e-4 * size for total, size in zip(sums, sizes, strict=True))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--method", "rap:variant"], "NAME:OPTION=VALUE"),
        (["--method", "rap:batch_size=3"], "because the command sets it"),
        (["--method", "rap:alpha=3"], "alpha"),
        (["--contrast", "both"], "softmax or uniform"),
        (
            ["--contrast", "softmax", "--against", 3],
            "Expected --contrast (all other classes) or --against (some classes), got both",
        ),
        (["--against", "cat"], "Expected --against to be one of 10 classes, got 'cat'"),
        (["--neuron", 3, "--against", 3], "got --against 3, which is also explained"),
        (["--against", 10], "Expected the classes of --against from 0 to 9, got [10]"),
        (["--contrast", "softmax", "--method", "smoothgrad"], "contrast"),
    ],
)
def test_what_cannot_be_set_against_others(scene, tmp_path, flags, words):
    out = tmp_path / "out"
    assert words in fail("explain", scene, "--model", "bundled:vgg", *flags, "--out", out)
    assert not out.exists()
