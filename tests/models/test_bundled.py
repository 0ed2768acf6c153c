"""The networks that ship with the package."""

import re
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from helpers.thinned import slow_unless
from keras.ops import convert_to_numpy

import rap_keras
from rap_keras.datasets import cluttered_digits, preprocess
from rap_keras.errors import InputError
from rap_keras.models import architectures, bundled
from rap_keras.models.loading import load_model

# Of 1000 unseen scenes (docs/models.md) and of these, which are fewer.
CLASSIFIERS = ["vgg", "residual", "convnext", "vit"]
TUNED = ["vgg-deletion", "residual-deletion"]
MEGABYTES = {"vgg": 1, "residual": 1, "convnext": 2, "vit": 2, "segmentation": 1}
MEGABYTES |= dict.fromkeys(TUNED, 0.05)

keras3 = pytest.mark.skipif(keras.__version__ < "3", reason="of Keras 3")


@pytest.fixture(scope="module")
def scenes():
    return cluttered_digits(100, seed=12345)


def test_every_network_is_tested_here():
    assert set(MEGABYTES) == set(get_args(bundled.Name)) == {*CLASSIFIERS, *TUNED, "segmentation"}


@pytest.mark.parametrize("name", MEGABYTES)
def test_files_are_small(name):
    asset = resources.files("rap_keras") / "assets" / bundled.asset(name)
    with resources.as_file(asset) as path:
        assert path.stat().st_size < 1e6 * MEGABYTES[name]


@pytest.mark.parametrize(
    "name", slow_unless(lambda p: p.values[0] in ("vgg", "vgg-deletion"), CLASSIFIERS + TUNED)
)
def test_classifiers_name_unseen_digits(name, scenes):
    loaded = load_model(f"bundled:{name}")
    assert loaded.input_size == (64, 64)
    assert loaded.labels == tuple("0123456789")
    np.testing.assert_array_equal(loaded.preprocess(scenes.images), preprocess(scenes.images))
    logits = loaded.model.predict(loaded.preprocess(scenes.images), verbose=0)
    assert np.mean(logits.argmax(1) == scenes.labels) >= 0.93


@keras3
@pytest.mark.parametrize("name", slow_unless(lambda p: p.values[0] == "residual", CLASSIFIERS))
def test_every_layer_conserves_the_logit(name, scenes):
    x = preprocess(scenes.images[:4])
    analyzer = rap_keras.create_analyzer("rap", bundled.load(name))
    report = analyzer.conservation(x)
    assert len(report.layers) > 10
    assert report.max_error < 1e-5
    logits = analyzer.explain(x).explained_logits
    assert (np.abs(report.model.inputs - logits) < 1e-5 * report.model.size).all()


@pytest.mark.parametrize("name", slow_unless(lambda p: p.values[0] == "vgg-deletion", TUNED))
def test_tuned_networks_name_digits_without_a_patch(name, scenes):
    x = preprocess(scenes.images)
    for k, image in enumerate(x):
        row, column = divmod(k % 16, 4)
        image[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 0
    logits = bundled.load(name).predict(x, verbose=0)
    assert np.mean(logits.argmax(1) == scenes.labels) >= 0.9


def test_segmentation_finds_unseen_digits(scenes):
    loaded = load_model("bundled:segmentation")
    assert loaded.labels == ("background", *"0123456789")
    model = loaded.model
    images, masks, labels = scenes.images[:40], scenes.masks[:40], scenes.labels[:40]
    logits = model.predict(preprocess(images), verbose=0)
    assert logits.shape == (40, 64, 64, 11)
    found = logits.argmax(-1)
    right = found == masks * (1 + labels[:, None, None])
    assert right.mean() > 0.995
    overlap = (right & masks).sum() / (masks | (found > 0)).sum()
    assert overlap > 0.9


def test_there_is_no_other_network():
    with pytest.raises(InputError, match="no bundled model 'vgg19': did you mean 'vgg'"):
        bundled.load("vgg19")


@pytest.mark.parametrize("name", [*CLASSIFIERS, "segmentation"])
def test_the_weights_are_those_of_the_file(name):
    model = bundled.load(name)
    asset = resources.files("rap_keras") / "assets" / bundled.asset(name)
    found = bundled.arrays(model)
    with resources.as_file(asset) as path, np.load(path) as file:
        assert set(found) == set(file.files)
        for key, array in found.items():
            np.testing.assert_array_equal(array, bundled.unpacked(file[key]))


@pytest.mark.parametrize("name", TUNED)
def test_the_file_of_a_tuned_network_has_the_differences(name):
    flat = [
        np.concatenate([a.ravel() for a in bundled.arrays(bundled.load(n)).values()])
        for n in (name, name.removesuffix("-deletion"))
    ]
    asset = resources.files("rap_keras") / "assets" / bundled.asset(name)
    with resources.as_file(asset) as path, np.load(path) as file:
        steps = np.round(128 * (flat[0] - flat[1]))
        np.testing.assert_allclose(flat[0] - flat[1], steps / 128, atol=1e-6)
        np.testing.assert_array_equal(np.packbits(steps != 0), file["where"])
        np.testing.assert_array_equal(steps[steps != 0], file["steps"])


@pytest.mark.parametrize("name", MEGABYTES)
def test_every_python_can_read_the_file(name):
    """bz2 and lzma are optional: Python is often built without them."""
    asset = resources.files("rap_keras") / "assets" / bundled.asset(name)
    with resources.as_file(asset) as path, zipfile.ZipFile(path) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_DEFLATED}


def test_the_page_has_the_sizes_of_the_files():
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")
    stated = dict(re.findall(r"^\| `([\w-]+)` \|.*\| (\d+) kB \|", page, re.MULTILINE))
    with resources.as_file(resources.files("rap_keras") / "assets") as folder:
        sizes = {n: (folder / bundled.asset(n)).stat().st_size for n in MEGABYTES}
    assert stated == {name: f"{size / 1e3:.0f}" for name, size in sizes.items()}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (0, 2)])
def test_floats_are_packed_and_unpacked(dtype, shape, rng):
    array = rng.normal(size=shape).astype(dtype)
    stored = bundled.packed(array)
    assert (stored.dtype, stored.shape) == (np.uint8, (array.itemsize, *shape))
    found = bundled.unpacked(stored)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@keras3
@pytest.mark.parametrize("build", [architectures.build_vit, architectures.build_convnext])
@pytest.mark.quick("build_vit")
def test_layers_of_our_own_are_saved_and_loaded(build, tmp_path, scenes):
    model = build()
    for variable in model.weights:
        variable.assign(np.random.default_rng(0).normal(0, 0.1, variable.shape) ** 2)
    model.save(tmp_path / "model.keras")
    x = preprocess(scenes.images[:2])
    same = keras.saving.load_model(tmp_path / "model.keras")
    assert_same(same(x), model(x))


@pytest.mark.slow
@keras3
def test_an_analyzer_is_loaded_in_a_process_that_knows_no_bundled_network(tmp_path, scenes):
    x = preprocess(scenes.images[:1])
    analyzer = rap_keras.create_analyzer("attention.rollout", bundled.load("vit"))
    analyzer.save(tmp_path / "saved")
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy as np, rap_keras\n"
        "analyzer = rap_keras.load_analyzer('saved')\n"
        "np.save('found.npy', analyzer.analyze(np.load('x.npy')))\n"
        "assert 'rap_keras.models.bundled' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert_same(np.load(tmp_path / "found.npy"), analyzer.analyze(x))


@keras3
def test_the_token_stands_first_and_places_differ(rng):
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    token, positions = architectures.ClassToken(), architectures.PositionEmbedding()
    sequence = token(x)
    np.testing.assert_array_equal(convert_to_numpy(sequence)[:, 1:], x)
    token.token.assign(np.full((1, 1, 4), 7.0))
    np.testing.assert_array_equal(convert_to_numpy(token(x))[:, 0], np.full((2, 4), 7.0))
    positions.build((None, 3, 4))
    placed = rng.normal(size=(3, 4)).astype(np.float32)
    positions.positions.assign(placed)
    np.testing.assert_array_equal(convert_to_numpy(positions(x)), x + placed)


def test_layer_scale_is_of_each_channel(rng):
    x = rng.normal(size=(2, 3, 3, 4)).astype(np.float32)
    layer = architectures.LayerScale()
    assert_same(layer(x), 0.1 * x)
    layer.set_weights([np.array([1, 2, 3, 4], np.float32)])
    assert_same(layer(x), x * np.array([1, 2, 3, 4]))


def test_the_transformer_needs_keras_3(monkeypatch):
    monkeypatch.setattr(architectures.keras, "__version__", "2.14.0")
    with pytest.raises(InputError, match=r"Expected Keras 3 .*, got Keras 2\.14\.0"):
        architectures.build_vit()


def test_embedded_is_an_alias_of_bundled():
    assert rap_keras.embedded.load is rap_keras.bundled.load
    assert load_model("embedded:vgg").name == "bundled:vgg"
