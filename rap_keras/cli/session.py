"""What every command does around its work."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from rap_keras.errors import InputError
from rap_keras.support import signals
from rap_keras.support.devices import choose_tensorflow, share_gpu
from rap_keras.support.files import replacing_together
from rap_keras.support.progress import announced
from rap_keras.support.quiet import logged_from
from rap_keras.support.text import counted, one_line, printable


def tell(text: str, err: bool = False) -> None:
    """Prints to stdout or stderr; names of files may hold anything, so a terminal gets only text."""
    typer.echo(printable(text), err=err)


@contextlib.contextmanager
def results_in(out: Path) -> Iterator[Path]:
    """A folder to write results to: all of them take their places in `out`, or none does.

    What an earlier run has left there is told: it is replaced, or stays beside the new results.
    """
    before: set[str] = set()
    with contextlib.suppress(OSError):  # it is not there; or what is wrong with it is told below
        before = {p.name for p in out.iterdir() if p.is_file() and not p.name.startswith(".")}
    with replacing_together(out) as folder:
        yield folder
        written = {path.name for path in folder.iterdir()}
    told = {"replaced": before & written, "kept": before - written}
    parts = [f"{counted(len(names), 'file')} {what}" for what, names in told.items() if names]
    if parts:
        tell(f"rap-keras: {one_line(out)} was not empty: {', '.join(parts)}.", err=True)


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
    """Imports TensorFlow as the backend of Keras, and hides its log below the wanted level.

    TF_CPP_MIN_LOG_LEVEL, 3 unless the user has set it, is not enough: some libraries log before they
    read it.
    """
    if "tensorflow" in sys.modules:
        return
    share_gpu()
    other = choose_tensorflow()
    if other is not None:
        tell(f"rap-keras: uses TensorFlow instead of KERAS_BACKEND={other}.", err=True)
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with (
        announced("loading TensorFlow"),
        logged_from(int(level) if level.strip().isdecimal() else 0),
    ):
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
