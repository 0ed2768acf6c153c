"""Runs compiled functions batch by batch."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rap_keras import tensors as ops
from rap_keras.backends.keras3.network import Keras3Network
from rap_keras.backends.network import Run
from rap_keras.errors import InputError
from rap_keras.inputs.batches import as_batches
from rap_keras.inputs.target import Target

Compute = Callable[[list[ops.Tensor], Target], Any]


class Batches:
    """Runs functions of inputs and a target, compiled once for each kind of target."""

    def __init__(self, network: Keras3Network, batch_size: int, jit_compile: bool) -> None:
        self._network = network
        self._size = batch_size
        self._jit_compile = jit_compile
        self._runs: dict[Any, Run] = {}

    def empty(self) -> "Batches":
        """A copy with nothing compiled."""
        return Batches(self._network, self._size, self._jit_compile)

    def run(
        self,
        function: Compute,
        arrays: Sequence[np.ndarray],
        target: Target,
        name: str | None = None,
        axes: Any = None,
    ) -> Any:
        """Runs a method of an analyzer over all batches and joins the results.

        `name` identifies the compiled function. `axes` are the batch axes of the results, if they are
        not the first. The results of k classes are joined by `side_by_side`.
        """
        key = name or function.__name__, target.kind, target.contrast
        if key not in self._runs:
            self._runs[key] = self._compiled(function, target)
        found = self._joined(self._runs[key], arrays, target.index, axes=axes)
        return side_by_side(found) if target.kind == "classes" else found

    def run_by_column(
        self,
        function: Callable[..., Any],
        name: str,
        arrays: Sequence[np.ndarray],
        target: Target,
        columns: np.ndarray,
    ) -> list[Any]:
        """Runs a function for each of k columns, an array `(batch, k, ...)`; returns k results.

        The function takes the inputs and the target and returns a function of a column. What does not
        depend on the column is computed once.
        """
        key = name, target.kind, target.contrast
        if key not in self._runs:
            kind = target.at(None)
            self._runs[key] = self._network.compiled_by_column(
                lambda inputs, index: function(inputs, kind.at(index)),
                ops.Spec([None, *columns.shape[2:]], columns.dtype),
                [_spec(target)],
                self._jit_compile,
            )
        return self._joined(self._runs[key], arrays, target.index, columns)

    def _joined(
        self, run: Run, arrays: Sequence[np.ndarray], *given: np.ndarray, axes: Any = None
    ) -> Any:
        """Runs all batches. Arrays that are given once for all samples are not cut."""
        size, sizes = len(arrays[0]), self._network.part_sizes(self._jit_compile)

        def part(array: np.ndarray, chunk: slice) -> np.ndarray:
            return array[chunk] if len(array) == size else array

        try:
            parts = [
                run([a[chunk] for a in arrays], *(part(g, chunk) for g in given))
                for chunk in as_batches(size, self._size, sizes)
            ]
        except ops.ERRORS as error:
            unknown = sorted(set(re.findall(r"(\w+) \(No registered .* for XLA", str(error))))
            if not self._jit_compile or not unknown:
                raise
            raise InputError(
                "Expected a model whose operations XLA can compile, got operations of type "
                f"{', '.join(unknown)}: leave jit_compile=False."
            ) from None
        if len(parts) == 1:
            return parts[0]
        if axes is None:
            axes = ops.map_structure(lambda _: 0, parts[0])
        return ops.map_structure(lambda axis, *p: np.concatenate(p, axis), axes, *parts)

    def _compiled(self, function: Compute, target: Target) -> Run:
        kind = target.at(None)

        def compute(inputs: list[ops.Tensor], index: ops.Tensor) -> Any:
            return function(inputs, kind.at(index))

        if target.kind == "classes":  # compiled for one class at a time
            return self._network.compiled_by_column(
                lambda inputs: functools.partial(compute, inputs),
                ops.Spec([None], "int32"),
                jit_compile=self._jit_compile,
            )
        return self._network.compiled(compute, _spec(target), jit_compile=self._jit_compile)


def _spec(target: Target) -> ops.Spec:
    return ops.Spec([None] * target.index.ndim, target.index.dtype)


def side_by_side(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Joins the results of k classes along axis 1, `(batch, k, ...)`; all have the same logits."""
    parts = [{key: each[key] for key in each if key != "logits"} for each in found]
    stacked = ops.map_structure(lambda *p: np.stack(p, 1), *parts)
    return {"logits": found[0]["logits"]} | stacked
