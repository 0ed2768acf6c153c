"""Subclassed models of files, which Keras loads where their code is, through every command."""

import json
import sys

import keras
import numpy as np
import pytest
from helpers.benchmarks import COLOURS, MODEL, QUICK, photos  # noqa: F401 (a fixture)
from helpers.command_line import succeed
from helpers.compare import assert_same

from rap_keras.errors import InputError
from rap_keras.models.loading import load_model

pytestmark = [
    pytest.mark.skipif(keras.__version__ < "3", reason="the native backend is of Keras 3"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

# The same as `make`, as a class; with augmentation, as the tutorials have it.
SUBCLASSED = """
from pathlib import Path

@keras.saving.register_keras_serializable("tests")
class Net(keras.Model):
    def __init__(self, several=False, **kwargs):
        super().__init__(**kwargs)
        self.several = several
        self.augmentation = keras.layers.RandomFlip("horizontal")
        self.conv = keras.layers.Conv2D(3, 3, padding="same", activation="relu")
        self.mean = keras.layers.GlobalAveragePooling2D()
        self.head = keras.layers.Dense(3)

    def call(self, x, training=False):
        features = self.conv(self.augmentation(x, training=training))
        logits = self.head(self.mean(features))
        return {"logits": logits, "features": features} if self.several else logits

    def get_config(self):
        return super().get_config() | {"several": self.several}

def subclassed(several=False):
    model = Net(several)
    model(np.zeros((1, 12, 12, 3)))
    model.set_weights([w for w in make().get_weights()] + model.get_weights()[4:])
    return model

def several():
    return subclassed(True)

def loaded():
    return keras.saving.load_model(Path(__file__).parent / "net.keras")

def never_called():
    return Net()

def pairs():
    model = Net()
    model(np.zeros((1, 12, 12, 2)))
    return model
"""


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "net.py").write_text(MODEL + SUBCLASSED)
    return f"{tmp_path / 'net.py'}:"


@pytest.fixture
def saved(spec, tmp_path):
    load_model(spec + "subclassed", preprocess="unit").model.save(tmp_path / "net.keras")
    return spec + "loaded"


def test_a_subclassed_model_computes_what_its_flat_twin_does(saved, spec, rng):
    flat, loaded = (load_model(one, preprocess="unit") for one in (spec + "make", saved))
    assert loaded.input_size == flat.input_size == (12, 12)
    loaded.check_classifier()
    x = flat.preprocess(rng.integers(0, 256, (2, 12, 12, 3), dtype=np.uint8))
    assert_same(loaded.logits(x), flat.model(x))


def test_outputs_of_a_subclassed_model(spec, rng):
    loaded = load_model(spec + "several", preprocess="unit")
    with pytest.raises(InputError, match=r"a classifier with one output, got .*, which has 2"):
        loaded.check_classifier()
    x = rng.uniform(size=(2, 12, 12, 3)).astype(np.float32)
    features = load_model(spec + "several", preprocess="unit", output="features")
    assert_same(features.logits(x), features.model(x)["features"])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            "never_called",
            "never_called cannot be explained: .*: call it on one batch",
        ),
        ("pairs", r"Expected a model of images .*, whose input is \(12, 12, 2\)"),
    ],
)
def test_what_is_no_model_of_images(spec, function, message):
    with pytest.raises(InputError, match=message):
        load_model(spec + function, preprocess="unit")


def test_a_file_without_the_code_says_how_to_load_it(saved, tmp_path, monkeypatch):
    net = keras.saving.get_custom_objects()["tests>Net"]
    monkeypatch.delitem(keras.saving.get_custom_objects(), "tests>Net")  # as in a new process
    monkeypatch.delitem(sys.modules, net.__module__)
    with pytest.raises(InputError, match=r"'Net'.*: Keras needs the code .* FILE\.py:function"):
        load_model(str(tmp_path / "net.keras"), preprocess="unit")


@pytest.mark.slow
def test_every_command_takes_it(saved, spec, photos, tmp_path):  # noqa: F811
    one = [photos / "images" / "a.png", "--preprocess", "unit"]
    for model, out in [(saved, "class"), (spec + "make", "flat")]:
        arguments = ["--model", model, "--out", tmp_path / out]
        succeed("explain", *one, *arguments)
    found, expected = (np.load(tmp_path / out / "a.npy") for out in ("class", "flat"))
    assert_same(found, expected)
    arguments = ["--model", saved, "--out", tmp_path / "out"]
    assert "a-layers.png" in succeed("layers", *one, *arguments)
    assert "by 2 methods" in succeed("compare", *one, "--methods", "rap,gradient", *arguments)
    data = ["--data", f"folder:{photos}", "--preprocess", "unit", "--classes", ",".join(COLOURS)]
    summaries = []
    for model, out in [(saved, "b-class"), (spec + "make", "b-flat")]:
        succeed("benchmark", "--model", model, *data, *QUICK, "--out", tmp_path / out)
        summaries.append(json.loads((tmp_path / out / "summary.json").read_text())["summary"])
    assert [summary["kept"] for summary in summaries] == [5, 5]
    ratios = [s["methods"]["gradient"]["quantities"]["ratio_all"]["value"] for s in summaries]
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-3)
