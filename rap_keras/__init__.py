"""Relative Attributing Propagation (RAP) and fair baselines for Keras."""

from importlib.metadata import PackageNotFoundError, version

from rap_keras import errors
from rap_keras.analyzers import analyzer_names, create_analyzer, load_analyzer
from rap_keras.errors import InputError, UnknownLayerError

try:
    __version__ = version("rap-keras")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"

_LAZY = {
    "Composite": "rap_keras.composites",
    "RAPAnalyzer": "rap_keras.keras3.rap_analyzer",
    "plot": "rap_keras",
    "register_rule": "rap_keras.composites",
}

__all__ = [
    "InputError",
    "UnknownLayerError",
    "__version__",
    "analyzer_names",
    "create_analyzer",
    "errors",
    "load_analyzer",
    *_LAZY,
]


def __getattr__(name: str) -> object:
    """Loads TensorFlow and matplotlib only when they are needed."""
    import importlib

    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "plot":
        return importlib.import_module("rap_keras.plot")
    return getattr(importlib.import_module(_LAZY[name]), name)
