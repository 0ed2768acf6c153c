"""The examples of README and docs/innvestigate.md run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras2 import k2

from rap_keras import InputError, create_analyzer
from rap_keras import innvestigate as plugin

ROOT = Path(__file__).parents[2]

BEFORE = """
import numpy as np
x = np.load("x.npy")
"""
AFTER = """
np.savez("maps.npz", R=R, A=A)
"""


def examples(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)


def drop_in(name):
    """The example, without its comments."""
    (example,) = [code for code in examples(name) if "disable_eager" in code]
    return re.sub(r" *#.*", "", example)


@pytest.fixture
def model_file(tmp_path, rng):
    x = inputs = k2.Input((8, 8, 3))
    x = k2.layers.Conv2D(4, 3, activation="relu", name="conv2d")(x)
    x = k2.layers.Add(name="add")([x, x])
    x = k2.layers.Dense(3, activation="softmax")(k2.layers.Flatten()(x))
    k2.Model(inputs, x).save(tmp_path / "model.h5")
    np.save(tmp_path / "x.npy", rng.normal(size=(2, 8, 8, 3)).astype("float32"))
    return tmp_path / "model.h5"


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_the_drop_in_example(model_file, tmp_path):
    assert drop_in("README.md") == drop_in("docs/innvestigate.md")
    code = BEFORE + drop_in("README.md") + AFTER
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=300
    )
    with plugin.new_graph():
        model = k2.models.load_model(model_file, compile=False)
        logits = k2.Model(model.input, plugin_logits(model))
    x, maps = np.load(tmp_path / "x.npy"), np.load(tmp_path / "maps.npz")
    with plugin.graph_scope(logits):
        expected = logits.predict_on_batch(x).max(1)
    np.testing.assert_allclose(maps["R"].sum((1, 2, 3)), expected, rtol=1e-4, atol=1e-6)
    assert maps["A"].shape == x.shape
    assert abs(maps["A"] - maps["R"]).max() > 1e-3 * abs(maps["R"]).max()


def plugin_logits(model):
    """The last layer's output before its softmax."""
    last = model.layers[-1]
    return k2.backend.dot(last.input, last.kernel) + last.bias


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_keras3_example(tmp_path, monkeypatch, rng):
    (code,) = [c for c in examples("docs/innvestigate.md") if "from_keras3" in c]
    if not keras.__version__.startswith("3"):
        with pytest.raises(InputError, match="Expected Keras 3 to read the model, got Keras 2"):
            exec(code, {})
        return
    from networks import plain

    monkeypatch.chdir(tmp_path)
    plain(head="softmax").save("model.keras")
    names = {"x": rng.normal(size=(2, 12, 12, 3)).astype("float32")}
    exec(code, names)
    assert names["R"].shape == names["x"].shape


def test_the_native_backend_needs_keras_3():
    if keras.__version__.startswith("3"):
        pytest.skip("here is Keras 3")
    with pytest.raises(InputError, match=r"needs Keras 3, got Keras 2.*rap_keras\.innvestigate"):
        create_analyzer("rap", None)


def test_without_legacy_keras_the_import_says_what_to_set():
    if not keras.__version__.startswith("3"):
        pytest.skip("tf.keras is Keras 2 anyway")
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-c", "import rap_keras.innvestigate"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "TF_USE_LEGACY_KERAS=1 before TensorFlow is imported" in done.stderr
