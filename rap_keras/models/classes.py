"""The names of a model's classes."""

import csv
import os.path
from collections.abc import Sequence
from pathlib import Path

from rap_keras.errors import InputError
from rap_keras.support.reading import read_text


def read_classes(text: str) -> tuple[str, ...]:
    """Reads the names of a model's classes, in the model's order, from a text or a file.

    The text has names separated by commas, a .csv file the columns class_index and synset (or class),
    and a file with another extension one name per line.
    """
    ending = Path(text).suffix.lower()
    if ending not in (".csv", ".txt") and not (ending and os.path.isfile(text)):
        names: Sequence[str] = text.split(",")
    else:
        content = read_text(text, "file with class names")
        names = _table(content, text) if ending == ".csv" else content.splitlines()
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
        return [by_index[k].strip() for k in range(len(rows))]
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # a cell may be missing
        raise InputError(
            f"Expected {path!r} to have the columns class_index (0, 1, ...) and synset or class: add "
            "them."
        ) from error
