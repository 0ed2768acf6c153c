"""The files of a data set: folders that must be there, listings by name, tables."""

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
    """Whether there is a folder; a name that no file can have is that of none."""
    try:
        return path.is_dir()
    except PermissionError:
        raise
    except (OSError, ValueError):
        return False


def existing_folder(folder: str | Path) -> Path:
    """The folder, if it is one."""
    folder = Path(folder)
    if not is_folder(folder):
        raise InputError(f"There is no folder {str(folder)!r}; check the path of the data set.")
    return folder


def list_files(folder: Path, suffixes: Collection[str]) -> dict[str, str]:
    """The files with these endings by their names without ending, sorted; none is opened.

    Those in folders of ImageNet classes (`n01440764`) are included. The folder need not exist.

    Raises:
        InputError: If the folder cannot be read or two files differ in their ending or class only.
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
                                f"and {entry.path!r}; rename or remove one of them."
                            )
                    elif current is folders[0] and _CLASS_FOLDER.fullmatch(stem) and entry.is_dir():
                        folders.append(entry.path)
    except OSError as error:
        raise InputError(
            f"The folder {str(folder)!r} cannot be read ({error.strerror}); check its permissions."
        ) from None
    return dict(sorted(found.items()))


def read_table(path: Path, columns: Collection[str]) -> list[tuple[int, dict[str, str]]]:
    """Reads a CSV file (UTF-8) with a header that has these columns, and perhaps more.

    Returns:
        The number of each row's line and its cells by column, stripped; a missing cell is empty.
    """
    text = read_text(path, "table")
    with understood(
        f"{str(path)!r} is not a CSV file that can be read", "save it as UTF-8 text again"
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
                f"{', '.join(header) or 'an empty file'}; add {', '.join(missing)}."
            )
        return [
            (reader.line_num, {column: row[column].strip() for column in header}) for row in reader
        ]


def inner_name(name: str, where: str) -> str:
    """The name of a file, relative to a folder of the data set, as a table has it at `where`.

    Raises:
        InputError: It leads out of that folder; links in the folder itself may.
    """
    normal = os.path.normpath(name)
    if os.path.isabs(normal) or normal.split(os.sep)[0] == os.pardir:
        raise InputError(
            f"Expected names of files in the data set's own folder in {where}, got {name!r}; put the "
            "file there, and write its name from there on."
        )
    return name


def read_pixels(text: str, kind: type[Number]) -> Number:
    """The side of an image (`int`) or the edge of a box (`float`), as an annotation has it.

    Raises:
        ValueError: It is no number, or beyond any image.
    """
    try:
        number = kind(text)
    except ValueError:
        number = None
    if number is None or abs(number) > _FAR:
        shown = text if len(text) <= 40 else text[:37] + "..."
        raise ValueError(f"{shown!r}, which is no number of pixels")
    return number
