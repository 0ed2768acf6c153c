"""The benchmark: methods compared on images with known objects."""

from rap_keras.benchmark.settings import Settings

__all__ = ["Settings"]
