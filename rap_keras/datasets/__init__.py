"""Data sets with known object masks, to measure where an attribution lies."""

from rap_keras.datasets.cluttered_digits import (
    PairScenes,
    Scenes,
    cluttered_digit_pairs,
    cluttered_digits,
    preprocess,
)
from rap_keras.datasets.sample import NO_CLASS, Dataset, Sample
from rap_keras.datasets.specification import open_dataset

__all__ = [
    "NO_CLASS",
    "Dataset",
    "PairScenes",
    "Sample",
    "Scenes",
    "cluttered_digit_pairs",
    "cluttered_digits",
    "open_dataset",
    "preprocess",
]
