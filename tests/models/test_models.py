import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import ModuleType

import h5py
import keras
import numpy as np
import pytest
from helpers.compare import assert_same
from keras.ops import convert_to_numpy

from rap_keras import models
from rap_keras.errors import InputError
from rap_keras.models.applications import applications
from rap_keras.models.loading import load_model
from rap_keras.support.python_files import load_function

# Keras 3.15 saves variables in a way that NumPy 2.4 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def images():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    images.setflags(write=False)
    return images


def build():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(2, 3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )


@pytest.fixture
def keras_file(tmp_path):
    model = build()
    model.save(tmp_path / "model.keras")
    return model, str(tmp_path / "model.keras")


@pytest.fixture
def python_file(tmp_path):
    (tmp_path / "neighbour.py").write_text("CLASSES = 7\n")
    (tmp_path / "net.py").write_text(
        "import dataclasses, keras, neighbour\n"
        "@dataclasses.dataclass\n"
        "class Options:\n"
        "    classes: 'int' = neighbour.CLASSES\n"
        "def make(shape=(8, 8, 3)):\n"
        "    return keras.Sequential([keras.Input(shape), keras.layers.Conv2D(2, 3),\n"
        "        keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(Options().classes)])\n"
        "def free(): return make((None, None, 3))\n"
        "def pairs(): return make((8, 8, 2))\n"
        "def dense(): return keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])\n"
        "def positions(): return keras.Sequential([keras.Input((8, 8, 3)),\n"
        "    keras.layers.Conv2D(2, 3)])\n"
        "def several():\n"
        "    model = positions()\n"
        "    boxes = model.outputs[0]\n"
        "    classes = keras.layers.Dense(7)(keras.layers.Flatten()(boxes))\n"
        "    return keras.Model(model.inputs[0], {'boxes': boxes, 'classes': classes})\n"
        "def unbuilt(): return keras.Sequential([keras.layers.Dense(2)])\n"
        "def two():\n"
        "    model = make()\n"
        "    return keras.Model(model.inputs, model.outputs * 2)\n"
        "def nothing(): return None\n"
        "def fails(): raise RuntimeError('no luck\\nand more lines')\n"
        "number = 3\n"
    )
    return str(tmp_path / "net.py")


def test_applications_have_their_own_preprocessing_and_size():
    table = applications()
    assert len(table) >= 39
    for name, size in {"vgg16": 224, "inceptionv3": 299, "efficientnetb3": 300}.items():
        assert table[name].default_size == size
    x = np.full((1, 2, 2, 3), 255.0, np.float32)
    for name, expected in {
        "mobilenetv2": [1, 1, 1],
        "resnet50": [255 - 103.939, 255 - 116.779, 255 - 123.68],
        "resnet50v2": [1, 1, 1],
        "densenet121": [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225],
        "efficientnetb0": [255, 255, 255],
        "mobilenetv3small": [255, 255, 255],
    }.items():
        np.testing.assert_allclose(table[name].preprocess_input(x.copy())[0, 0, 0], expected, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in applications() if "xlarge" not in n])
def test_table_of_sizes(name):
    shape = applications()[name].build(weights=None, classifier_activation=None).input_shape
    assert shape[1:3] in [(applications()[name].default_size,) * 2, (None, None)]


def test_loads_an_application_with_random_weights(images):
    loaded = load_model("MobileNetV3Small", weights="none")
    assert loaded.name == "mobilenetv3small"
    assert loaded.input_size == (224, 224)
    assert loaded.labels is None
    assert loaded.model.layers[-1].get_config().get("activation") in (None, "linear")
    np.testing.assert_array_equal(loaded.preprocess(images), images.astype(np.float32))
    assert load_model("mobilenetv3small", weights="none", size=96).input_size == (96, 96)


@pytest.mark.slow
def test_weights_of_an_application_from_a_file(tmp_path):
    x = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype(np.float32)
    one, other = (load_model("mobilenetv3small", weights="none") for _ in range(2))
    one.model.save_weights(tmp_path / "one.weights.h5")
    same = load_model("mobilenetv3small", weights=str(tmp_path / "one.weights.h5"))
    assert_same(same.model(x), one.model(x))
    assert not np.array_equal(*(convert_to_numpy(each.model(x)) for each in (other, one)))
    assert (one.weights, same.weights) == ("none", str(tmp_path / "one.weights.h5"))
    with pytest.raises(InputError, match="no weights file"):
        load_model("mobilenetv3small", weights="missing.h5")


def test_logits_come_before_the_softmax(tmp_path, images):
    model = build()
    probabilities = keras.Sequential([model, keras.layers.Softmax()])
    probabilities.build((None, *model.input_shape[1:]))  # which Keras 3.3 does not do by itself
    probabilities.save(tmp_path / "model.keras")
    loaded = load_model(str(tmp_path / "model.keras"), preprocess="unit")
    x = loaded.preprocess(images)
    np.testing.assert_allclose(loaded.logits(x), convert_to_numpy(model(x)), rtol=1e-4, atol=1e-6)
    first = convert_to_numpy(model(x[:1]))
    np.testing.assert_allclose(loaded.logits(x[:1]), first, rtol=1e-4, atol=1e-6)


def test_weights_that_cannot_be_downloaded(monkeypatch):
    def build(**options):
        raise Exception("URL fetch failure on https://example.org\nmore")

    fake = models.Application(build, lambda x: x, 224)
    monkeypatch.setitem(applications(), "vgg16", fake)
    with pytest.raises(InputError, match=r"downloaded \(.*weights=FILE.*bundled:vgg"):
        load_model("vgg16")


def test_loads_a_file(keras_file, images):
    model, path = keras_file
    loaded = load_model(path, preprocess="unit")
    assert loaded.input_size == (8, 8)
    assert loaded.weights == "own"
    x = loaded.preprocess(images)
    assert x.dtype == np.float32
    assert_same(loaded.model(x), model(x))


def test_loads_a_legacy_file(keras_file, images, tmp_path):
    model, _ = keras_file
    model.save(tmp_path / "model.h5")
    loaded = load_model(str(tmp_path / "model.h5"), preprocess="none")
    x = loaded.preprocess(images)
    assert_same(loaded.model(x), model(x))


def test_loads_from_a_function_and_leaves_the_search_path(python_file):
    before = list(sys.path)
    loaded = load_model(f"{python_file}:make", preprocess="tf")
    assert loaded.model.output_shape == (None, 7)
    assert loaded.input_size == (8, 8)
    assert sys.path == before
    assert not (Path(python_file).parent / "__pycache__").exists()
    with pytest.raises(InputError):
        load_model(f"{python_file}:fails", preprocess="tf")
    assert sys.path == before


def test_functions_that_threads_load_at_once_leave_the_search_path(tmp_path):
    """The first one ends before the second one, which has begun later and then imports."""
    before, began, ended = (list(sys.path), sys.dont_write_bytecode), Event(), Event()
    codes = {"first": "began.wait(9)", "second": "began.set(); ended.wait(9); import neighbour"}
    for name, code in codes.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "neighbour.py").touch()
        (tmp_path / name / "net.py").write_text(
            f"from {__name__}_events import began, ended\n{code}\ndef make(): return 1\n"
        )
    events = ModuleType(f"{__name__}_events")
    events.began, events.ended = began, ended
    sys.modules[events.__name__] = events
    with ThreadPoolExecutor() as pool:
        first, second = (
            pool.submit(load_function, tmp_path / name / "net.py", "make") for name in codes
        )
        first.result()
        ended.set()
        second.result()
    del sys.modules[events.__name__]
    assert (sys.path, sys.dont_write_bytecode) == before
    assert not [*tmp_path.rglob("__pycache__")]


def test_two_files_of_one_name_are_two(tmp_path, python_file):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "net.py").write_text(
        "import keras\n"
        "def make(): return keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()])\n"
    )
    assert load_model(f"{python_file}:make", preprocess="tf").input_size == (8, 8)
    other = load_model(f"{tmp_path / 'other' / 'net.py'}:make", preprocess="tf")
    assert other.input_size == (4, 4)


def test_size_of_a_model_that_takes_any(python_file):
    assert load_model(f"{python_file}:free", preprocess="tf").input_size is None
    assert load_model(f"{python_file}:free", preprocess="tf", size=24).input_size == (24, 24)
    assert load_model(f"{python_file}:free", preprocess="tf", size=(9, 5)).input_size == (9, 5)
    assert load_model(f"{python_file}:make", preprocess="tf", size=8).input_size == (8, 8)
    with pytest.raises(InputError, match="only images of 8 x 8"):
        load_model(f"{python_file}:make", preprocess="tf", size=9)
    for size in ([9, 5], np.array([9, 5])):
        assert load_model(f"{python_file}:free", preprocess="tf", size=size).input_size == (9, 5)
    for size in ([8, 8], np.int64(8)):
        assert load_model(f"{python_file}:make", preprocess="tf", size=size).input_size == (8, 8)
    with pytest.raises(InputError, match="at least 1 pixel"):
        load_model(f"{python_file}:free", preprocess="tf", size=0)
    for size in (8.5, "8", (8,), (8, 8, 3)):
        with pytest.raises(InputError, match="a number of pixels, or a height and a width, got"):
            load_model(f"{python_file}:free", preprocess="tf", size=size)


def test_files_are_named_as_a_text_or_a_path(keras_file, images):
    model, path = keras_file
    loaded = load_model(Path(path), preprocess="tf", weights=Path(path))
    assert (loaded.name, loaded.weights) == (path, path)
    assert_same(loaded.model.get_weights()[0], model.get_weights()[0])


def test_what_is_no_text_where_one_is_expected(keras_file):
    model, _ = keras_file
    for preprocess in (None, lambda x: x):
        with pytest.raises(InputError, match="There is no preprocessing"):
            load_model(model, preprocess=preprocess)
    with pytest.raises(InputError, match="imagenet, none or a weights file, got None"):
        load_model("vgg16", weights=None)


def test_weights_from_a_file(keras_file, python_file, images, tmp_path):
    model, path = keras_file
    other = build()
    other.save_weights(tmp_path / "other.weights.h5")
    loaded = load_model(path, weights=str(tmp_path / "other.weights.h5"), preprocess="unit")
    x = loaded.preprocess(images)
    assert_same(loaded.model(x), other(x))
    assert not np.array_equal(*(convert_to_numpy(each(x)) for each in (loaded.model, model)))
    with pytest.raises(InputError, match="does not fit"):
        load_model(f"{python_file}:make", str(tmp_path / "other.weights.h5"), "unit")
    with pytest.raises(InputError, match="no weights file"):
        load_model(path, weights="missing.h5", preprocess="unit")
    with pytest.raises(InputError, match="its weights: leave weights out"):
        load_model(path, weights="none", preprocess="unit")


def test_weights_are_not_loaded_into_the_model_of_the_user(tmp_path):
    build().save_weights(tmp_path / "other.weights.h5")
    model = build()
    before = model.get_weights()
    with pytest.raises(InputError, match="call its load_weights"):
        load_model(model, weights=tmp_path / "other.weights.h5", preprocess="unit")
    assert all(map(np.array_equal, model.get_weights(), before))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", lambda x: x),
        ("unit", lambda x: x / 255),
        ("tf", lambda x: x / 127.5 - 1),
        ("caffe", lambda x: x[..., ::-1] - [103.939, 116.779, 123.68]),
        ("torch", lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
        ("vgg16", lambda x: x[..., ::-1] - [103.939, 116.779, 123.68]),
    ],
)
def test_named_preprocessing(keras_file, images, name, expected):
    x = load_model(keras_file[1], preprocess=name).preprocess(images)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, expected(images.astype(np.float64)), rtol=1e-5, atol=1e-5)


def test_mean_and_std(keras_file, images):
    path = keras_file[1]
    mean, std = (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)
    x = load_model(path, mean=mean, std=std).preprocess(images)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, (images.astype(np.float64) - mean) / std, rtol=1e-6)
    x = load_model(path, preprocess="unit", std=[0.5]).preprocess(images)
    np.testing.assert_allclose(x, images / 255 / 0.5, rtol=1e-6)
    half = load_model(path, preprocess="unit", std=0.5).preprocess(images)
    np.testing.assert_array_equal(half, x)
    for bad in (
        {"mean": (1, 2)},
        {"mean": "words"},
        {"mean": [1, [2, 3]]},
        {"std": (1, 1, float("nan"))},
        {"std": np.zeros(3)},
        {"std": 0},
        {"std": (1, -1, 1)},
    ):
        with pytest.raises(InputError, match=r"mean|std|Standard"):
            load_model(path, **bad)


def test_own_models_need_a_preprocessing(keras_file):
    with pytest.raises(InputError, match=r"unit, tf, caffe, torch or the name .* mean"):
        load_model(keras_file[1])
    with pytest.raises(InputError, match=r"no preprocessing 'zscore': pass auto, none, unit"):
        load_model(keras_file[1], preprocess="zscore")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("fails", "got an error .RuntimeError: no luck.*"),
        ("missing", "got an error .AttributeError"),
        ("number", "got an error .TypeError"),
        ("", "to return a model, got an error"),
        ("nothing", "nothing cannot be explained: Expected a Keras 3 model, got"),
        ("unbuilt", "unbuilt cannot be explained: Expected a built model"),
        ("pairs", r"Expected a model of images .*, whose input is \(8, 8, 2\)"),
        ("dense", r"Expected a model of images .*, whose input is \(5,\)"),
    ],
)
def test_functions_that_give_no_model_of_images(python_file, function, message):
    with pytest.raises(InputError, match=message) as error:
        load_model(f"{python_file}:{function}", preprocess="tf")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vgg17", "no model 'vgg17'.*vgg1"),
        ("model.pt", "FILE.keras"),
        ("missing.keras", "no model file 'missing.keras'"),
        ("missing.py:make", "no model file 'missing.py'"),
        ("bundled:vgg17", "vgg17"),
    ],
)
def test_no_such_model(spec, message):
    with pytest.raises(InputError, match=message):
        load_model(spec, preprocess="tf")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "text.keras",
            "to be a model saved by Keras, got a file that is not a valid Keras archive",
        ),
        ("text.h5", "to be a model saved by Keras, got a file that is not a valid HDF5 file"),
        ("empty.keras", "cannot be loaded"),
        ("empty.h5", "cannot be loaded"),
    ],
)
def test_damaged_files_are_one_line(tmp_path, name, message):
    (tmp_path / "text.keras").write_bytes(b"no model at all")
    (tmp_path / "text.h5").write_bytes(b"no model at all")
    zipfile.ZipFile(tmp_path / "empty.keras", "w").close()
    h5py.File(tmp_path / "empty.h5", "w").close()
    with pytest.raises(InputError, match=message) as error:
        load_model(str(tmp_path / name), preprocess="tf")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("two", "Expected a classifier with one output, got .*, which has 2"),
        ("positions", r"whose output is one vector of classes, got .* of shape \(None, 6, 6, 2\)"),
    ],
)
def test_models_that_are_no_classifiers_are_loaded_and_told_as_that(python_file, function, message):
    loaded = load_model(f"{python_file}:{function}", preprocess="tf")
    with pytest.raises(InputError, match=message):
        loaded.check_classifier()
    load_model(f"{python_file}:make", preprocess="tf").check_classifier()


def test_one_output_of_several_is_loaded(python_file, images):
    spec = f"{python_file}:several"
    loaded = load_model(spec, preprocess="unit", output="boxes")
    x = loaded.preprocess(images)
    assert_same(loaded.logits(x), loaded.model(x)["boxes"])
    assert loaded.logits(x).shape == (2, 6, 6, 2)
    with pytest.raises(InputError, match="whose output is one vector of classes"):
        loaded.check_classifier()
    classes = load_model(spec, preprocess="unit", output=1)
    classes.check_classifier()
    assert classes.logits(x).shape == (2, 7)
    for wrong in ("masks", 2):
        with pytest.raises(InputError, match="Expected output to be one of 'boxes', 'classes'"):
            load_model(spec, preprocess="unit", output=wrong)
    with pytest.raises(InputError, match="Expected output=NAME"):
        load_model(spec, preprocess="unit").logits(x)


def test_a_size_that_no_memory_holds_is_refused_before_it_is_tried(python_file):
    with pytest.raises(
        InputError, match=r"100000 x 100000 pixels: a batch of 1 needs at least 1,920 GB"
    ):
        load_model(f"{python_file}:free", preprocess="tf", size=100_000)
    assert load_model(f"{python_file}:free", preprocess="tf", size=512).input_size == (512, 512)
