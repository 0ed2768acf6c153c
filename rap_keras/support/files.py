"""Files that are written whole or not at all."""

import contextlib
import glob
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rap_keras.errors import InputError, UnwritableError
from rap_keras.support.processes import runs


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of `path` when it is complete, and only then.

    What a process that was killed has left of such a file is removed.

    Args:
        path: The file; its folder is made where it is missing.

    Raises:
        UnwritableError: It cannot be written, as on a full disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
            if left.suffix[1:].isdecimal() and not runs(int(left.suffix[1:])):
                left.unlink(missing_ok=True)
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UnwritableError(path, error.strerror or error) from error
        raise


@contextlib.contextmanager
def replacing_together(folder: Path) -> Iterator[Path]:
    """A folder to write files to that take their places in `folder` when all are complete.

    Args:
        folder: It is made where it is missing. Its other files stay.

    Raises:
        InputError: It cannot be written to, as where the disk is full.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    staging = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Inside of the folder, so that moving is renaming.
        staging = Path(tempfile.mkdtemp(prefix=".rap-keras-", dir=folder))
        yield staging
        files = sorted(staging.iterdir())
        for file in files:
            if (folder / file.name).is_dir():
                raise InputError(
                    f"{str(folder / file.name)!r} is a folder, so no file can take its name."
                )
        for file in files:
            os.replace(file, folder / file.name)
        made = []
    except OSError as error:
        raise InputError(
            f"The folder {str(folder)!r} cannot be written to ({error.strerror or error})."
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for place in made:
            with contextlib.suppress(OSError):  # not empty, if somebody else writes there
                place.rmdir()


def write_arrays(path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an .npz file with a header of JSON, without pickle."""
    with replacing(path) as file:
        named: dict[str, Any] = {"header": np.array(json.dumps(header)), **arrays}
        np.savez(file, **named)


def read_arrays(
    path: Path, kind: str, expected: Mapping[str, type]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays of a file of the given kind."""
    if path.is_file() and not zipfile.is_zipfile(path):
        raise InputError(f"Expected a file with {kind}, got {str(path)!r}, which is no .npz file.")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            arrays = {key: file[key] for key in file.files if key != "header"}
        ours = header["kind"] == kind
        ours = ours and all(isinstance(header[key], t) for key, t in expected.items())
    except (
        *(OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError),
        zipfile.BadZipFile,
    ) as error:
        raise InputError(f"Expected a file with {kind}, got {str(path)!r}: {error}") from error
    if not ours:
        raise InputError(
            f"Expected a file with {kind}, got {str(path)!r}, which holds something else."
        )
    return header, arrays


def save_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Like `np.savez_compressed`, which has no room for layers called "file"."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays.items():
            several = isinstance(value, list)
            parts = {f"{name}[{k}]": v for k, v in enumerate(value)} if several else {name: value}
            for key, array in parts.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
