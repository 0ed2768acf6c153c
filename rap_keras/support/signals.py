"""Signals that stop a command. The command cleans up, as after an error."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM)
_held = 0
_pending: signal.Signals | None = None
_received: signal.Signals | None = None


class Stopped(BaseException):
    """A signal to stop was received. It is not an `Exception`, so error handlers do not catch it."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Turns the first signal to stop into `Stopped`. A second signal ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _received
    before = {number: signal.signal(number, _stop) for number in _ENDING}
    try:
        yield
    finally:
        _received = None
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raises `Stopped` again if a library has caught it, for example during its import."""
    if _received is not None:
        raise Stopped(_received)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Delays a signal until the end of the block."""
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
    global _pending, _received
    signal.signal(number, signal.SIG_DFL)
    _received = signal.Signals(number)
    if not _held:
        raise Stopped(_received)
    _pending = _received
