"""Saves and loads analyzers without pickle."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.keras.models as kmodels

from rap_keras.errors import InputError
from rap_keras.support.files import replacing


def write_npz(
    path: Path, class_name: str, state: dict[str, Any], array_states: Sequence[str]
) -> None:
    """Writes the result of iNNvestigate's `save`.

    Args:
        path: The file. ".npz" is added if it is missing, as in `numpy.savez`.
        class_name: The name of the analyzer's class.
        state: Its state.
        array_states: The parts of the state that are dicts of arrays.
    """
    weights = state.pop("model_weights")
    # NumPy stores bfloat16 as bytes without a type; single precision has the same values.
    kept = [w.astype(np.float32) if w.dtype.name == "bfloat16" else w for w in weights]
    arrays = {f"weight_{k:05d}": w for k, w in enumerate(kept)}
    for key in array_states:
        arrays |= {f"{key}/{name}": array for name, array in state.pop(key).items()}
    text = json.dumps({"class_name": class_name, "state": state})
    path = path if path.name.endswith(".npz") else path.with_name(f"{path.name}.npz")
    with replacing(path) as file:
        np.savez(file, analyzer=np.array(text), **arrays)


def read_npz(fname: Any) -> tuple[str, dict[str, Any]]:
    """The class name and the state that `write_npz` wrote.

    Raises:
        InputError: The file was not written by `write_npz`.
    """
    try:
        with open(fname, "rb") as opened, np.load(opened) as file:
            saved = json.loads(str(file["analyzer"]))
            weights = [file[key] for key in sorted(file.files) if key.startswith("weight_")]
            for key in file.files:
                state, _, name = key.partition("/")
                if name:
                    saved["state"].setdefault(state, {})[name] = file[key]
            saved["state"]["model_weights"] = weights
            return saved["class_name"], saved["state"]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"Expected a file that save_npz of rap_keras wrote, got {str(fname)!r}: {error}"
        ) from error


def partly_frozen(model: Any) -> list[bool] | None:
    """Whether each layer, also inside of others, is trainable; None if none inside is frozen.

    The order of a layer's weights depends on it, but a layer's config does not contain it.
    """
    layers = _with_insides(model)
    inside = set(map(id, layers)).difference(map(id, model.layers))
    frozen = any(id(layer) in inside and not layer._trainable for layer in layers)
    return [bool(layer._trainable) for layer in layers] if frozen else None


def as_loaded(
    model_json: str, weights: Sequence[np.ndarray], trainable: Sequence[bool]
) -> list[np.ndarray]:
    """The weights of a partly frozen model, in their order in the model that JSON creates."""
    model = kmodels.model_from_json(model_json)
    loaded = list(map(id, model.weights))
    for layer, whether in zip(_with_insides(model), trainable, strict=True):
        layer._trainable = whether
    saved = dict(zip(map(id, model.weights), weights, strict=True))
    return [saved[key] for key in loaded]


def _with_insides(model: Any) -> list[Any]:
    return [inner for layer in model.layers for inner in layer._flatten_layers()]
