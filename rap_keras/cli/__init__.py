"""The command line."""

import sys

from rap_keras.support import signals

__all__ = ["main"]


def main() -> None:
    """Runs the command line."""
    try:
        with signals.raising():
            # Imported here, because the import takes long enough to be interrupted.
            from rap_keras.cli.app import app

            app(prog_name="rap-keras")
    except signals.Stopped as stopped:
        advice = "no incomplete files are left. Run the same command again."
        print(f"rap-keras: stopped by {stopped}; {advice}", file=sys.stderr)
        sys.exit(128 + stopped.number)
