"""Words for what users read."""

import difflib
from collections.abc import Iterable


def counted(count: int, noun: str) -> str:
    """Such as "1 image" and "2 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(text: str) -> str:
    """The text with a sign in place of what cannot be shown, such as bytes of another encoding.

    Line ends stay.
    """
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def first_line(error: Exception) -> str:
    """What an error is and its first line, which is enough of Keras' pages."""
    lines = str(error).strip().splitlines()
    first = lines[0].rstrip(" .:") if lines else ""
    first = first if len(first) <= 100 else first[:97] + "..."
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def did_you_mean(word: str, words: Iterable[str], count: int, cutoff: float) -> str:
    """A question for what was meant; "" where nothing is near."""
    by_case: dict[str, list[str]] = {}
    for known in words:
        by_case.setdefault(known.lower(), []).append(known)
    same = by_case.get(word.lower())
    close = difflib.get_close_matches(word.lower(), by_case, count, cutoff)
    near = same or [known for key in close for known in by_case[key]]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""
