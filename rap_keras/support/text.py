"""Words for what users read."""

import difflib
import re
import reprlib
from collections.abc import Iterable
from typing import Any

_NEAR = 0.6  # from this ratio of difflib on, words are near
_KERAS_CALL = re.compile(r"Exception encountered when calling (.*)\.\s+\033\[1m([^\033\n]*)")


# Options and arguments may hold whole arrays.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 2, 12, 12, 12
_SHORT.maxstring = _SHORT.maxother = 200


def shown(value: Any) -> str:
    """A value as an error shows it: in one line, shortened, arrays by their shape."""
    if getattr(value, "ndim", 0):
        return f"an array of shape {tuple(value.shape)}"
    if value is Ellipsis:
        return "..."
    arrays = isinstance(value, list) and any(getattr(part, "ndim", 0) for part in value)
    if arrays or isinstance(value, tuple):
        parts = [shown(part) for part in value[:12]] + ["..."] * (len(value) > 12)
        inner = ", ".join(parts) + "," * (isinstance(value, tuple) and len(value) == 1)
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    return " ".join(_SHORT.repr(value).split())


def counted(count: int, noun: str) -> str:
    """Such as "1 image" and "2 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(text: str) -> str:
    """The text with a sign in place of what cannot be shown, such as bytes of another encoding.

    Line ends stay.
    """
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def one_line(text: object) -> str:
    r"""The text as `printable` has it, with line ends, which file names may hold, as \n."""
    return printable(str(text)).replace("\n", r"\n")


def spaced(text: str) -> str:
    """The text as `printable` has it, with line ends and tabs as spaces, for a cell or a paragraph."""
    return printable(" ".join(text.split()))


def escaped(text: str) -> str:
    r"""The text with what cannot be shown written as in Python, such as \n and \x1b."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


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
    """What an error is and why, where Keras or another library writes pages."""
    name, why = type(error).__name__, reason(error)
    return name if why == name else f"{name}: {why}"


def did_you_mean(word: str, words: Iterable[str], count: int = 3) -> str:
    """A suggestion of what was meant, at most `count` words; "" if nothing is near.

    Case and separators are ignored. The same word comes first, then initials ("ig" for
    "integrated_gradients"), then words that are near or contain it.
    """
    wanted = _plain(word)
    by_name: dict[str, list[str]] = {}
    for known in words:
        by_name.setdefault(_plain(known), []).append(known)
    same = by_name.get(wanted, [])
    short = [
        known
        for names in by_name.values()
        for known in names
        if wanted and _initials(known) == wanted
    ]
    near = difflib.get_close_matches(wanted, by_name, count, _NEAR)
    holding = sorted((key for key in by_name if wanted in key), key=len) if len(wanted) > 2 else []
    others = [known for key in dict.fromkeys([*near, *holding]) for known in by_name[key]]
    found = (same or short or others)[: max(count, len(same))]
    return f"did you mean {' or '.join(map(repr, found))}?" if found else ""


def _plain(word: str) -> str:
    return re.sub(r"[\W_]+", "", word.lower().replace("+", "plus")) or word


def _initials(word: str) -> str:
    parts = [part for part in re.split(r"[\W_]+", word.lower()) if part]
    return "".join(part[0] for part in parts) if len(parts) > 1 else ""
