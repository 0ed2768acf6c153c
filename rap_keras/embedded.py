"""The small networks that ship with the package; they live in `rap_keras.models.embedded`."""

from rap_keras.models.embedded import Name, load

__all__ = ["Name", "load"]
