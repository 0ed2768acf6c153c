"""Adapters for Quantus and xplique: our maps for their metrics, and their methods in our benchmark.

Neither library is imported. The adapters follow their calling conventions, so they work with every
version that can be installed.
"""

from rap_keras.interop import quantus, xplique

__all__ = ["quantus", "xplique"]
