"""Runs compiled functions over batches."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.backends.keras3.network import Keras3Network
from rap_keras.backends.network import Run
from rap_keras.errors import InputError
from rap_keras.inputs.batches import as_batches
from rap_keras.inputs.target import Target

Compute = Callable[[list[tf.Tensor], Target], Any]


class Batches:
    """Functions of a network's inputs and a target, compiled once for each kind of target.

    Args:
        network: The network.
        batch_size: Samples that are computed at a time.
        jit_compile: Whether XLA compiles.
    """

    def __init__(self, network: Keras3Network, batch_size: int, jit_compile: bool) -> None:
        self._network = network
        self._size = batch_size
        self._jit_compile = jit_compile
        self._runs: dict[Any, Run] = {}

    def empty(self) -> "Batches":
        """The same, with nothing compiled."""
        return Batches(self._network, self._size, self._jit_compile)

    def run(self, function: Compute, arrays: Sequence[np.ndarray], target: Target) -> Any:
        """The function's results over all batches, joined along the first axis.

        Args:
            function: A method of an analyzer; it is known by its name.
            arrays: The inputs, of one sample or more.
            target: Of each sample. Of k classes of each, results are `side_by_side`.
        """
        key = function.__name__, target.kind, target.contrast
        if key not in self._runs:
            self._runs[key] = self._compiled(function, target)
        run, index = self._runs[key], target.index
        size = len(arrays[0])
        try:
            parts = [
                run([a[chunk] for a in arrays], index[chunk] if len(index) == size else index)
                for chunk in as_batches(size, self._size)
            ]
        except tf.errors.InvalidArgumentError as error:
            unknown = sorted(set(re.findall(r"(\w+) \(No registered .* for XLA", str(error))))
            if not self._jit_compile or not unknown:
                raise
            raise InputError(
                "Expected a model whose operations XLA compiles, but it knows none of type "
                f"{', '.join(unknown)}: leave jit_compile=False."
            ) from None
        if len(parts) > 1:
            parts = [tf.nest.map_structure(lambda *p: np.concatenate(p), *parts)]
        return side_by_side(parts[0]) if target.kind == "classes" else parts[0]

    def _compiled(self, function: Compute, target: Target) -> Run:
        kind = target.at(None)

        def compute(inputs: list[tf.Tensor], index: tf.Tensor) -> Any:
            return function(inputs, kind.at(index))

        if target.kind == "classes":  # compiled for one at a time
            spec = tf.TensorSpec([None], tf.int32)
            return self._network.compiled_by_column(compute, spec, self._jit_compile)
        spec = tf.TensorSpec([None] * target.index.ndim, target.index.dtype)
        if self._jit_compile:
            compute = tf.function(compute, autograph=False, jit_compile=True)
        return self._network.compiled(compute, spec)


def side_by_side(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What is explained of k classes of each sample, `(batch, k, ...)`; logits are the same of all."""
    parts = [{key: each[key] for key in each if key != "logits"} for each in found]
    stacked = tf.nest.map_structure(lambda *p: np.stack(p, 1), *parts)
    return {"logits": found[0]["logits"]} | stacked
