"""The backend of Keras: which one it uses and which are installed, without loading any."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from rap_keras.errors import InputError

TITLES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
"""The backends that this package supports."""


def configured() -> str:
    """The backend that Keras uses: KERAS_BACKEND, that of keras.json, or TensorFlow."""
    if metadata.version("keras").startswith("2."):
        return "tensorflow"
    return os.environ.get("KERAS_BACKEND") or _in_file() or "tensorflow"


def _in_file() -> str | None:
    home = Path(os.path.expanduser("~"))  # "~" if there is none, as in Keras
    folder = (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        file = Path(os.environ.get("KERAS_HOME", folder)) / "keras.json"
        return str(json.loads(file.read_text("utf-8")).get("backend") or "")
    return None


def installed() -> list[str]:
    """The supported backends that are installed."""
    # A folder that happens to have the name of a backend has no origin.
    found = {name: PathFinder.find_spec(name) for name in TITLES}
    return [name for name, spec in found.items() if spec is not None and spec.origin is not None]


def choose() -> None:
    """Sets KERAS_BACKEND to the only backend that is installed, if nobody has chosen another.

    Keras writes "tensorflow" to keras.json when it is first used, so this is not the user's choice.
    """
    found = installed()
    if not os.environ.get("KERAS_BACKEND") and configured() not in found and len(found) == 1:
        os.environ["KERAS_BACKEND"] = found[0]


def unknown(name: str) -> InputError:
    """The error about a backend that this package does not support."""
    return InputError(
        f"Expected Keras to use one of the backends {', '.join(TITLES)}, got {name!r}: set "
        "KERAS_BACKEND to one of them before Keras is imported."
    )


def import_keras() -> Any:
    """Imports Keras with its backend."""
    with explained():
        import keras
    return keras


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Says what to install, if an import fails because Keras has no backend."""
    try:
        yield
    except InputError:
        raise
    except (ImportError, ValueError) as error:  # ValueError: Keras knows no such backend
        refusal = None if "keras" in sys.modules else _refusal()
        if refusal is None:
            raise
        # Otherwise Keras would remember the backend, also after the user has set another.
        for name in [name for name in sys.modules if name.startswith("keras.")]:
            del sys.modules[name]
        raise refusal from error


def _refusal() -> InputError | None:
    name, found = configured(), installed()
    if not found:
        *others, last = (f"'rap-keras[{name}]'" for name in TITLES)
        return InputError(
            f"Expected a backend of Keras, got none: run pip install {', '.join(others)} or {last}."
        )
    if name not in TITLES:
        return unknown(name)
    if name in found:
        return None
    return InputError(
        f"Expected {TITLES[name]}, which Keras uses as its backend, got only "
        f"{' and '.join(TITLES[other] for other in found)}: set KERAS_BACKEND={found[0]} before Keras "
        f"is imported, or run pip install 'rap-keras[{name}]'."
    )
