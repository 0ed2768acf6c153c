"""Silence on stderr, which C++ code writes to past Python."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def silenced_stderr(target: int | None = None) -> Iterator[None]:
    """Drops what is written to the process's stderr, by C++ code too.

    Args:
        target: The descriptor of a file that gets it instead.
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


# As TF_CPP_MIN_LOG_LEVEL counts them; a line of C++ code begins with one, or a date and one.
_SEVERITIES = "IWEF"
_LOGGED = re.compile(rb"(?:\d{4}-\d\d-\d\d [\d:.]+: )?([IWEF])(?:\d{4})? ")


@contextlib.contextmanager
def logged_from(level: int) -> Iterator[None]:
    """Shows of what is written to the process's stderr the logs of C++ code from a severity on.

    Args:
        level: As TF_CPP_MIN_LOG_LEVEL: 0 shows everything as it comes, 1 warnings, 2 errors, 3 nothing.
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
