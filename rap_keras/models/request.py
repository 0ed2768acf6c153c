"""Checks of a requested model that do not need Keras."""

import os.path
import zipfile
from pathlib import Path
from typing import Any

import h5py

from rap_keras.errors import InputError
from rap_keras.models.hub import PREFIX, check_installed
from rap_keras.models.names import application_names, bundled_name, check_bundled, unknown_model
from rap_keras.models.other_formats import what_it_is
from rap_keras.models.preprocessing import Numbers, check_preprocess
from rap_keras.support.memory import check_memory


def check_request(
    spec: Any, weights: str, preprocess: str, mean: Numbers, std: Numbers, size: Any
) -> None:
    """Refuses what `load_model` cannot load, as far as that is known without loading Keras.

    The arguments are those of `load_model`.

    Raises:
        InputError: There is no such model, weights file or preprocessing, or the size is invalid.
    """
    check_preprocess(preprocess, mean, std)
    if size is not None:
        _check_size((size, size) if isinstance(size, int) else size)
    has_choice = isinstance(spec, str) and _check_named(spec)
    if weights not in ("imagenet", "none"):
        existing(weights, "weights file")
    elif weights == "none" and isinstance(spec, str) and application_names() and not has_choice:
        raise own_weights(spec)


def _check_named(spec: str) -> bool:
    """Refuses models that cannot be there; whether there is a choice of weights."""
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
        pass  # perhaps a SavedModel, which only Keras can read
    elif applications and not has_choice:
        raise no_model(spec)
    elif spec.startswith(PREFIX):
        check_installed(spec)
    return has_choice


def own_weights(name: str) -> InputError:
    """The error about weights for a model that has its own."""
    return InputError(
        f"{name} has its own weights; only applications and KerasHub's presets take weights=none.",
        "weights",
    )


def no_model(spec: str) -> InputError:
    """The error about a file of another format, or an unknown name."""
    known = what_it_is(spec) if os.path.exists(spec) else ""
    return InputError(known) if known else unknown_model(spec)


def _check_saved(path: Path) -> None:
    """Refuses a file that is not a Keras model by its name or its first bytes."""
    if path.name.endswith(".weights.h5"):
        raise InputError(
            f"{str(path)!r} holds weights but no model: name the model, and pass weights=FILE.",
            "weights",
        )
    fits = zipfile.is_zipfile(path) if path.suffix == ".keras" else h5py.is_hdf5(path)
    if not fits:
        kind = "Keras archive" if path.suffix == ".keras" else "HDF5 file"
        raise InputError(
            f"Expected {str(path)!r} to be a model saved by Keras, but it is not a valid {kind}."
        )


def _check_size(size: tuple[int, int]) -> None:
    """Refuses images without pixels, or too large for memory."""
    if min(size) < 1:
        raise InputError(
            f"Expected an image size of at least 1 pixel, got {size[0]} x {size[1]}.",
            "size",
        )
    check_memory(size)


def existing(path: str, what: str) -> Path:
    """The file, if there is one."""
    if not os.path.isfile(path):
        raise InputError(f"There is no {what} {path!r}.")
    return Path(path)
