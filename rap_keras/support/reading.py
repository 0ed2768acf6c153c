"""Files that anyone may have written: opened, read and understood, or refused in one sentence."""

import contextlib
import json
import math
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from rap_keras.errors import InputError
from rap_keras.support.memory import physical_memory
from rap_keras.support.text import reason

MOST_TEXT = 256 * 1024**2
"""The bytes of a text that are read at most: a table of a million boxes has a quarter of that."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


@contextlib.contextmanager
def opened(path: str | Path, what: str = "file", most: int | None = None) -> Iterator[BinaryIO]:
    """A file to read from, and nothing else: to read a pipe may wait, and a device may give, for ever.

    Args:
        path: The file.
        what: What it is, for messages, as in "config file".
        most: The bytes that it may have, where all of it will be in memory.

    Raises:
        InputError: It is not there, is no file, is larger, or cannot be read.
    """
    try:
        kind = _kind(path)
        if kind != stat.S_IFREG:
            raise InputError(
                f"Expected the {what} {str(path)!r} to be a file, got {_KINDS.get(kind, 'no file')}."
            )
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if most is not None and size > most:
                raise InputError(
                    f"Expected the {what} {str(path)!r} to have at most {most >> 20} MB, got "
                    f"{size >> 20} MB; split it, or name the right file."
                )
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"There is no {what} {str(path)!r}; check its path.") from None
    except OSError as error:
        raise InputError(
            f"The {what} {str(path)!r} cannot be read ({reason(error)}); check its path and its "
            "permissions."
        ) from error


def check_file(path: str | Path, what: str = "file") -> None:
    """Refuses a file that cannot be opened."""
    with opened(path, what):
        pass


def check_npz(path: str | Path, what: str) -> None:
    """Refuses a file that is not `.npz`, without reading its arrays."""
    with opened(path, what) as file:
        _check_zip(file, path, what)


def _check_zip(file: BinaryIO, path: str | Path, what: str) -> None:
    if not zipfile.is_zipfile(file):
        raise InputError(f"Expected a {what}, got {str(path)!r}, which is no .npz file.")


def _kind(path: str | Path) -> int:
    try:
        return stat.S_IFMT(os.stat(path).st_mode)
    except ValueError as error:  # no name at all, as with a zero in it
        raise OSError(0, reason(error)) from None


@contextlib.contextmanager
def understood(sentence: str, advice: str = "") -> Iterator[None]:
    """Tells that what is read inside is not what was expected, whatever a parser makes of it.

    Numbers may be too long, parts nested too deep, sizes beyond memory: parsers raise nearly anything.
    Inside stands nothing but the reading.

    Args:
        sentence: What was expected and what came, up to the reason.
        advice: What to do.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        end = f"; {advice}." if advice else "."
        raise InputError(f"{sentence} ({reason(error)}){end}") from error


def read_text(path: str | Path, what: str = "file") -> str:
    """The text of a file in UTF-8, without the mark that some editors put before it."""
    with opened(path, what, MOST_TEXT) as file:
        content = file.read()
    with understood(f"Expected the {what} {str(path)!r} to be UTF-8 text, got a file that is not"):
        return content.decode("utf-8-sig")


def read_json(path: str | Path, what: str = "file") -> Any:
    """What a file of JSON says."""
    text = read_text(path, what)
    with understood(f"Expected the {what} {str(path)!r} to be JSON, got a file that is not"):
        return json.loads(text)


def read_arrays(path: str | Path, what: str) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file, by name; no pickle is read.

    Nothing is taken of memory before it is known that the file holds as much as its headers claim.
    `what` it is, as in "file with patterns", is for messages.
    """
    sentence = f"Expected a {what}, got {str(path)!r}"
    with opened(path, what) as file:
        _check_zip(file, path, what)
        with understood(sentence):
            file.seek(0)
            with zipfile.ZipFile(file) as archive:
                _check_arrays(archive)
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}


def read_headed(
    path: Path, kind: str, expected: Mapping[str, type]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays of a file that `files.write_arrays` wrote.

    Args:
        path: The file.
        kind: What its header calls it.
        expected: The other entries that its header must have, and their types.
    """
    arrays = read_arrays(path, f"file with {kind}")
    sentence = f"Expected a file with {kind}, got {str(path)!r}, which holds something else"
    with understood(sentence):
        header = json.loads(str(arrays.pop("header")))
    fits = isinstance(header, dict) and header.get("kind") == kind
    if not (fits and all(isinstance(header.get(key), t) for key, t in expected.items())):
        raise InputError(f"{sentence}.")
    return header, arrays


def _check_arrays(archive: zipfile.ZipFile) -> None:
    """Raises ValueError if an archive's arrays are not as large as they say, or beyond memory."""
    total, there = 0, physical_memory()
    for member in archive.infolist():
        with archive.open(member) as file:
            stream = cast(BinaryIO, file)
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"{member.filename} is of another version")
            first = version == (1, 0)
            read = (
                np.lib.format.read_array_header_1_0
                if first
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(stream)
            claimed = file.tell() + math.prod(shape) * dtype.itemsize
        if dtype.hasobject or min(shape, default=0) < 0 or claimed != member.file_size:
            raise ValueError(f"{member.filename} holds no array of {shape} of {dtype}")
        total += member.file_size
    if there is not None and total > there:
        raise ValueError(f"its arrays take {total / 1e9:,.0f} GB, which is more than all memory")
