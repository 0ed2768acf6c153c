"""The small models that ship with the package; they are defined in `rap_keras.models.bundled`."""

from rap_keras.models.bundled import Name, load

__all__ = ["Name", "load"]
