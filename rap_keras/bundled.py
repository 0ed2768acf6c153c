"""The small networks that ship with the package; they live in `rap_keras.models.bundled`."""

from rap_keras.models.bundled import Name, load

__all__ = ["Name", "load"]
