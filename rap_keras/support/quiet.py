"""Suppresses output on stderr, also by C++ code, and warnings."""

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
    """Suppresses what the process writes to stderr, also by C++ code, or writes it to a descriptor."""
    sys.stderr.flush()
    with open(os.devnull, "wb") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno() if target is None else target, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


# In the order of TF_CPP_MIN_LOG_LEVEL. A log line of C++ code begins with one, or a date and one.
_SEVERITIES = "IWEF"
_LOGGED = re.compile(rb"(?:\d{4}-\d\d-\d\d [\d:.]+: )?([IWEF])(?:\d{4})? ")


@contextlib.contextmanager
def logged_from(level: int) -> Iterator[None]:
    """Hides stderr, except for log lines of C++ code of at least a severity (TF_CPP_MIN_LOG_LEVEL)."""
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
def without_warnings(message: str = "") -> Iterator[None]:
    """Ignores warnings that begin with a message, only in the main thread.

    Warning filters belong to the whole process, so two threads would restore each other's filters.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message)
        yield


@contextlib.contextmanager
def warnings_once(ignored: str) -> Iterator[None]:
    """Shows warnings that differ only in numbers once, and none of a package, also in new threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=rf"{ignored}\b")
        show: Any = warnings.showwarning
        seen: set[str] = set()

        def show_new(message: Warning | str, *place: Any, **more: Any) -> None:
            words = re.sub(r"\d+", "", str(message))
            if words not in seen:
                seen.add(words)
                show(message, *place, **more)

        warnings.showwarning = show_new
        yield
