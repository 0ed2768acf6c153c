"""The command line."""

from rap_keras.cli.app import main

__all__ = ["main"]
