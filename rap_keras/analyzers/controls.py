"""Maps that explain nothing, as controls."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rap_keras.analyzers.base import Analyzer
from rap_keras.inputs.target import Target
from rap_keras.propagate import relevance_dtype
from rap_keras.support.options import read_integer, read_number


class InputAnalyzer(Analyzer):
    """The input itself, as a baseline. Options: `Analyzer`."""

    def _maps(self, inputs: list[tf.Tensor], target: Target) -> tuple[list[tf.Tensor], tf.Tensor]:
        return [tf.cast(x, relevance_dtype(x.dtype)) for x in inputs], self._logits(inputs)


class RandomAnalyzer(Analyzer):
    """Gaussian noise, as a baseline.

    Args:
        model: See `Analyzer`.
        stddev: Standard deviation of the noise.
        seed: Makes every call return the same noise for the same number of samples; sample i gets
            the same noise in every batch.
        **options: Those of `Analyzer`.
    """

    def __init__(
        self, model: keras.Model, stddev: float = 1.0, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(model, **options)
        self.stddev = read_number("stddev", stddev, 0)
        self.seed = None if seed is None else read_integer("seed", seed, 0)

    def _explained_some(self, arrays: list[np.ndarray], target: Target) -> dict[str, Any]:
        logits = self._logits_of(arrays)
        generator = np.random.default_rng(self.seed)
        maps = [np.empty(a.shape, self._dtype(a.dtype)) for a in arrays]
        for own in maps:
            for _ in range(self._first):
                generator.standard_normal(own.shape[1:])
            for noise in own:
                noise[...] = generator.normal(0, self.stddev, noise.shape)
        return {"maps": maps, "logits": logits, "neurons": target.neurons(logits)}
