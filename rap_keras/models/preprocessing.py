"""From pixels to a model's input."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.errors import InputError
from rap_keras.models.applications import applications
from rap_keras.models.names import application_names
from rap_keras.support.text import did_you_mean, shown

Preprocess = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Numbers = float | Sequence[float] | None

SCALINGS = ("none", "unit", "tf", "caffe", "torch")


def chosen_preprocess(name: str, mean: Numbers, std: Numbers) -> Preprocess | None:
    """Returns the preprocessing that the user chose; None for the model's default."""
    if mean is None and std is None:
        return None if name == "auto" else _named_preprocess(name)
    scale = _named_preprocess("none" if name == "auto" else name)
    shift, divisor = _per_channel("mean", mean, 0.0), _per_channel("std", std, 1.0)
    return lambda images: (scale(images) - shift) / divisor


def check_preprocess(name: str, mean: Numbers, std: Numbers) -> None:
    """Raises an error for unknown preprocessing, as far as possible without importing Keras."""
    _per_channel("mean", mean, 0.0)
    if np.any(_per_channel("std", std, 1.0) <= 0):
        given = ", ".join(f"{number:g}" for number in np.ravel([] if std is None else std))
        raise InputError(f"Expected std to be positive, got {given}.", "std")
    if not isinstance(name, str):
        raise _unknown(name)
    names = application_names()
    if names and name not in ("auto", *SCALINGS) and name.lower() not in names:
        raise _unknown(name)


def _unknown(name: Any) -> InputError:
    known = ["auto", *SCALINGS]
    hint = did_you_mean(str(name), [*known, *sorted(application_names())])
    forms = f"pass {', '.join(known)} or the name of an application."
    return InputError(f"There is no preprocessing {shown(name)}: {hint or forms}", "preprocess")


def _named_preprocess(name: str) -> Preprocess:
    if name == "none":
        return lambda images: images.astype(np.float32)
    if name == "unit":
        return lambda images: images.astype(np.float32) / np.float32(255)
    if name in SCALINGS:
        from keras.applications.imagenet_utils import preprocess_input

        # Keras works in place, here on the copy that astype makes.
        return lambda images: preprocess_input(
            images.astype(np.float32), data_format="channels_last", mode=name
        )
    if name.lower() in applications():
        return application_preprocess(name.lower())
    raise _unknown(name)


def application_preprocess(name: str) -> Preprocess:
    """Returns the preprocessing of an application."""
    preprocess_input = applications()[name].preprocess_input
    return lambda images: preprocess_input(images.astype(np.float32), data_format="channels_last")


# Colours whose preprocessed values give an affine preprocessing, and one more to check it.
_BASIS = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
_GREYS = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)
_CHECKED = np.array([[101, 53, 202], [31, 31, 31]], np.uint8)
_ROUNDING = 1.0  # of pixels


def undone(preprocess: Preprocess, x: NDArray[np.floating]) -> NDArray[np.uint8] | None:
    """Returns the RGB pixels `(n, height, width, 3)` that a preprocessing turned into a model's input.

    None if it is not an affine map of the colours of each pixel, or x was not made from pixels by it.
    Grey images have one channel.
    """
    try:
        grey = x.shape[-1] == 1
        known = _GREYS if grey else _BASIS
        points = np.concatenate([known, _CHECKED[1:] if grey else _CHECKED])
        images = np.tile(points[:, None, None], (1, *x.shape[1:3], 1))  # some take only one size
        made = np.asarray(preprocess(images), np.float64)[:, 0, 0]
        zero, *others = made[: len(known)]
        inverse = np.linalg.inv((np.stack(others) - zero) / 255)
        pixels = (np.concatenate([made, x.reshape(-1, x.shape[-1])]) - zero) @ inverse
    except Exception:  # a custom preprocessing can raise any error about single pixels
        return None
    checked, pixels = pixels[: len(points)], pixels[len(points) :]
    fits = abs(checked - points[:, : x.shape[-1]]).max() <= _ROUNDING
    if not fits or not (pixels >= -_ROUNDING).all() or not (pixels <= 255 + _ROUNDING).all():
        return None
    rounded = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return np.broadcast_to(rounded, (len(rounded), 3)).reshape(*x.shape[:-1], 3).copy()


def _per_channel(what: str, numbers: Numbers, default: float) -> NDArray[np.float32]:
    try:
        values = np.array(default if numbers is None else numbers, dtype=np.float32)
    except (TypeError, ValueError):  # words, or lists of different lengths
        values = np.array(np.nan, dtype=np.float32)
    if values.shape not in ((), (1,), (3,)) or not np.all(np.isfinite(values)):
        raise InputError(
            f"Expected {what} to be one number or three (R, G, B), got {shown(numbers)}.", what
        )
    return values
