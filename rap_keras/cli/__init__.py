"""The command line."""

import errno
import os
import sys

from rap_keras.support import signals

__all__ = ["main"]

_NOT_WRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def main() -> None:
    """Runs the command line."""
    _open_closed_streams()
    try:
        with signals.raising():
            # Imported here, because the import takes long enough to be interrupted.
            from rap_keras.cli.app import app

            app(prog_name="rap-keras")
    except signals.Stopped as stopped:
        advice = "no incomplete files are left. Run the same command again."
        print(f"rap-keras: stopped by {stopped}; {advice}", file=sys.stderr)
        sys.exit(128 + stopped.number)
    except OSError as error:
        # Files that cannot be written are an `InputError`, so this is a stream, which has no name.
        if error.errno not in _NOT_WRITTEN or error.filename is not None:
            raise
        # Python writes the rest when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        print(f"rap-keras: the output cannot be written ({error.strerror}).", file=sys.stderr)
        sys.exit(2)


def _open_closed_streams() -> None:
    """Opens streams that the caller has closed, so that no other file gets their numbers."""
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115 (until the process ends)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
