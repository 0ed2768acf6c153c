"""Controls: maps that explain nothing, to compare with."""

from typing import Any

import keras
import numpy as np

from rap_keras import tensors as ops
from rap_keras.analyzers.base import Analyzer, Maps
from rap_keras.inputs.target import Target
from rap_keras.propagate import relevance_dtype
from rap_keras.support.options import read_integer, read_number


class InputAnalyzer(Analyzer):
    """Returns the input itself, as a control.

    Args:
        model: See `Analyzer`.
        **options: Options of `Analyzer`.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = np.ones((1, 64, 64, 3), "float32")
        >>> bool((rap_keras.create_analyzer("input", model).analyze(x) == x).all())
        True
    """

    def _maps(self, inputs: list[ops.Tensor], target: Target) -> Maps:
        return [ops.cast(x, relevance_dtype(x.dtype)) for x in inputs], self._logits(inputs)


class RandomAnalyzer(Analyzer):
    """Returns Gaussian noise, as a control.

    Args:
        model: See `Analyzer`.
        stddev: The standard deviation of the noise.
        seed: With a seed, sample i of every call gets the same noise. None: new noise in each call.
        **options: Options of `Analyzer`.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = np.ones((1, 64, 64, 3), "float32")
        >>> rap_keras.create_analyzer("random", model, seed=0).analyze(x).shape
        (1, 64, 64, 3)
    """

    def __init__(
        self, model: keras.Model, stddev: float = 1.0, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(model, **options)
        self.stddev = read_number("stddev", stddev, 0)
        self.seed = None if seed is None else read_integer("seed", seed, 0)

    def _explained_some(self, arrays: list[np.ndarray], target: Target) -> dict[str, Any]:
        logits = self._logits_of(arrays)
        maps = [np.empty(a.shape, self._dtype(a.dtype)) for a in arrays]
        for k, samples in enumerate(maps):
            for position, noise in enumerate(samples, self._first):
                seed = None if self.seed is None else [self.seed, position, k]
                noise[...] = np.random.default_rng(seed).normal(0, self.stddev, noise.shape)
        return {"maps": maps, "logits": logits, "neurons": target.neurons(logits)}
