"""Adapters for Quantus and xplique: maps for their metrics, and their methods in the benchmark.

Neither library is imported. The adapters follow their calling conventions, so they work with any version
that can be installed.
"""

from rap_keras.interop import quantus, xplique

__all__ = ["quantus", "xplique"]
