"""Models in formats that Keras does not load."""

import re

import keras
import numpy as np
import pytest

if not keras.__version__.startswith("3"):
    pytest.skip("the native backend needs Keras 3", allow_module_level=True)

from keras import layers

from rap_keras import InputError, create_analyzer
from rap_keras.models.loading import load_model
from rap_keras.models.request import what_it_is

FILES = {
    "m.tflite": "is a TensorFlow Lite model, ",
    "m.onnx": "is an ONNX model, ",
    "m.pb": "is a frozen TensorFlow graph, ",
    "m.pth": "is a PyTorch file, ",
    "m.json": "is a model without weights: ",
    "m.weights.h5": "which contains only weights: ",
    "saved_model.pb": "is a TensorFlow SavedModel, ",
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_other_kinds_say_what_they_are(name, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError) as error:
        load_model(str(tmp_path / name), preprocess="none")
    assert FILES[name] in str(error.value)
    assert str(error.value).endswith(".")


def test_what_does_not_exist_is_of_no_kind(tmp_path):
    with pytest.raises(InputError, match="There is no model"):
        load_model(str(tmp_path / "m.tflite"), preprocess="none")


def test_a_python_file_needs_its_function(tmp_path):
    (tmp_path / "net.py").write_text("def load(): return None\n")
    with pytest.raises(
        InputError, match=r"There is no model .*: name the function .*net\.py:FUNCTION"
    ):
        load_model(str(tmp_path / "net.py"), preprocess="none")


def test_a_lambda_in_a_file_is_told_with_the_way_out(tmp_path):
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, layers.Lambda(lambda x: 2 * x)(inputs))
    for name in ("m.keras", "m.h5"):
        model.save(tmp_path / name)
        with pytest.raises(InputError, match=r"Lambda layer with .* safe_mode=False\)\.$"):
            load_model(str(tmp_path / name), preprocess="none")


METHODS = ("gradient", "integrated_gradients", "occlusion", "rise")
BACKEND = keras.backend.backend()


@pytest.mark.skipif(BACKEND != "torch", reason="PyTorch runs the module")
def test_a_module_of_pytorch_is_explained_as_its_message_says(tmp_path, rng):
    import torch

    (tmp_path / "net.pth").write_bytes(b"x")
    told = what_it_is(str(tmp_path / "net.pth"))
    layer, output = re.search(
        r"layer = (keras.*?\)\)), and .* returns (keras\..*?)\. Then", told
    ).groups()
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(64, 5)
    )
    inputs = keras.Input((6, 6, 3))
    names = {"keras": keras, "module": module, "CLASSES": 5, "x": inputs}
    model = eval(output, names | {"layer": eval(layer, names)})
    x = rng.normal(size=(1, 6, 6, 3)).astype("float32")
    for method in METHODS:
        assert method in told
        assert create_analyzer(method, model).analyze(x).any()
    moved = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    module(moved).max().backward()
    expected = moved.grad.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(create_analyzer("gradient", model).analyze(x), expected, 1e-5)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow runs the model")
def test_a_saved_model_needs_tensorflow(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    assert "set KERAS_BACKEND=tensorflow, and wrap it in Keras" in what_it_is(str(tmp_path))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow runs the model")
@pytest.mark.slow
def test_a_saved_model_is_explained_as_its_message_says(tmp_path, rng):
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs)))
    folder = tmp_path / "saved"
    model.export(folder, verbose=False)
    told = what_it_is(str(folder))
    code = re.search(r"layer = (keras\.layers\.TFSMLayer\(.*?\)), and", told)[1]
    layer = eval(code, {"keras": keras})
    wrapped = keras.Model(inputs, layer(inputs))
    x = rng.normal(size=(1, 6, 6, 3)).astype("float32")
    for method in METHODS:
        assert method in told
        maps = [create_analyzer(method, each).analyze(x) for each in (model, wrapped)]
        np.testing.assert_allclose(*maps, rtol=1e-4, atol=1e-6)
