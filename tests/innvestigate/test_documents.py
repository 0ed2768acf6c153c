"""The examples for Keras 2 run as they stand."""

import os
import re
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from helpers.documents import KERAS_2, PAGES, blocks
from helpers.keras2 import k2
from helpers.thinned import slow_unless

from rap_keras import InputError, create_analyzer
from rap_keras import innvestigate as plugin

HAS_KERAS3 = keras.__version__.startswith("3")
if HAS_KERAS3:
    from helpers.networks import plain

BEFORE = """
import numpy as np
x = np.load("x.npy")
"""
AFTER = """
np.savez("maps.npz", **{name: maps for name, maps in globals().items() if name in ("R", "A")})
"""
# The same code on two pages runs once.
CODE = {
    re.sub(r" *#.*", "", block.code): f"{block.page}:{block.line}"
    for page in PAGES
    for block in blocks(page)
    if block.comment == KERAS_2
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a reader works: models of default names, as files of Keras 2 and Keras 3, and images."""
    folder = tmp_path_factory.mktemp("reader")
    x = inputs = k2.Input((12, 12, 3), name="input_1")
    x = k2.layers.Conv2D(4, 3, activation="relu", name="conv2d")(x)
    x = k2.layers.Add(name="add")([x, x])
    x = k2.layers.Flatten(name="flatten")(x)
    x = k2.layers.Dense(3, activation="softmax", name="dense")(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Keras 2 says that HDF5 is legacy
        k2.Model(inputs, x).save(folder / "model.h5")
    if HAS_KERAS3:
        plain(head="softmax").save(folder / "model.keras")
    images = np.random.default_rng(0).normal(size=(2, 12, 12, 3))
    np.save(folder / "x.npy", images.astype("float32"))
    return folder


# One example is quick: that of README, which needs both versions of Keras.
@pytest.mark.parametrize(
    "code",
    slow_unless(
        lambda p: HAS_KERAS3 and "from_keras3" in p.values[0] and "README" in p.id,
        [pytest.param(code, id=place) for code, place in CODE.items()],
    ),
)
def test_the_examples(code, folder, monkeypatch):
    monkeypatch.chdir(folder)
    x = np.load("x.npy")
    if "from_keras3" not in code:
        maps = run_in_a_process(code, folder)
    elif HAS_KERAS3:
        maps = {"x": x}
        exec(code, maps)
    else:
        with pytest.raises(InputError, match="Expected Keras 3 to read the model, got Keras 2"):
            exec(code, {"x": x})
        return
    assert all(maps[name].shape == x.shape for name in ("R", "A") if name in maps)
    if "model.h5" not in code:
        return
    with plugin.new_graph():
        model = k2.models.load_model(folder / "model.h5", compile=False)
        logits = k2.Model(model.input, logits_of(model))
    with plugin.graph_scope(logits):
        expected = logits.predict_on_batch(x).max(1)
    np.testing.assert_allclose(maps["R"].sum((1, 2, 3)), expected, rtol=1e-4, atol=1e-6)
    assert abs(maps["A"] - maps["R"]).max() > 1e-3 * abs(maps["R"]).max()


def run_in_a_process(code, folder):
    """The maps of code that switches eager execution off."""
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + code + AFTER],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return np.load(folder / "maps.npz")


def logits_of(model):
    """The last layer's output before its softmax."""
    last = model.layers[-1]
    return k2.backend.dot(last.input, last.kernel) + last.bias


def test_the_native_backend_needs_keras_3():
    if keras.__version__.startswith("3"):
        pytest.skip("here is Keras 3")
    with pytest.raises(InputError, match=r"needs Keras 3, got Keras 2.*rap_keras\.innvestigate"):
        create_analyzer("rap", None)


@pytest.mark.slow
def test_without_legacy_keras_the_import_names_the_variable_to_set():
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
