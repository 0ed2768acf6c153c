"""What the commands share: printing, output folders, loading Keras."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from rap_keras.errors import InputError
from rap_keras.support import keras_backend, signals
from rap_keras.support.devices import share_gpu
from rap_keras.support.files import replacing_together
from rap_keras.support.progress import announced
from rap_keras.support.quiet import logged_from
from rap_keras.support.text import counted, one_line, printable


def echo(text: str, err: bool = False) -> None:
    """Prints to stdout or stderr, without control characters, which file names may contain."""
    typer.echo(printable(text), err=err)


@contextlib.contextmanager
def results_in(out: Path) -> Iterator[Path]:
    """Yields a folder to write results to. Either all of them are moved to `out`, or none.

    Reports how many files of an earlier run were replaced or kept.
    """
    before: set[str] = set()
    with contextlib.suppress(
        OSError
    ):  # it does not exist, or `replacing_together` raises the error
        before = {p.name for p in out.iterdir() if p.is_file() and not p.name.startswith(".")}
    with replacing_together(out) as folder:
        yield folder
        written = {path.name for path in folder.iterdir()}
    earlier = {"replaced": before & written, "kept": before - written}
    parts = [f"{counted(len(names), 'file')} {what}" for what, names in earlier.items() if names]
    if parts:
        echo(f"rap-keras: {one_line(out)} was not empty: {', '.join(parts)}.", err=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a summary as JSON."""
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """Returns a name for each file's results; files with the same name get a number."""
    taken: set[str] = set()
    stems = []
    for path in paths:
        stem, number = path.stem, 1
        # Some file systems ignore case.
        while stem.lower() in taken:
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem.lower())
        stems.append(stem)
    return stems


def import_backend() -> None:
    """Imports Keras with its backend and hides their log messages.

    TF_CPP_MIN_LOG_LEVEL, which is 3 unless the user sets it, is not enough: some libraries log before
    they read it.
    """
    if "keras" in sys.modules:
        return
    share_gpu()
    name = keras_backend.configured()
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with (
        announced(f"loading {keras_backend.TITLES.get(name, name)}"),
        logged_from(int(level) if level.strip().isdecimal() else 0),
    ):
        keras = keras_backend.import_keras()
        from rap_keras import tensors as ops

        ops.device()  # libraries log what they find
    signals.check()
    if not sys.stdout.isatty():
        # Download bars need a terminal.
        keras.utils.disable_interactive_logging()


def import_native() -> None:
    """Imports Keras for a command that needs Keras 3."""
    import_backend()
    from rap_keras.backends.version import has_keras3

    if not has_keras3():
        import keras

        raise InputError(
            f"Expected Keras 3 (TensorFlow 2.16 or newer) for this command, got Keras "
            f"{keras.__version__}: upgrade TensorFlow. With Keras 2, use rap-keras benchmark --backend "
            "innvestigate, rap-keras patterns fit or rap-keras merge."
        )
