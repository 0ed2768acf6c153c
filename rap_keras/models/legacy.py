"""Raw operations in `.h5` files (`x / 127.5`, `keras.ops`), which Keras 3 writes but does not read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def raw_operations(path: Path) -> dict[str, Any]:
    """What makes Keras read the raw operations of a file.

    Args:
        path: A model saved as HDF5.

    Returns:
        The `custom_objects` for `keras.saving.load_model`; none for a file without raw operations.
    """
    import h5py
    import keras

    with h5py.File(path) as file:
        text = file.attrs.get("model_config", "null")
    found = set(_operation_names(json.loads(text)))
    if not found or keras.__version__ < "3":
        return {}
    from keras.src.ops.operation import Operation

    known = {c.__name__: c for c in _subclasses(Operation) if "keras.src.ops." in c.__module__}
    return {name: _Reader(name, known[name]) for name in found & known.keys()}


class _Reader:
    """Makes the operation of a name, or the layer, for there are both `ops.Add` and `layers.Add`."""

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
