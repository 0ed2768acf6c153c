"""Parts of `.h5` files that Keras 3 writes but cannot read: raw operations (`x / 127.5`) and axes."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rap_keras.backends.version import has_keras3, keras_release


def raw_operations(path: Path) -> dict[str, Any]:
    """Returns the `custom_objects` that Keras needs to read the raw operations of an HDF5 file."""
    found = set(_operation_names(_config(path)))
    if not found or not has_keras3():
        return {}
    from keras.src.ops.operation import Operation

    known = {c.__name__: c for c in _subclasses(Operation) if "keras.src.ops." in c.__module__}
    return {name: _Reader(name, known[name]) for name in found & known.keys()}


@contextlib.contextmanager
def with_axes(path: Path) -> Iterator[Path]:
    """Yields a file whose layers keep their axes when Keras reads it.

    Keras before 3.9 silently ignores `axis=1`, but not `axis=[1]`, which Keras 2 wrote. If it is needed,
    the file is a corrected copy, which is removed afterwards.
    """
    import h5py

    config = _config(path)
    if not (3, 0) <= keras_release() < (3, 9) or not _list_axes(config):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copyfile(path, Path(folder) / path.name))
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = json.dumps(config)
        yield copy


def _config(path: Path) -> Any:
    import h5py

    with h5py.File(path) as file:
        return json.loads(file.attrs.get("model_config", "null"))


def _list_axes(config: Any) -> bool:
    """Turns the axes of layers into lists, also in nested models. Returns whether there are any."""
    found = False
    if isinstance(config, dict):
        layers = config.get("layers")
        for layer in layers if isinstance(layers, list) else []:
            if "module" not in layer and isinstance(layer["config"].get("axis"), int):
                layer["config"]["axis"] = [layer["config"]["axis"]]
                found = True
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            found |= _list_axes(part)
    return found


class _Reader:
    """Creates an operation or a layer of the same name, such as `ops.Add` and `layers.Add`."""

    def __init__(self, name: str, operation: Any) -> None:
        import keras

        self.operation = operation
        self.layer = getattr(keras.layers, name, operation)

    def from_config(self, config: dict[str, Any]) -> Any:
        """Returns the operation or the layer."""
        return (self.layer if "trainable" in config else self.operation).from_config(config)


def _operation_names(config: Any) -> Iterator[str]:
    """Yields the class names of operations that are not layers, also in nested models."""
    if isinstance(config, dict):
        if "inbound_nodes" in config and "dtype" not in config["config"]:
            yield config["class_name"]
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from _operation_names(part)


def _subclasses(cls: type) -> Iterator[type]:
    subclass: type
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)
