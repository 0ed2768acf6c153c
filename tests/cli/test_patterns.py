"""`rap-keras patterns`."""

import itertools

import keras
import numpy as np
import pytest

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)

from helpers.command_line import run
from helpers.compare import FLOAT32
from helpers.patterns import (
    assert_equal_patterns,
    fit,
    save_photographs,
)

from rap_keras.patterns.patterns import Patterns
from rap_keras.patterns.statistics import Statistics
from rap_keras.support.images import read_image


@pytest.fixture
def photographs(tmp_path, rng):
    return save_photographs(tmp_path / "photographs", rng)


def run_fit(*arguments):
    return run("patterns", "fit", *arguments)


def expected_on_photographs(folder, pattern_type="relu"):
    from rap_keras.models.loading import load_model

    loaded = load_model("bundled:vgg")
    pixels = [read_image(path, loaded.input_size) for path in sorted(folder.iterdir())]
    return fit(loaded.model, loaded.preprocess(np.stack(pixels)), pattern_type)


def test_patterns_of_images_on_the_command_line(photographs, tmp_path):
    out = tmp_path / "new" / "patterns.npz"
    result = run_fit(photographs, "--model", "bundled:vgg", "--type", "linear", "--out", out)
    assert result.exit_code == 0, result.output
    assert "5 images" in result.output
    found = Patterns.load(out)
    assert found.pattern_type == "linear"
    assert_equal_patterns(found, expected_on_photographs(photographs, "linear"), FLOAT32)
    assert [path.name for path in out.parent.iterdir()] == ["patterns.npz"]


def test_images_in_parts_on_the_command_line(photographs, tmp_path):
    files = {"--out": tmp_path / "patterns.npz", "--statistics": tmp_path / "statistics.npz"}
    options = ["--model", "bundled:vgg", *itertools.chain(*files.items())]
    for part in ("[01].png", "[234].png"):
        result = run_fit(photographs / part, *options)
        assert result.exit_code == 0, result.output
    assert Statistics.load(files["--statistics"]).samples == 5
    expected = expected_on_photographs(photographs)
    assert_equal_patterns(Patterns.load(files["--out"]), expected, FLOAT32)


def test_errors_on_the_command_line_leave_no_files(photographs, tmp_path):
    (tmp_path / "bad.npz").write_text("no statistics")
    before = sorted(tmp_path.rglob("*"))
    folder = tmp_path / "out"
    cases = [
        (["--type", "max"], "--type"),
        (["--statistics", tmp_path / "bad.npz"], "Expected a file with statistics"),
        (["--model", "no_such_model"], "no_such_model"),
        (["--mean", "a"], "--mean"),
        (["--out", tmp_path], "Expected a file for --out, got the folder"),
        (["--statistics", folder / ".." / "out" / "p.npz"], "different files for --statistics and"),
    ]
    for arguments, message in cases:
        options = ["--model", "bundled:vgg", "--out", folder / "p.npz", *arguments]
        result = run_fit(photographs, *options)
        assert result.exit_code == 2
        assert message in result.output
        assert result.output.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
