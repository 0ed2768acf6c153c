"""Beside other libraries: maps for their metrics, and their methods in the benchmark.

Neither Quantus nor xplique is imported: the adapters keep to their calling conventions, and so work with
whatever version can be installed beside the TensorFlow at hand.
"""

from rap_keras.interop import quantus, xplique

__all__ = ["quantus", "xplique"]
