"""The files of a data set: folders, listings by name, tables."""

import csv
import io
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

from rap_keras.errors import InputError
from rap_keras.support.reading import read_text, understood

Number = TypeVar("Number", int, float)

_FAR = 10**9
_CLASS_FOLDER = re.compile(r"n\d{8}")  # a WordNet id, as ImageNet names the folder of a class


def is_folder(path: Path) -> bool:
    """Whether a folder exists. False for names that no file can have."""
    try:
        return path.is_dir()
    except PermissionError:
        raise
    except (OSError, ValueError):
        return False


def existing_folder(folder: str | Path) -> Path:
    """Returns a folder. Raises an error if it does not exist."""
    folder = Path(folder)
    if not is_folder(folder):
        raise InputError(f"There is no folder {str(folder)!r}: check the path of the data set.")
    return folder


def list_files(folder: Path, suffixes: Collection[str]) -> dict[str, str]:
    """Lists the files with these extensions, sorted by their names without extension.

    Includes files in folders of ImageNet classes (`n01440764`). Opens no file. The folder does not have
    to exist.
    """
    if not is_folder(folder):
        return {}
    found: dict[str, str] = {}
    folders = [str(folder)]
    try:
        for current in folders:
            with os.scandir(current) as entries:
                for entry in entries:
                    stem, suffix = os.path.splitext(entry.name)
                    if suffix.lower() in suffixes and stem[0] != "." and entry.is_file():
                        other = found.setdefault(stem, entry.path)
                        if other != entry.path:
                            raise InputError(
                                f"Expected one file {stem!r} in {str(folder)!r}, got {other!r} "
                                f"and {entry.path!r}: rename or remove one of them."
                            )
                    elif current is folders[0] and _CLASS_FOLDER.fullmatch(stem) and entry.is_dir():
                        folders.append(entry.path)
    except OSError as error:
        raise InputError(
            f"The folder {str(folder)!r} cannot be read ({error.strerror}): check its permissions."
        ) from None
    return dict(sorted(found.items()))


def read_table(path: Path, columns: Collection[str]) -> list[tuple[int, dict[str, str]]]:
    """Reads a CSV file (UTF-8) whose header has at least these columns.

    Returns:
        The line number of each row and its stripped cells by column. Missing cells are empty.
    """
    text = read_text(path, "table")
    with understood(
        f"Expected {str(path)!r} to be a CSV file, got one that cannot be read",
        "save it as UTF-8 text again",
    ):
        reader = csv.DictReader(
            io.StringIO(text, newline=""), restkey="", restval="", skipinitialspace=True
        )
        header = [column.strip() for column in reader.fieldnames or ()]
        reader.fieldnames = header
        missing = [column for column in columns if column not in header]
        if missing:
            raise InputError(
                f"Expected the columns {', '.join(columns)} in {str(path)!r}, got "
                f"{', '.join(header) or 'an empty file'}: add {', '.join(missing)}."
            )
        return [
            (reader.line_num, {column: row[column].strip() for column in header}) for row in reader
        ]


def inner_name(name: str, where: str) -> str:
    """Checks a file name in a table: it must not lead out of the folder of the data set.

    `where` is the position in the table, for errors. Links in the folder may lead out of it.
    """
    normal = os.path.normpath(name)
    if os.path.isabs(normal) or normal.split(os.sep)[0] == os.pardir:
        raise InputError(
            f"Expected names of files in the folder of the data set in {where}, got {name!r}: put the "
            "file there, and write its name relative to this folder."
        )
    return name


def read_pixels(text: str, kind: type[Number]) -> Number:
    """Reads the side of an image (`int`) or the edge of a box (`float`); may raise ValueError."""
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or abs(number) > _FAR:
        shown = text if len(text) <= 40 else text[:37] + "..."
        raise ValueError(f"{shown!r}, which is not a number of pixels")
    return number
