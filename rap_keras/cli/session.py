"""What every command does around its work."""

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from rap_keras.errors import InputError
from rap_keras.support import signals
from rap_keras.support.devices import share_gpu
from rap_keras.support.images import check_image, collect_images
from rap_keras.support.quiet import silenced_stderr
from rap_keras.support.text import printable


def tell(text: str, err: bool = False) -> None:
    """Prints to stdout or stderr; names of files may hold anything, so a terminal gets only text."""
    typer.echo(printable(text), err=err)


def image_files(sources: Sequence[str]) -> list[Path]:
    """The image files that are meant, each looked at as far as takes no time."""
    paths = collect_images(sources)
    for path in paths:
        check_image(path)
    return paths


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


def import_tensorflow() -> None:
    """Imports TensorFlow without its chatter on stderr, unless the user has set what it logs.

    TF_CPP_MIN_LOG_LEVEL alone does not do: some libraries log before TensorFlow reads it.
    """
    if "tensorflow" in sys.modules:
        return
    share_gpu()
    quiet = "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silenced_stderr() if quiet else contextlib.nullcontext():
        import keras
        import tensorflow as tf

        tf.config.list_logical_devices()
    signals.check()
    if not sys.stdout.isatty():
        # The bar of a download is for a terminal.
        keras.utils.disable_interactive_logging()


def import_native() -> None:
    """Imports TensorFlow for a command of the native backend.

    Raises:
        InputError: There is Keras 2 only.
    """
    import_tensorflow()
    from rap_keras.backends.version import has_keras3

    if not has_keras3():
        import keras

        raise InputError(
            f"This command needs Keras 3 (TensorFlow 2.16 or newer), got Keras {keras.__version__}; on "
            "Keras 2 work rap-keras benchmark --backend innvestigate, rap-keras patterns fit and "
            "rap-keras merge."
        )
