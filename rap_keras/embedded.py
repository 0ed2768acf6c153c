"""An alias of `rap_keras.bundled`."""

from rap_keras.bundled import Name, load

__all__ = ["Name", "load"]
