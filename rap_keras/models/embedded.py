"""The two small classifiers that ship with the package, ready without download or training."""

import inspect
import io
import json
import zipfile
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import keras

from rap_keras.backends.version import has_keras3
from rap_keras.errors import InputError

Name = Literal["vgg", "residual"]


def load(name: Name) -> keras.Model:
    """Load a classifier of `rap_keras.datasets.cluttered_digits` scenes.

    Args:
        name: `"vgg"` for plain convolutions, pooling and dense layers, or `"residual"` for
            residual blocks with batch normalisation and global average pooling.

    Returns:
        An uncompiled model from scenes scaled by `rap_keras.datasets.preprocess`, of shape
        `(n, 64, 64, 3)`, to 10 logits (no softmax).

    Raises:
        InputError: If there is no embedded model of that name.
    """
    if name not in get_args(Name):
        raise InputError(f"Expected one of {get_args(Name)}, got {name!r}; pass one of them.")
    asset = resources.files("rap_keras") / "assets" / f"cluttered_digits_{name}.keras"
    with resources.as_file(asset) as path:
        return (
            keras.models.load_model(path, compile=False) if has_keras3() else rebuilt(path, keras)
        )


def rebuilt(path: Path, library: Any) -> Any:
    """One of the classifiers, whose files are Keras 3's, of the layers of a Keras that cannot read them.

    Args:
        path: Its file.
        library: The Keras to build it with: the module `keras` or `tf_keras`.
    """
    import h5py

    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))["config"]
        weights = archive.read("model.weights.h5")
    tensors: dict[str, Any] = {}
    for layer in config["layers"]:
        kind, own = getattr(library.layers, layer["class_name"]), layer["config"]
        if layer["class_name"] == "InputLayer":
            tensors[layer["name"]] = library.Input(own["batch_shape"][1:], name=layer["name"])
            continue
        # How weights are begun and trained is written in another way, and all of them are set below.
        options = {
            key: own[key]
            for key in inspect.signature(kind.__init__).parameters
            if key in own and not key.endswith(("_initializer", "_regularizer", "_constraint"))
        }
        ((given,),) = (node["args"] for node in layer["inbound_nodes"])
        inputs = [tensors[one["config"]["keras_history"][0]] for one in _listed(given)]
        made = kind(name=layer["name"], **options)
        tensors[layer["name"]] = made(inputs if isinstance(given, list) else inputs[0])
    ends = (tensors[config[key][0]] for key in ("input_layers", "output_layers"))
    model = library.Model(*ends, name=config["name"])
    with h5py.File(io.BytesIO(weights)) as file:
        for group in file["layers"].values():
            arrays = group["vars"]
            if len(arrays):
                layer = model.get_layer(arrays.attrs["name"])
                layer.set_weights([arrays[str(k)][()] for k in range(len(arrays))])
    return model


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
