"""Texts for messages: values, file names, suggestions."""

import difflib
import re
import reprlib
from collections.abc import Iterable
from typing import Any

_NEAR = 0.6  # the minimum ratio of difflib for similar words
_KERAS_CALL = re.compile(r"Exception encountered when calling (.*)\.\s+\033\[1m([^\033\n]*)")


# Options and arguments may contain large arrays.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 2, 12, 12, 12
_SHORT.maxstring = _SHORT.maxother = 200


def shown(value: Any) -> str:
    """Returns a value as text for an error: one line, shortened, arrays by their shape."""
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
    """Returns a number with a noun, such as "1 image" or "2 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(text: str) -> str:
    """Replaces characters that cannot be printed, such as bytes of another encoding; not newlines."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def one_line(text: object) -> str:
    r"""Returns printable text with newlines, which file names may contain, as \n."""
    return printable(str(text)).replace("\n", r"\n")


def spaced(text: str) -> str:
    """Returns printable text with newlines and tabs as spaces."""
    return printable(" ".join(text.split()))


def escaped(text: str) -> str:
    r"""Escapes characters that cannot be printed as in Python, such as \n and \x1b."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def reason(error: BaseException) -> str:
    """Returns the first line of an error, or its name, as a part of a sentence.

    Keras reports which layer's call failed, and the reason in bold type below it.
    """
    message = str(getattr(error, "strerror", None) or error).strip()
    call = _KERAS_CALL.match(message)
    lines = (f"{call[1]}: {call[2]}" if call else message).splitlines()
    first = lines[0].rstrip(" .:;") if lines else ""
    return (first if len(first) <= 100 else first[:97] + "...") or type(error).__name__


def first_line(error: BaseException) -> str:
    """Returns the name and the first line of an error, because libraries may write pages."""
    name, text = type(error).__name__, reason(error)
    return name if text == name else f"{name}: {text}"


def did_you_mean(word: str, words: Iterable[str], count: int = 3) -> str:
    """Suggests at most `count` similar words; "" if there are none.

    Ignores case and separators. The same word comes first, then initials ("ig" for
    "integrated_gradients"), then words that are similar or contain it.
    """
    plain = _plain(word)
    by_name: dict[str, list[str]] = {}
    for known in words:
        by_name.setdefault(_plain(known), []).append(known)
    same = by_name.get(plain, [])
    short = [
        known
        for names in by_name.values()
        for known in names
        if plain and _initials(known) == plain
    ]
    near = difflib.get_close_matches(plain, by_name, count, _NEAR)
    longer = sorted((key for key in by_name if plain in key), key=len) if len(plain) > 2 else []
    others = [known for key in dict.fromkeys([*near, *longer]) for known in by_name[key]]
    found = [repr(known) for known in (same or short or others)[: max(count, len(same))]]
    listed = " or ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)
    return f"did you mean {listed}?" if found else ""


def _plain(word: str) -> str:
    return re.sub(r"[\W_]+", "", word.lower().replace("+", "plus")) or word


def _initials(word: str) -> str:
    parts = [part for part in re.split(r"[\W_]+", word.lower()) if part]
    return "".join(part[0] for part in parts) if len(parts) > 1 else ""
