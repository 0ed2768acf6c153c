"""Data with known object masks, to measure where an attribution lands."""

from rap_keras.datasets.cluttered_digits import Scenes, cluttered_digits, preprocess

__all__ = ["Scenes", "cluttered_digits", "preprocess"]
