"""Explains why a layer could not be opened."""

import inspect
import linecache
import re
import textwrap
import traceback
from typing import Any

from rap_keras.support.text import first_line


class CannotOpen(Exception):
    """The graph of a layer's call is not available. The message is part of a sentence."""


def why_call_failed(layer: Any, error: Exception) -> str:
    """Why a layer's `call` failed, with the line in the user's or the layer's code."""
    frames = list(traceback.walk_tb(error.__traceback__))
    packages = [str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in frames]
    users = [f for f, package in zip(frames, packages, strict=True) if package not in _LIBRARIES]
    foreign = _foreign(error)
    if foreign and not users:
        return f"it calls {foreign}, but only keras.ops can be followed"
    file = inspect.getsourcefile(type(layer)) if type(layer).__module__ != "__main__" else None
    file = file or type(layer).call.__code__.co_filename
    lines = users or [each for each in frames if each[0].f_code.co_filename == file]
    if not lines:
        return f"its call fails on symbolic tensors ({first_line(error)})"
    frame, number = lines[-1]
    file = frame.f_code.co_filename
    text = linecache.getline(file, number).strip()
    where = f"line {number} of {file}, `{textwrap.shorten(text, 100, placeholder='...')}`,"
    if foreign:
        return f"{where} calls {foreign}, but only keras.ops can be followed{_instead(text)}"
    return f"{where} fails on symbolic tensors ({first_line(error)})"


_LIBRARIES = (
    *("keras", "tf_keras", "tensorflow", "jax", "torch", "numpy"),
    *("rap_keras", "inspect", "functools"),
)


def _foreign(error: Exception) -> str:
    """The library whose function got a symbolic tensor of Keras 3; empty for other errors."""
    message = str(error)
    if "__jax_array__" in message or "JAX" in message:
        return "JAX"
    if "KerasTensor" not in message:
        return ""
    if "a TensorFlow function" in message or "TypeSpec" in message or "tf.function" in message:
        return "TensorFlow"
    if "invalid combination of arguments" in message or "must be Tensor" in message:
        return "PyTorch"
    return "NumPy" if "NumPy" in message else ""


def _instead(text: str) -> str:
    """The `keras.ops` to use instead of other libraries' functions in a line, if known."""
    import keras

    known = {}
    for path in re.findall(
        r"\b(?:tf|tensorflow|jnp|jax|torch|np|numpy)\.(?:\w+\.)*\w+(?=\()", text
    ):
        name = path.rpartition(".")[2]
        name = _RENAMED.get(name, name.removeprefix("reduce_"))
        if hasattr(keras.ops, name.partition(".")[0]):
            known[path] = f"keras.ops.{name}"
    pairs = [f"{new} for {path}" for path, new in known.items()]
    return f": write {', '.join(pairs)}" if pairs else ""


# Functions of TensorFlow and NumPy whose equivalents in keras.ops have other names.
_RENAMED = {
    "l2_normalize": "normalize",
    "concat": "concatenate",
    "gather": "take",
    "pow": "power",
    "clip_by_value": "clip",
    "resize": "image.resize",
    "depthwise_conv2d": "depthwise_conv",
    **{f"conv{rank}d": "conv" for rank in (1, 2, 3)},
    **{f"max_pool{rank}d": "max_pool" for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": "average_pool" for rank in (1, 2, 3)},
    **{f"conv{rank}d_transpose": "conv_transpose" for rank in (1, 2, 3)},
}
