"""What the results of a benchmark depend on."""

import shlex
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

from rap_keras.benchmark.settings import Settings
from rap_keras.errors import InputError


def command(settings: Settings) -> str:
    """The command line that measures by these settings; what is at its default is left out."""
    words = ["rap-keras", "benchmark"]
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value == field.default:
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            listed = ",".join(map(_plain, value)) if isinstance(value, tuple) else _plain(value)
            words += [f"--{flag}", listed]
    return shlex.join(words)


def _plain(value: Any) -> str:
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else str(value)


def file_checksum(path: str) -> int:
    """The CRC-32 of a file."""
    try:
        return zlib.crc32(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"The file {path!r} cannot be read ({error.strerror}).") from error
