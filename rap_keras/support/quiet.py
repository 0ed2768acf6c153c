"""Silence on stderr, which C++ code writes to past Python, and fewer warnings."""

import contextlib
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def silenced_stderr(target: int | None = None) -> Iterator[None]:
    """Drops everything written to the process's stderr, also by C++ code.

    Args:
        target: The descriptor of a file to write it to instead.
    """
    sys.stderr.flush()
    with open(os.devnull, "wb") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno() if target is None else target, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


# In the order of TF_CPP_MIN_LOG_LEVEL; a line of C++ code begins with one, or with a date and one.
_SEVERITIES = "IWEF"
_LOGGED = re.compile(rb"(?:\d{4}-\d\d-\d\d [\d:.]+: )?([IWEF])(?:\d{4})? ")


@contextlib.contextmanager
def logged_from(level: int) -> Iterator[None]:
    """Hides stderr, except for log lines of C++ code from a severity on.

    Args:
        level: As TF_CPP_MIN_LOG_LEVEL: 0 shows everything, 1 warnings and errors, 2 errors, 3 nothing.
    """
    if level <= 0:
        yield
        return
    with tempfile.TemporaryFile() as file:
        try:
            with silenced_stderr(file.fileno()):
                yield
        finally:
            file.seek(0)
            for line in file if level < 3 else ():
                found = _LOGGED.match(line)
                if found and _SEVERITIES.index(found[1].decode()) >= level:
                    os.write(2, line)


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Ignores warnings, in the main thread alone: what filters them is the whole process's.

    Two threads that change it side by side would put back what the other has set.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def told_once(ignored: str) -> Iterator[None]:
    """Tells warnings that differ in their numbers alone once.

    Args:
        ignored: A package whose warnings are ignored, for threads that are begun here.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=rf"{ignored}\b")
        tell: Any = warnings.showwarning
        told: set[str] = set()

        def tell_new(message: Warning | str, *place: Any, **more: Any) -> None:
            words = re.sub(r"\d+", "", str(message))
            if words not in told:
                told.add(words)
                tell(message, *place, **more)

        warnings.showwarning = tell_new
        yield
