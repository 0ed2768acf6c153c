"""The names of a model's classes."""

import csv
from collections.abc import Sequence
from pathlib import Path

from rap_keras.errors import InputError


def read_classes(text: str) -> tuple[str, ...]:
    """Reads the names of a model's classes, in the model's order, from a text or a file.

    The text has names separated by commas, a .txt file one name per line, and a .csv file the columns
    class_index and synset (or class).
    """
    path = Path(text)
    if path.suffix not in (".csv", ".txt"):
        names: Sequence[str] = text.split(",")
    else:
        try:
            content = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"The file with class names {text!r} cannot be read ({error}): check its path."
            ) from error
        names = _table(content, text) if path.suffix == ".csv" else content.splitlines()
    names = [name.strip() for name in names]
    if not all(names) or len(set(names)) < len(names):
        raise InputError(
            f"Expected classes to be different names, none of them empty, got {text!r}.", "classes"
        )
    return tuple(names)


def _table(content: str, path: str) -> list[str]:
    rows = list(csv.DictReader(content.splitlines()))
    try:
        by_index = {int(row["class_index"]): row.get("synset") or row["class"] for row in rows}
        return [by_index[k] for k in range(len(rows))]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"Expected {path!r} to have the columns class_index (0, 1, ...) and synset or class: add "
            "them."
        ) from error
