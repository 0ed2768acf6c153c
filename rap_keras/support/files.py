"""Files that are written whole or not at all."""

import contextlib
import glob
import json
import os
import platform
import re
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rap_keras.errors import InputError, UnwritableError
from rap_keras.support import signals

# The folder that files are written to; then come its machine and its process, which show whose it is.
_STAGING = ".rap-keras-"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of `path` when it is complete, and only then.

    Leftovers of killed processes are removed. The temporary name is unpredictable, and an existing file
    is never opened: links that others plant in a shared folder have no effect.

    Args:
        path: The file; its folder is created if missing. A link in its place is replaced; its target
            stays as it is.

    Raises:
        UnwritableError: It cannot be written, as on a full disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(8)}")
    leftover = re.compile(rf"\.{re.escape(path.name)}\.(\d+)(-[0-9a-f]+)?")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
            found = leftover.fullmatch(left.name)
            if found and not _runs(int(found[1])):
                with contextlib.suppress(OSError):  # somebody else's, or a folder
                    left.unlink()
        with temporary.open("xb") as file:  # never through a link
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
    """A folder to write files to: all of them take their places in `folder`, or none does.

    What a process of this machine that was killed has left in the folder is removed.

    Args:
        folder: It is created if missing, and removed again if nothing is written. Its other files
            stay; a link with the name of a file is replaced, and its target stays.

    Raises:
        InputError: It cannot be written to, as where the disk is full.
    """
    created: list[Path] = []
    staging: Path | None = None
    try:
        for parent in reversed([folder, *folder.parents]):
            if not parent.exists():
                with signals.held():
                    parent.mkdir()
                    created.append(parent)
        _clear(folder)
        # Inside of the folder, so that moving the files is a renaming, which cannot end half-way.
        prefix = f"{_STAGING}{platform.node()}-{os.getpid()}-"
        with signals.held():
            staging = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
        yield staging
        signals.check()
        files = sorted(staging.iterdir())
        for file in files:
            if (folder / file.name).is_dir():
                raise InputError(
                    f"{str(folder / file.name)!r} is a folder, so no file can take its name."
                )
        with signals.held():
            for file in files:
                os.replace(file, folder / file.name)
            created = [] if files else created
    except OSError as error:
        raise InputError(
            f"The folder {str(folder)!r} cannot be written to ({error.strerror or error})."
        ) from error
    finally:
        with signals.held():
            if staging is not None:
                shutil.rmtree(staging, ignore_errors=True)
            for made in reversed(created):
                # Not empty if somebody else has written to it meanwhile.
                with contextlib.suppress(OSError):
                    made.rmdir()


def check_writable(folder: Path) -> None:
    """Refuses a folder that cannot be written to; a missing folder is not left behind."""
    with replacing_together(folder):
        pass


def _clear(folder: Path) -> None:
    """Removes what killed processes of this machine have left in a folder."""
    ours = f"{_STAGING}{platform.node()}-"
    for left in folder.glob(f"{_STAGING}*"):
        process = left.name.removeprefix(ours).partition("-")[0]
        if left.name.startswith(ours) and process.isdigit() and not _runs(int(process)):
            shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    """Whether a process is there; true where that is unknown."""
    if os.name != "posix":
        return True  # to ask elsewhere may end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # somebody else's
    return True


def write_arrays(path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an .npz file with a header of JSON, without pickle."""
    with replacing(path) as file:
        named: dict[str, Any] = {"header": np.array(json.dumps(header)), **arrays}
        np.savez(file, **named)


def save_npz(path: Path | BinaryIO, arrays: Mapping[str, Any]) -> None:
    """Like `np.savez_compressed`, which has no room for layers called "file"."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays.items():
            several = isinstance(value, list)
            parts = {f"{name}[{k}]": v for k, v in enumerate(value)} if several else {name: value}
            for key, array in parts.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
