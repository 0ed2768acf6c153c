"""Checks of a requested model that work without Keras."""

import operator
import os.path
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rap_keras.backends.version import has_keras3
from rap_keras.errors import InputError
from rap_keras.models.hub import PREFIX, check_installed
from rap_keras.models.names import application_names, bundled_name, check_bundled, unknown_model
from rap_keras.models.preprocessing import Numbers, check_preprocess
from rap_keras.support.keras_backend import configured
from rap_keras.support.memory import check_memory
from rap_keras.support.text import shown

# Files of other formats, and how to explain their models.
_WRAP = (
    "wrap it in Keras, layer = keras.layers.{layer}, and name FILE.py:function that returns "
    "keras.Model(x, layer({x})). Then gradient, integrated_gradients, smoothgrad, occlusion and rise "
    "can explain it; methods with rules need its layers"
)
_SAVED_MODEL = 'TFSMLayer({folder!r}, call_endpoint="serving_default")'
_MODULE = "TorchModuleWrapper(module, output_shape=(None, CLASSES))"
_LOAD = "name FILE.py:function that returns tf.keras.models.load_model({folder!r})"
_REBUILD = (
    "build the model in Keras with these weights, or use the Keras model that it was made from"
)
# File extension => format.
_KINDS = {
    **dict.fromkeys((".tflite", ".lite"), "a TensorFlow Lite model"),
    ".onnx": "an ONNX model",
    **dict.fromkeys((".pth", ".pt"), "a PyTorch file"),
    ".safetensors": "a weights file of another library",
    ".ckpt": "a TensorFlow checkpoint",
    ".mlmodel": "a Core ML model",
}


def check_request(
    spec: Any, weights: str, preprocess: str, mean: Numbers, std: Numbers, size: Any
) -> None:
    """Raises an error for what `load_model` cannot load, as far as possible without importing Keras."""
    check_preprocess(preprocess, mean, std)
    read_size(size)
    if not isinstance(weights, str | os.PathLike):
        raise InputError(
            f"Expected weights to be imagenet, none or a weights file, got {shown(weights)}.",
            "weights",
        )
    has_choice = isinstance(spec, str) and _check_named(spec)
    if weights not in ("imagenet", "none"):
        if not isinstance(spec, str):
            raise InputError(
                f"Expected a model by name or file for weights={weights!r}, got a model with its own "
                "weights: call its load_weights, and leave weights out.",
                "weights",
            )
        existing(weights, "weights file")
    elif weights == "none" and isinstance(spec, str) and application_names() and not has_choice:
        raise own_weights(spec)


def _check_named(spec: str) -> bool:
    """Raises an error for unknown models. Returns whether there is a choice of weights."""
    before, _, _ = spec.rpartition(":")
    file = before if before.endswith(".py") else spec
    applications = application_names()
    has_choice = spec.lower() in applications or spec.startswith(PREFIX)
    if (name := bundled_name(spec)) is not None:
        check_bundled(name)
    elif file.endswith((".py", ".keras", ".h5")) and not has_choice:
        path = existing(file, "model file")
        if not file.endswith(".py"):
            _check_saved(path)
    elif os.path.isdir(spec) or os.path.basename(spec) == "saved_model.pb":
        pass  # it may be a SavedModel, which only Keras can read
    elif applications and not has_choice:
        raise no_model(spec)
    elif spec.startswith(PREFIX):
        check_installed(spec)
    return has_choice


def own_weights(name: str) -> InputError:
    """Returns the error about weights for a model that comes with its weights."""
    return InputError(
        f"Expected an application or a KerasHub preset for weights=none, got {name}, which comes with "
        "its weights: leave weights out.",
        "weights",
    )


def no_model(spec: str) -> InputError:
    """Returns the error about a file of another format, or an unknown name."""
    known = what_it_is(spec) if os.path.exists(spec) else ""
    return InputError(known) if known else unknown_model(spec)


def _check_saved(path: Path) -> None:
    """Raises an error if a file is not a Keras model, by its name or its first bytes."""
    if path.name.endswith(".weights.h5"):
        raise InputError(
            f"Expected a model file, got {str(path)!r}, which contains only weights: name the model, "
            "and pass weights=FILE.",
            "weights",
        )
    fits = zipfile.is_zipfile(path) if path.suffix == ".keras" else h5py.is_hdf5(path)
    if not fits:
        kind = "Keras archive" if path.suffix == ".keras" else "HDF5 file"
        raise InputError(
            f"Expected {str(path)!r} to be a model saved by Keras, got a file that is not a valid "
            f"{kind}: save the model again."
        )


def read_size(size: Any) -> tuple[int, int] | None:
    """Reads the height and width of images, or one number for both; None stays None.

    Raises an error if they have no pixels or do not fit into memory.
    """
    if size is None:
        return None
    try:
        numbers = [operator.index(number) for number in np.ravel(size)]
    except (TypeError, ValueError):
        numbers = []
    numbers *= 1 if np.ndim(size) else 2
    if len(numbers) != 2:
        raise InputError(
            f"Expected size to be a number of pixels, or a height and a width, got {shown(size)}.",
            "size",
        )
    height, width = numbers
    if min(height, width) < 1:
        raise InputError(f"Expected a size of at least 1 pixel, got {height} x {width}.", "size")
    check_memory((height, width))
    return height, width


def existing(path: str, what: str) -> Path:
    """Returns the path of a file. Raises an error if there is no such file."""
    if not os.path.isfile(path):
        raise InputError(f"There is no {what} {path!r}: check its path.")
    return Path(path)


def what_it_is(spec: str) -> str:
    """Describes the format of a file that Keras cannot load, and what to do; "" if it is unknown."""
    path = Path(spec)
    if path.name == "saved_model.pb" and path.is_file():
        path = path.parent
    if (path / "saved_model.pb").is_file():
        how = _LOAD.format(folder=str(path))
        if has_keras3():
            how = _WRAP.format(layer=_SAVED_MODEL.format(folder=str(path)), x="x")
        if configured() != "tensorflow":
            how = f"set KERAS_BACKEND=tensorflow, and {how}"
        return f"{spec!r} is a TensorFlow SavedModel, not a Keras file: {how}."
    if not path.is_file():
        return ""
    if path.suffix == ".pb":
        return f"{spec!r} is a frozen TensorFlow graph, which has no Keras layers: {_REBUILD}."
    if path.suffix == ".json":
        return (
            f"{spec!r} is a model without weights: name FILE.py:function that calls "
            "keras.models.model_from_json and loads the weights."
        )
    if path.suffix in (".pth", ".pt") and configured() == "torch":
        how = _WRAP.format(layer=_MODULE, x="keras.ops.transpose(x, (0, 3, 1, 2))")
        return f"{spec!r} is a PyTorch file, which has no Keras layers: load the module, {how}."
    kind = _KINDS.get(path.suffix)
    return f"{spec!r} is {kind}, which has no Keras layers: {_REBUILD}." if kind else ""
