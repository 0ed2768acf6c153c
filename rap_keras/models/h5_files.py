"""What Keras 3 writes into `.h5` files but does not read: raw operations (`x / 127.5`), axes."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rap_keras.backends.version import has_keras3, keras_release


def raw_operations(path: Path) -> dict[str, Any]:
    """The `custom_objects` with which Keras reads the raw operations of an HDF5 file, if it has any."""
    found = set(_operation_names(_config(path)))
    if not found or not has_keras3():
        return {}
    from keras.src.ops.operation import Operation

    known = {c.__name__: c for c in _subclasses(Operation) if "keras.src.ops." in c.__module__}
    return {name: _Reader(name, known[name]) for name in found & known.keys()}


@contextlib.contextmanager
def with_axes(path: Path) -> Iterator[Path]:
    """A file whose layers Keras reads with their axes, which Keras before 3.9 forgets.

    It forgets `axis=1`, silently, but not `axis=[1]`, as Keras 2 wrote: then this is a copy that is
    removed afterwards, else the file itself.
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
    """Writes the axes of a model's layers as lists, in nested models too; whether there are any."""
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
    """Makes the operation of a name, or the layer: there are both `ops.Add` and `layers.Add`."""

    def __init__(self, name: str, operation: Any) -> None:
        import keras

        self.operation = operation
        self.layer = getattr(keras.layers, name, operation)

    def from_config(self, config: dict[str, Any]) -> Any:
        """The operation or the layer."""
        return (self.layer if "trainable" in config else self.operation).from_config(config)


def _operation_names(config: Any) -> Iterator[str]:
    """The classes of what a model calls and is no layer, in nested models too."""
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
