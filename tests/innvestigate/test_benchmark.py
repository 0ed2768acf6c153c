"""`rap-keras benchmark --backend innvestigate`, with Keras 3 installed and with Keras 2 only."""

import json
import re

import keras
import numpy as np
import pytest
from helpers.command_line import fail, files, succeed
from PIL import Image

from rap_keras.benchmark.store import Store

pytest.importorskip("innvestigate")
HAS_KERAS3 = keras.__version__.startswith("3")
needs_keras3 = pytest.mark.skipif(not HAS_KERAS3, reason="the native backend needs Keras 3")

# Both versions of Keras run it. It classifies an image by its mean colour.
MODEL = """
import keras
import numpy as np

def make(activation="softmax"):
    x = inputs = keras.Input((12, 12, 3))
    for name in ("one", "two"):
        x = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name=name)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(3, name="head")(x)
    model = keras.Model(inputs, keras.layers.Activation(activation)(x))
    rng = np.random.default_rng(0)
    kernels = rng.normal(0, 0.01, (2, 3, 3, 3, 3))
    kernels[:, 1, 1] += np.eye(3)
    one, two = kernels
    bias = np.full(3, 0.01)
    model.set_weights([one, bias, two, bias, 8 * np.eye(3) - 2, bias])
    return model
"""
METHODS = ["rap", "gradient", "guided_backprop"]
METRICS = "ratio,average_precision,sparsity,lerf"


@pytest.fixture(scope="module")
def common(tmp_path_factory):
    folder = tmp_path_factory.mktemp("innvestigate")
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / "data" / kind).mkdir(parents=True)
    for k in range(3):
        image = rng.integers(90, 110, (12, 12, 3), np.uint8)
        image[2:9, 3:9, k] = 250
        Image.fromarray(image).save(folder / "data" / "images" / f"{k}.png")
        Image.fromarray(image[..., k] == 250).save(folder / "data" / "masks" / f"{k}.png")
    (folder / "net.py").write_text(MODEL)
    arguments = ["--model", f"{folder / 'net.py'}:make", "--preprocess", "unit"]
    arguments += ["--data", f"folder:{folder / 'data'}", "--metrics", METRICS, "--steps", 4]
    return [*arguments, "--figures", 1, "--resamples", 20]


def kept(out):
    with Store(out) as store:
        assert [record["status"] for record in store.images()] == ["kept"] * 3
        return store.images(), dict(store.maps()), store.protocol


def arguments_of(common, backend, *methods):
    return ["benchmark", *common, "--backend", backend, "--methods", ",".join(methods)]


@pytest.fixture(scope="module")
def found(common, tmp_path_factory):
    """The folder of a run by iNNvestigate, with controls."""
    out = tmp_path_factory.mktemp("found") / "out"
    succeed(*arguments_of(common, "innvestigate", *METHODS), "--out", out)
    return out


def test_a_report_of_the_methods_of_innvestigate(found):
    assert set(files(found)) >= {"report.md", "report.html", "summary.json", "figures/lerf.png"}
    report = (found / "report.md").read_text()
    assert re.search(r"\| guided_backprop \| .*\d", report)
    summary = json.loads((found / "summary.json").read_text())
    assert list(summary["summary"]["methods"])[:3] == METHODS
    assert summary["summary"]["kept"] == 3
    assert summary["protocol"]["backend"] == "innvestigate"
    assert set(summary["protocol"]["versions"]) >= {"innvestigate", "keras", "tensorflow"}
    assert summary["protocol"]["versions"]["keras"].startswith("2.")


@pytest.mark.slow
def test_a_second_run_gives_the_same_results(found, common, tmp_path):
    arguments = arguments_of(common, "innvestigate", *METHODS)
    succeed(*arguments, "--out", tmp_path)
    for name in ("report.md", "summary.json"):
        assert (tmp_path / name).read_bytes() == (found / name).read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_file_with_the_names_that_keras_gives(common, tmp_path):
    code = MODEL.replace('"one", "two"', '"conv2d", "conv2d_1"')
    code = code.replace('name="head"', 'name="dense", activation=activation')
    names = {}
    exec(code.replace("keras.layers.Activation(activation)(x)", "x"), names)
    names["make"]().save(tmp_path / "model.h5")
    arguments = arguments_of(common, "innvestigate", "rap", "integrated_gradients")
    arguments[arguments.index("--model") + 1] = tmp_path / "model.h5"
    succeed(*arguments, "--out", tmp_path / "out")
    kept(tmp_path / "out")


@pytest.mark.slow
@needs_keras3
def test_both_backends_give_the_same_numbers(found, common, tmp_path):
    succeed(*arguments_of(common, "keras", *METHODS), "--out", tmp_path)
    found, maps, protocol = kept(found)
    expected, expected_maps, native = kept(tmp_path)
    assert protocol["weights_crc32"] == native["weights_crc32"]
    for one, other in zip(found, expected, strict=True):
        assert (one["neuron"], one["label"]) == (other["neuron"], other["label"])
        assert one["logit"] == pytest.approx(other["logit"], rel=1e-4)
        for title, row in other["results"].items():
            for name, value in row.items():
                seen = one["results"][title][name]
                if name == "lerf":
                    assert seen["correct"] == value["correct"]
                    seen, value = seen["logit"], value["logit"]
                elif value is None:
                    assert seen is None
                    continue
                message = f"{title}: {name}"
                np.testing.assert_allclose(seen, value, rtol=1e-4, atol=1e-4, err_msg=message)
    assert list(maps) == list(expected_maps) == [0]
    for title, heatmap in expected_maps[0].items():
        scale = abs(heatmap.astype(float)).max()
        np.testing.assert_allclose(maps[0][title], heatmap, rtol=0, atol=1e-4 * scale)


@pytest.mark.skipif(HAS_KERAS3, reason="the native backend is there")
def test_the_native_backend_is_refused_on_keras_2(common, tmp_path):
    message = fail(*arguments_of(common, "keras", "rap"), "--out", tmp_path / "out")
    assert "needs Keras 3" in message
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("nothing", "iNNvestigate has no method 'nothing'"),
        ("gradient:nothing=1", "iNNvestigate has no method 'gradient:nothing=1'"),
        ("rap:add=nothing", "'nothing'"),
        ("rap:nothing=1", "nothing"),
    ],
)
def test_methods_that_innvestigate_does_not_have(method, message, common, tmp_path):
    assert message in fail(*arguments_of(common, "innvestigate", method), "--out", tmp_path / "out")
    assert files(tmp_path) == []


BINARY = """
import keras
import numpy as np

def make():
    x = inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="one")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", name="head")(x))
    kernel = np.zeros((3, 3, 3, 3))
    kernel[1, 1] = np.eye(3)
    model.set_weights([kernel, np.full(3, 0.01), np.array([[40.0], [0.5], [-40.0]]), np.zeros(1)])
    return model
"""


@pytest.mark.slow
def test_both_classes_of_one_sigmoid(common, tmp_path):
    (tmp_path / "binary.py").write_text(BINARY)
    arguments = ["--model", f"{tmp_path / 'binary.py'}:make", *common[2:]]
    arguments += ["--keep", "all", "--methods", "rap,gradient", "--backend", "innvestigate"]
    succeed("benchmark", *arguments, "--no-controls", "--out", tmp_path / "out")
    records, _, _ = kept(tmp_path / "out")
    assert {record["neuron"] for record in records} == {0, 1}
    for record in records:
        assert record["logit"] > 0
        for numbers in record["results"].values():
            curve = numbers["lerf"]
            p = 1 / (1 + np.exp(-np.array(curve["logit"])))
            np.testing.assert_allclose(curve["probability"], p, rtol=1e-6)
