"""Reads files of unknown origin safely. Any fault becomes an error of one sentence."""

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
"""The maximum size of a text file in bytes. A table of a million boxes has a quarter of it."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


@contextlib.contextmanager
def opened(path: str | Path, what: str = "file", most: int | None = None) -> Iterator[BinaryIO]:
    """Opens a regular file for reading. Rejects pipes and devices, which may block or never end.

    `what` names it in messages; `most` is the maximum size in bytes, if the whole file will be in
    memory.
    """
    try:
        kind = _kind(path)
        if kind != stat.S_IFREG:
            raise InputError(
                f"Expected the {what} {str(path)!r} to be a file, got "
                f"{_KINDS.get(kind, 'something else')}."
            )
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if most is not None and size > most:
                raise InputError(
                    f"Expected the {what} {str(path)!r} to have at most {most >> 20} MB, got "
                    f"{size >> 20} MB: split it, or name another file."
                )
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"There is no {what} {str(path)!r}: check its path.") from None
    except OSError as error:
        raise InputError(
            f"The {what} {str(path)!r} cannot be read ({reason(error)}): check its path and "
            "permissions."
        ) from error


def check_npz(path: str | Path, what: str) -> None:
    """Raises an error if a file is not `.npz`. Does not read its arrays."""
    with opened(path, what) as file:
        _check_zip(file, path, what)


def _check_zip(file: BinaryIO, path: str | Path, what: str) -> None:
    if not zipfile.is_zipfile(file):
        raise InputError(f"Expected a {what}, got {str(path)!r}, which is not a .npz file.")


def _kind(path: str | Path) -> int:
    try:
        return stat.S_IFMT(os.stat(path).st_mode)
    except ValueError as error:  # not a valid name, such as one with a null character
        raise OSError(0, reason(error)) from None


@contextlib.contextmanager
def understood(sentence: str, advice: str = "") -> Iterator[None]:
    """Turns any error of a parser inside the block into an `InputError`.

    Parsers raise almost anything: numbers may be too long, parts nested too deeply, sizes beyond
    memory. The block should contain only the parsing.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        end = f": {advice}." if advice else "."
        raise InputError(f"{sentence} ({reason(error)}){end}") from error


def read_text(path: str | Path, what: str = "file") -> str:
    """Reads a text file in UTF-8, with or without a byte order mark."""
    with opened(path, what, MOST_TEXT) as file:
        content = file.read()
    with understood(f"Expected the {what} {str(path)!r} to be UTF-8 text, got a file that is not"):
        return content.decode("utf-8-sig")


def read_json(path: str | Path, what: str = "file") -> Any:
    """Reads a JSON file."""
    text = read_text(path, what)
    with understood(f"Expected the {what} {str(path)!r} to be JSON, got a file that is not"):
        return json.loads(text)


def read_arrays(path: str | Path, what: str) -> dict[str, np.ndarray]:
    """Reads the arrays of a `.npz` file by name, without pickle.

    Allocates no memory before it is clear that the file is as large as its headers claim.
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
    """Reads the header and the arrays of a file that `files.write_arrays` wrote.

    The header must state this kind, and have the expected entries of these types.
    """
    arrays = read_arrays(path, f"file with {kind}")
    sentence = f"Expected a file with {kind}, got {str(path)!r}, which contains something else"
    with understood(sentence):
        header = json.loads(str(arrays.pop("header")))
    fits = isinstance(header, dict) and header.get("kind") == kind
    if not (fits and all(isinstance(header.get(key), t) for key, t in expected.items())):
        raise InputError(f"{sentence}.")
    return header, arrays


def _check_arrays(archive: zipfile.ZipFile) -> None:
    """Raises ValueError if the sizes of an archive's arrays are wrong or beyond memory."""
    total, available = 0, physical_memory()
    for member in archive.infolist():
        with archive.open(member) as file:
            stream = cast(BinaryIO, file)
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"{member.filename} has another version")
            first = version == (1, 0)
            read = (
                np.lib.format.read_array_header_1_0
                if first
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(stream)
            claimed = file.tell() + math.prod(shape) * dtype.itemsize
        if dtype.hasobject or min(shape, default=0) < 0 or claimed != member.file_size:
            raise ValueError(f"{member.filename} does not contain an array of {shape} of {dtype}")
        total += member.file_size
    if available is not None and total > available:
        raise ValueError(f"its arrays need {total / 1e9:,.0f} GB, more than the machine's memory")
