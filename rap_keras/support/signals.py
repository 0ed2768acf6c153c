"""Signals that end a command: what it has begun is cleaned up, as after an error."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM)
_held = 0
_pending: signal.Signals | None = None
_came: signal.Signals | None = None


class Stopped(BaseException):
    """A signal to end came; it is no error, so nothing that handles errors catches it."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Turns the first signal to end into `Stopped`; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _came
    before = {number: signal.signal(number, _stop) for number in _ENDING}
    try:
        yield
    finally:
        _came = None
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raises `Stopped` again where it came to nothing: libraries catch anything, as at their import."""
    if _came is not None:
        raise Stopped(_came)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Puts a signal off until what is inside is done whole."""
    global _held, _pending
    _held += 1
    try:
        yield
    finally:
        _held -= 1
        if not _held and _pending is not None:
            number, _pending = _pending, None
            raise Stopped(number)


def _stop(number: int, frame: FrameType | None) -> None:
    global _pending, _came
    signal.signal(number, signal.SIG_DFL)
    _came = signal.Signals(number)
    if not _held:
        raise Stopped(_came)
    _pending = _came
