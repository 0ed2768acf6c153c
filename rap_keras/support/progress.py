"""A progress bar on stderr."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def track(
    items: Iterable[Item], description: str, total: int | None = None, show: bool = True
) -> Iterator[Item]:
    """Shows a bar on a terminal's stderr while the items come; it goes away at the end.

    Args:
        items: What is gone through.
        description: Stands before the bar.
        total: The number of items, if known.
        show: False shows nothing.

    Returns:
        An iterator of the items.
    """
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    disable = not (show and console.is_terminal)
    bar = rich_track(items, description, total, console=console, transient=True, disable=disable)
    return iter(bar)
