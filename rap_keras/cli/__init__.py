"""The command line."""

import sys

from rap_keras.support import signals

__all__ = ["main"]


def main() -> None:
    """Runs the command line."""
    try:
        with signals.raising():
            # Here, for to import takes long enough to be stopped.
            from rap_keras.cli.app import app

            app(prog_name="rap-keras")
    except signals.Stopped as stopped:
        told = "nothing is left half-written: run the same command again."
        print(f"rap-keras: stopped by {stopped}; {told}", file=sys.stderr)
        sys.exit(128 + stopped.number)
