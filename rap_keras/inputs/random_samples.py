"""Random samples, to check whether a model's output for a sample depends on the rest of its batch."""

from collections.abc import Sequence

import numpy as np

from rap_keras import tensors as ops
from rap_keras.network.graph import Graph
from rap_keras.network.lookups import leading_to, lookups


def sizes_of(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the largest absolute values, `(batch, inputs)`; 1 for booleans, NaN if not finite."""
    return np.stack([_sizes(a) for a in arrays], 1)


def _sizes(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "b":
        return np.ones(len(values))
    axes = tuple(range(1, values.ndim))
    ends = [end(values, axis=axes, initial=0) for end in (np.max, np.min)]
    high, low = (end.astype(np.float64) for end in ends)
    size = np.maximum(high, -low)
    return np.where(np.isfinite(size), size, np.nan)


def most_telling(sizes: np.ndarray) -> int | None:
    """Returns the sample of a batch with the largest inputs; None if no sample is finite.

    If there are several inputs, the smallest counts, relative to the largest in the batch.
    """
    whole = np.flatnonzero(np.isfinite(sizes).all(1))
    if not whole.size:
        return None
    shares = sizes[whole] / np.maximum(sizes[whole].max(0), np.finfo(np.float64).tiny)
    return int(whole[shares.min(1).argmax()])


class RandomSamples:
    """Draws samples that differ from a given one, a batch of one, with values the model accepts."""

    def __init__(self, graph: Graph, sample: Sequence[np.ndarray]) -> None:
        self.graph, self.sample = graph, sample
        self._rng = np.random.default_rng(0)
        self._rows: dict[int, int] = {}  # input slot => rows of the tables that it indexes directly
        self._tokens: set[int] = set()
        for lookup in lookups(self.graph):
            self._tokens |= leading_to(self.graph, lookup.slot)
            if lookup.slot in self.graph.inputs:
                known = self._rows.get(lookup.slot, lookup.rows)
                self._rows[lookup.slot] = min(known, lookup.rows)

    def draw(self, count: int, spread: float = 1) -> list[np.ndarray]:
        """Returns a batch of random samples, all different from the given sample.

        `spread` is the range of the values, as a multiple of the sample's range. Tokens stay in their
        vocabulary.
        """
        return [
            self._like(np.repeat(value, count, 0), slot, spread)
            for value, slot in zip(self.sample, self.graph.inputs, strict=True)
        ]

    def _like(self, value: np.ndarray, slot: int, spread: float) -> np.ndarray:
        if value.dtype.kind == "b":
            mask = self._rng.random(value.shape) < 0.5
            return np.where(_equal(mask, value), ~value, mask)
        wide = value.astype(np.float64)
        if slot in self._tokens:
            # The smallest and the largest known token of each position.
            low, high = np.minimum(wide, 0), np.maximum(wide, 1)
            if slot in self._rows:
                low, high = np.zeros_like(wide), np.full_like(wide, self._rows[slot] - 1)
        else:
            low, high = _range(wide, spread, value.dtype)
        drawn = self._rng.random(value.shape)
        if value.dtype.kind in "iu" or (slot in self._tokens and (wide == np.trunc(wide)).all()):
            drawn = np.clip(np.floor(low + (high - low + 1) * drawn), low, high)
        else:
            drawn = low + (high - low) * drawn
        drawn = np.where(_equal(drawn, wide), np.where(wide == low, high, low), drawn)
        return drawn.astype(value.dtype)


def _range(value: np.ndarray, spread: float, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Returns the range of a sample's values; for a sample of zeros, that of images."""
    low, high = value.min(initial=np.inf), value.max(initial=-np.inf)
    if not value.any():
        low, high = 0.0, 1.0 if spread <= 1 else 255.0 / spread
    elif low == high:
        low, high = min(low, 0.0), max(high, 0.0)
    high = min(low + spread * (high - low), ops.highest(dtype))
    return np.full_like(value, low), np.full_like(value, high)


def _equal(drawn: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Returns for each sample whether all values are equal, with the rank of the arrays."""
    return (drawn == value).all(tuple(range(1, value.ndim)), keepdims=True)
