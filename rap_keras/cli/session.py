"""What every command does around its work."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rap_keras.errors import InputError
from rap_keras.support.quiet import silenced_stderr


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """A name for each file's results; files that are called alike get a number."""
    taken: set[str] = set()
    stems = []
    for path in paths:
        stem, number = path.stem, 1
        # Some file systems take names that differ in case only for the same.
        while stem.lower() in taken:
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem.lower())
        stems.append(stem)
    return stems


@contextlib.contextmanager
def output_folder(out: Path) -> Iterator[Path]:
    """Yields a folder for a command's files: all of them appear in `out`, or none do."""
    created: list[Path] = []
    staging: Path | None = None
    try:
        for parent in reversed([out, *out.parents]):
            if not parent.exists():
                parent.mkdir()
                created.append(parent)
        # Inside of out, so that moving the files is a renaming, which cannot end half-way.
        staging = Path(tempfile.mkdtemp(prefix=".rap-keras-", dir=out))
        yield staging
        files = sorted(staging.iterdir())
        for file in files:
            if (out / file.name).is_dir():
                raise InputError(
                    f"{str(out / file.name)!r} is a folder, so no file can take its name."
                )
        for file in files:
            os.replace(file, out / file.name)
        created = []
    except OSError as error:
        raise InputError(
            f"The folder {str(out)!r} cannot be written to ({error.strerror or error})."
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for folder in reversed(created):
            # Not empty if somebody else has written to it meanwhile.
            with contextlib.suppress(OSError):
                folder.rmdir()


def import_tensorflow() -> None:
    """Imports TensorFlow without its chatter on stderr, unless the user has set what it logs.

    TF_CPP_MIN_LOG_LEVEL alone does not do: some libraries log before TensorFlow reads it.
    """
    if "tensorflow" in sys.modules:
        return
    quiet = "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silenced_stderr() if quiet else contextlib.nullcontext():
        import keras
        import tensorflow as tf

        tf.config.list_logical_devices()
    if not sys.stdout.isatty():
        # The bar of a download is for a terminal.
        keras.config.disable_interactive_logging()
