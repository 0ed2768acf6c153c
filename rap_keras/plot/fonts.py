"""The fonts and the size of texts."""

import re
from bisect import bisect_left
from contextlib import AbstractContextManager
from functools import cache, lru_cache

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.textpath import text_to_path

from rap_keras.support import quiet
from rap_keras.support.text import printable

FONT_SIZE = "small"
_PIECES = re.compile(r"[^\s/_:,-]*[\s/_:,-]*")  # a line may end after each


def families(text: str) -> list[str]:
    """Returns matplotlib's fonts, and an installed font for characters that they do not have."""
    usual: list[str] = FontProperties().get_family()
    if text.isascii():
        return usual
    lacking = frozenset(map(ord, text.replace("\n", ""))) - _signs(findfont(FontProperties()))
    further = _font_with(lacking) if lacking else None
    return usual if further is None else [*usual, further]


def without_warnings() -> AbstractContextManager[None]:
    """Suppresses matplotlib's warnings about characters that no font has. They appear as boxes."""
    return quiet.without_warnings("Glyph")


@cache
def _signs(path: str) -> frozenset[int]:
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):  # an unreadable font
        return frozenset()


@lru_cache(maxsize=64)
def _font_with(signs: frozenset[int]) -> str | None:
    """Returns the name of the installed font that has the most of these characters."""
    best, most = None, 0
    for font in sorted(fontManager.ttflist, key=lambda one: one.name):
        if "Last Resort" in font.name:  # boxes for all characters
            continue
        found = len(signs & _signs(font.fname))
        if found > most:
            best, most = font.name, found
        if most == len(signs):
            break
    return best


def shortened(text: str, inches: float) -> str:
    """Shortens a text in its middle if it is too long."""
    text = printable(text).replace("\n", " ")
    if len(text) < 3 or _width(text) <= inches:
        return text

    def short(kept: int) -> str:
        return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"

    # Measuring a text takes long, so this searches the longest that fits by halves.
    kept = range(3, len(text))
    return short(2 + bisect_left(kept, True, key=lambda count: _width(short(count)) > inches))


def wrapped(text: str, inches: float, lines: int = 2) -> str:
    """Wraps a text into at most this many lines. The last line is shortened if necessary."""
    pieces = [piece for piece in _PIECES.findall(printable(text).replace("\n", " ")) if piece]
    done: list[str] = []
    while pieces and len(done) < lines - 1:
        line = pieces.pop(0)
        while pieces and _width((line + pieces[0]).rstrip()) <= inches:
            line += pieces.pop(0)
        done.append(shortened(line.rstrip(), inches))
    if pieces:
        done.append(shortened("".join(pieces), inches))
    return "\n".join(done)


def _width(text: str) -> float:
    """Returns the width of a text in inches."""
    font = FontProperties(family=families(text), size=FONT_SIZE)
    with without_warnings():
        return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72
