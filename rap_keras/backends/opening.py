"""Why the inside of a layer is not known."""

import inspect
import linecache
import traceback
from typing import Any

from rap_keras.support.text import first_line


class CannotOpen(Exception):
    """Why the graph of a layer's call is not known: part of a sentence."""


def why_call_failed(layer: Any, error: Exception) -> str:
    """Why a layer's `call` failed, with the line of the layer's own code where it did."""
    why = first_line(error)
    file = inspect.getsourcefile(type(layer)) if type(layer).__module__ != "__main__" else None
    file = file or type(layer).call.__code__.co_filename
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    if not lines:
        return f"its call fails on symbolic tensors ({why})"
    last = lines[-1]
    text = (last.line or linecache.getline(file, last.lineno or 0)).strip()
    return f"line {last.lineno} of {file}, `{text}`, fails on symbolic tensors ({why})"
