"""Whether two protocols are the same, and how they differ."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rap_keras.errors import InputError

# Entries that may differ between runs of the same results.
_EXCLUDED = ("command", "folder", "shard", "title")
_SHOWN = 60  # characters of a value
_MOST = 3  # differences that the error names


def check_same(held: Mapping[str, Any], given: Mapping[str, Any], where: str) -> None:
    """Refuses results of another protocol, apart from command, folder, shard and title.

    `where` names the results that are held, in the message.
    """
    before, now = (
        {key: value for key, value in read.items() if key not in _EXCLUDED}
        for read in (held, json.loads(json.dumps(given)))
    )
    # Plain settings first: lists of methods repeat them.
    found = sorted(_differences(before, now), key=lambda one: (one[0].count(" "), one[0]))
    if not found:
        return
    named = ", and ".join(f"{name} was {old} and now is {new}" for name, old, new in found[:_MOST])
    more = f" ({len(found) - _MOST} more differ)" if len(found) > _MOST else ""
    raise InputError(
        f"Expected results of the same protocol in {where}, but {named}{more}; choose another "
        "folder, or run with the same settings as before."
    )


def check_kind(protocol: Mapping[str, Any], kind: str, where: str) -> None:
    """Refuses results of another command than `kind`, "benchmark" or "concepts"."""
    found = protocol.get("kind", "benchmark")
    if found != kind:
        raise InputError(
            f"Expected results of rap-keras {kind} in {where!r}, got those of rap-keras {found}: choose "
            "another folder."
        )


def _differences(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, str, str]]:
    """The name of each difference and both values, shortened."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{name} {key}".strip())
    elif isinstance(old, list) and isinstance(new, list):
        yield from _of_lists(old, new, name)
    else:
        yield name, *_shortened(json.dumps(old), json.dumps(new))


def _of_lists(old: list[Any], new: list[Any], name: str) -> Iterator[tuple[str, str, str]]:
    before, now = ([_title(value) for value in values] for values in (old, new))
    gone = ", ".join(title for title in before if title not in now)
    added = ", ".join(title for title in now if title not in before)
    if gone or added:
        was = f"with {_cut(gone)}" if gone else f"without {_cut(added)}"
        yield name, was, f"with {_cut(added)}" if added else f"without {_cut(gone)}"
    elif before == now:
        for title, a, b in zip(before, old, new, strict=True):
            yield from _differences(a, b, f"{name} {title}")
    else:
        yield name, *_shortened(", ".join(before), ", ".join(now))


def _title(value: Any) -> str:
    if isinstance(value, str):
        return value
    return (
        str(value["title"]) if isinstance(value, dict) and "title" in value else json.dumps(value)
    )


def _shortened(old: str, new: str) -> tuple[str, str]:
    """Both texts from shortly before the place where they differ."""
    parted = (k for k, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
    start = max(0, next(parted, min(len(old), len(new))) - 10)
    if max(len(old), len(new)) <= _SHOWN:
        start = 0
    return _cut(old, start), _cut(new, start)


def _cut(text: str, start: int = 0) -> str:
    shown = text[start : start + _SHOWN]
    return ("..." if start else "") + shown + ("..." if start + _SHOWN < len(text) else "")
