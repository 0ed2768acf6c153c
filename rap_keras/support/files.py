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

# The prefix of temporary folders. The names of the machine and the process follow.
_STAGING = ".rap-keras-"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yields a temporary file that replaces `path` when it is complete; its folder is created.

    Removes leftovers of killed processes. The temporary name is unpredictable and existing files are
    never opened, so links that others create in a shared folder have no effect. If `path` is a link,
    the link is replaced and its target is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(8)}")
    leftover = re.compile(rf"\.{re.escape(path.name)}\.(\d+)(-[0-9a-f]+)?")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
            found = leftover.fullmatch(left.name)
            if found and not _runs(int(found[1])):
                with contextlib.suppress(OSError):  # another user's file, or a folder
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
    """Yields a temporary folder. Either all its files are moved to `folder`, or none.

    Removes leftovers of killed processes of this machine. The folder is created if missing, and removed
    again if nothing is written. Other files in it stay. A link with the name of a new file is replaced;
    its target is unchanged.
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
        # Inside the folder, so that files are moved by renaming, which cannot stop half-way.
        prefix = f"{_STAGING}{platform.node()}-{os.getpid()}-"
        with signals.held():
            staging = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
        yield staging
        signals.check()
        files = sorted(staging.iterdir())
        for file in files:
            if (folder / file.name).is_dir():
                raise InputError(
                    f"{str(folder / file.name)!r} is a folder, so no file can have this name: rename "
                    "it, or choose another output folder."
                )
        with signals.held():
            for file in files:
                os.replace(file, folder / file.name)
            created = [] if files else created
    except OSError as error:
        if staging is not None and _is_elsewhere(error, folder):
            raise
        raise InputError(
            f"The folder {str(folder)!r} cannot be written to ({error.strerror or error}): choose "
            "another folder."
        ) from error
    finally:
        with signals.held():
            if staging is not None:
                shutil.rmtree(staging, ignore_errors=True)
            for made in reversed(created):
                # It is not empty if another process has written to it.
                with contextlib.suppress(OSError):
                    made.rmdir()


def _is_elsewhere(error: OSError, folder: Path) -> bool:
    """Whether an error is that of a closed pipe, or of a file that is not in a folder."""
    if isinstance(error, BrokenPipeError):
        return True
    if not isinstance(error.filename, str | bytes | Path):
        return False
    file = Path(os.path.abspath(os.fsdecode(error.filename)))
    return not file.is_relative_to(os.path.abspath(folder))


def check_writable(folder: Path) -> None:
    """Raises an error if a folder cannot be written to. Does not create a missing folder."""
    with replacing_together(folder):
        pass


def _clear(folder: Path) -> None:
    """Removes leftovers of killed processes of this machine from a folder."""
    ours = f"{_STAGING}{platform.node()}-"
    for left in folder.glob(f"{_STAGING}*"):
        process = left.name.removeprefix(ours).partition("-")[0]
        if left.name.startswith(ours) and process.isdigit() and not _runs(int(process)):
            shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    """Whether a process is running; True if it is unknown."""
    if os.name != "posix":
        return True  # on other systems, os.kill would end the process
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # another user's process
    return True


def write_arrays(path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a .npz file with a JSON header, without pickle."""
    with replacing(path) as file:
        named: dict[str, Any] = {"header": np.array(json.dumps(header)), **arrays}
        np.savez(file, **named)


def save_npz(path: Path | BinaryIO, arrays: Mapping[str, Any]) -> None:
    """Writes like `np.savez_compressed`, which does not accept an array named "file"."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays.items():
            several = isinstance(value, list)
            parts = {f"{name}[{k}]": v for k, v in enumerate(value)} if several else {name: value}
            for key, array in parts.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
