"""The command line with and without Keras 3: it works, or names what works in one line."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers.command_line import fail, files, succeed
from PIL import Image

from rap_keras.backends.version import has_keras3
from rap_keras.datasets import cluttered_digits, preprocess
from rap_keras.models import bundled

only_keras2 = pytest.mark.skipif(has_keras3(), reason="Keras 3 is there")
# The logits of the first three digits for the first two scenes, by Keras 3.
LOGITS = {
    "vgg": [[-8.919653, -8.765494, -3.128102], [1.0844587, -7.5035725, 2.7687001]],
    "residual": [[-6.0845203, -2.5223475, -4.2548337], [-2.4372814, -2.595802, -3.897035]],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg", "residual"])
def test_the_bundled_models_compute_the_same_on_every_keras(name):
    x = preprocess(cluttered_digits(2).images)
    logits = bundled.load(name).predict(x, verbose=0)
    np.testing.assert_allclose(logits[:, :3], LOGITS[name], rtol=0, atol=1e-5)


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@only_keras2
@pytest.mark.parametrize("command", ["explain", "compare", "layers", "demo"])
def test_native_commands_name_what_works(command, photo, tmp_path):
    images = [] if command == "demo" else [photo, "--model", "bundled:vgg"]
    message = fail(command, *images, "--out", tmp_path / "out")
    assert "Expected Keras 3 (TensorFlow 2.16 or newer) for this command" in message
    assert f"got Keras {keras.__version__}: upgrade TensorFlow" in message
    assert "benchmark --backend innvestigate" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_default_model_of_the_benchmark(tmp_path):
    few = ["--methods", "rap,gradient", "--metrics", "ratio", "--limit", 2, "--resamples", 10]
    few += ["--keep", "all", "--figures", 0]
    succeed("benchmark", "--backend", "innvestigate", *few, "--out", tmp_path / "out")
    assert "report.md" in files(tmp_path / "out")


@pytest.mark.slow
def test_a_command_runs_without_a_terminal(photo, tmp_path):
    arguments = ["patterns", "fit", photo, "--model", "bundled:vgg", "--type", "none"]
    code = "from rap_keras.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--out", tmp_path / "out" / "p.npz"],
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    assert result.returncode == 2, result.stderr
    assert "Expected --type to be one of 'relu'" in result.stderr
    assert files(tmp_path) == ["a.png"]
