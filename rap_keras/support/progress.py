"""A progress bar on stderr."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rap_keras.support import signals

Item = TypeVar("Item")


def track(
    items: Iterable[Item], description: str, total: int | None = None, show: bool = True
) -> Iterator[Item]:
    """Yields the items, and shows a progress bar if stderr is a terminal. It disappears at the end."""
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    if not (
        show and console.is_terminal
    ):  # in rich < 14.3, even a disabled bar writes an empty line
        return _stoppable(items)
    return _stoppable(rich_track(items, description, total, console=console, transient=True))


@contextlib.contextmanager
def announced(what: str) -> Iterator[None]:
    """Prints what takes time, and how long it took, if stderr is a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    console.print(f"{what} ...", end="", highlight=False, markup=False)
    start = time.perf_counter()
    try:
        yield
    finally:
        console.print(f" {time.perf_counter() - start:.1f} s", highlight=False)


def _stoppable(items: Iterable[Item]) -> Iterator[Item]:
    signals.check()
    for item in items:
        yield item
        signals.check()
