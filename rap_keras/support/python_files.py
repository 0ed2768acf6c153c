"""Functions in Python files of the user, named as `FILE.py:function`."""

import contextlib
import functools
import importlib.util
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_LOCK = threading.Lock()
_open = 0
_before: tuple[list[str], bool] = [], False


def names_function(text: str) -> bool:
    """Whether a text has the form `FILE.py:function`."""
    path, colon, _ = text.rpartition(":")
    return bool(colon) and path.endswith(".py")


def load_function(path: Path, function: str) -> Callable[..., Any]:
    """Runs a file and returns one of its functions, which can import modules from the same folder."""
    # A unique name, because two files may have the same name, or that of an installed module.
    name = f"_rap_keras_{uuid.uuid4().hex}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle need it
    folder = str(path.resolve().parent)
    try:
        with _importing_from(folder):
            spec.loader.exec_module(module)
            found = getattr(module, function)
        if not callable(found):
            raise TypeError(f"{function} is not a function")
    except BaseException:
        del sys.modules[name]
        raise

    @functools.wraps(found)
    def call(*arguments: Any, **options: Any) -> Any:
        with _importing_from(folder):
            return found(*arguments, **options)

    return call


@contextlib.contextmanager
def _importing_from(folder: str) -> Iterator[None]:
    """Allows imports from a folder. Writes nothing there, because it is the user's.

    Threads that do this at once leave the folders of the others; the last one restores everything.
    """
    global _open, _before
    with _LOCK:
        if not _open:
            _before = list(sys.path), sys.dont_write_bytecode
        _open += 1
        sys.path.insert(0, folder)
        sys.dont_write_bytecode = True
    try:
        yield
    finally:
        with _LOCK:
            _open -= 1
            with contextlib.suppress(ValueError):  # the user's file may have removed it
                sys.path.remove(folder)
            if not _open:
                sys.path[:], sys.dont_write_bytecode = _before
