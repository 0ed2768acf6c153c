"""Words for what users read."""

import difflib
import re
from collections.abc import Iterable

_KERAS_CALL = re.compile(r"Exception encountered when calling (.*)\.\s+\033\[1m([^\033\n]*)")


def counted(count: int, noun: str) -> str:
    """Such as "1 image" and "2 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(text: str) -> str:
    """The text with a sign in place of what cannot be shown, such as bytes of another encoding.

    Line ends stay.
    """
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def one_line(text: str) -> str:
    """The text as `printable` has it, and line ends as spaces."""
    return printable(" ".join(text.splitlines()))


def reason(error: BaseException) -> str:
    """Why something failed, for the middle of a sentence: the first line of an error, or its name.

    Keras says which layer's call failed, and in bold type below it why.
    """
    told = str(getattr(error, "strerror", None) or error).strip()
    call = _KERAS_CALL.match(told)
    lines = (f"{call[1]}: {call[2]}" if call else told).splitlines()
    first = lines[0].rstrip(" .:;") if lines else ""
    return (first if len(first) <= 100 else first[:97] + "...") or type(error).__name__


def first_line(error: BaseException) -> str:
    """What an error is and why, where Keras or another library tells it on pages."""
    name, why = type(error).__name__, reason(error)
    return name if why == name else f"{name}: {why}"


def did_you_mean(word: str, words: Iterable[str], count: int, cutoff: float) -> str:
    """A question for what was meant; "" where nothing is near."""
    by_case: dict[str, list[str]] = {}
    for known in words:
        by_case.setdefault(known.lower(), []).append(known)
    same = by_case.get(word.lower())
    close = difflib.get_close_matches(word.lower(), by_case, count, cutoff)
    near = same or [known for key in close for known in by_case[key]]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""
