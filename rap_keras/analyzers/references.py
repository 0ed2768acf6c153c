"""The base class of methods that explain the difference between a sample and a reference."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rap_keras import tensors as ops
from rap_keras.analyzers.binary import chosen
from rap_keras.analyzers.differentiating import DifferentiatingAnalyzer
from rap_keras.analyzers.explanation import explained_sum
from rap_keras.errors import InputError
from rap_keras.inputs.samples import as_dtype, refuse_masked
from rap_keras.inputs.target import Target, first_given, refuse_several
from rap_keras.network.graph import Shape
from rap_keras.support.text import shown
from rap_keras.support.warn import warn

# A warning is shown if a sum misses the difference of the logits by more than this share of them.
_MISSED = 0.1


def read_references(given: Any, shapes: Sequence[Shape]) -> list[np.ndarray]:
    """Reads references as float64 arrays that broadcast to samples of these shapes.

    Raises:
        InputError: They do not broadcast, or are not finite.
    """
    several = isinstance(given, list | tuple) and len(shapes) > 1
    try:
        parts = given if several else [given] * len(shapes)
        given_arrays = [np.asarray(r) for r in parts]
        references = [a.astype(np.float64) for a in given_arrays if a.dtype.kind != "b"]
    except (TypeError, ValueError):
        references = []
    fits = len(references) == len(shapes)
    for reference, shape in zip(references, shapes, strict=False):
        known = [n or 1 for n in shape]
        try:
            fits &= np.broadcast_shapes(reference.shape, known) == tuple(known)
        except ValueError:
            fits = False
    if not fits or not all(np.isfinite(r).all() for r in references):
        raise InputError(
            f"Expected finite reference_inputs that broadcast to samples of shape {shapes}, got "
            f"{shown(given)}{' with NaN or infinity' if fits else ''}."
        )
    return references


class ReferenceAnalyzer(DifferentiatingAnalyzer):
    """An analyzer with the option `reference_inputs`, whose maps sum to a difference of logits.

    Inputs without a derivative, such as tokens, are the same in the reference as in the sample.
    """

    _references: list[np.ndarray]

    def _use_references(self, given: Any) -> None:
        shapes = [self._graph.shapes[slot][1:] for slot in self._graph.inputs]
        self.reference_inputs = given
        refuse_masked(given, "reference_inputs")
        self._references = read_references(given, shapes)
        for reference, spec in zip(self._references, self._network.inputs, strict=True):
            if ops.is_floating(spec.dtype):
                as_dtype(reference, spec.dtype, "reference_inputs")

    def _reference_of(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The reference of each sample; inputs without a derivative stay unchanged."""
        references = [
            np.broadcast_to(r, a.shape).astype(a.dtype)
            for a, r in zip(arrays, self._references, strict=True)
        ]
        return self._varied(references, arrays)

    def _warn_of_delta(self, delta: np.ndarray, size: np.ndarray, logits: np.ndarray) -> None:
        """Warns if sums are far from the difference of the logits.

        Args:
            delta: Sums of the maps minus the differences of the logits, of any shape.
            size: The size of the logits of sample and reference, of the same shape; NaN if the model's
                output at the reference is NaN.
            logits: The logits of the samples.

        Raises:
            InputError: The model's output at the reference is NaN.
        """
        if self.check_finite and np.isnan(size).any() and not np.isnan(logits).any():
            raise InputError(
                "Expected reference_inputs at which the model has a value, got NaN: the model divides 0 "
                "by 0, for example to normalize a vector of zeros; use another reference, such as the "
                "mean of the data.",
                "reference_inputs",
            )
        if (abs(delta) > _MISSED * size).any():
            warn(
                f"The maps of {self.name!r} do not sum to the difference of the logits of sample and "
                f"reference: they differ from it by more than {_MISSED:.0%} of the logits. See "
                "convergence_delta(x), and try other reference_inputs or another method.",
            )

    def _check_sums(self, arrays: list[np.ndarray], target: Target, found: dict[str, Any]) -> None:
        """Like `_warn_of_delta`, for methods that have not computed the logits of the reference."""
        if not len(arrays[0]):
            return
        any_number = all(self._graph.shapes[slot][0] is None for slot in self._graph.inputs)
        # Without tokens, all samples have the same reference.
        count = 1 if any_number and all(self._differentiable) else len(arrays[0])
        start = self._logits_of(self._reference_of([a[:count] for a in arrays]))
        neurons = None if target.kind == "all" else found["neurons"]
        ends = found["logits"], np.broadcast_to(start, found["logits"].shape)
        of_sample, of_reference = (explained_sum(end, neurons) for end in ends)
        sums = sum(m.reshape(len(m), -1).sum(1, dtype=np.float64) for m in found["maps"])
        largest = [abs(end.reshape(len(end), -1)).max(1) for end in ends]
        size = np.maximum(sum(largest), abs(of_sample) + abs(of_reference))
        self._warn_of_delta(sums - (of_sample - of_reference), size, found["logits"])

    def convergence_delta(
        self, x: Any, target: Any = None, *, neuron_selection: Any = None
    ) -> np.ndarray:
        """How far the sum of each map is from the difference of the logits (completeness).

        Args:
            x: As in `analyze`.
            target: As in `analyze`, but one class per sample.
            neuron_selection: As in `analyze`.

        Returns:
            An array of shape (batch,): sum of the map - (logit of the sample - logit of the reference).

        Raises:
            InputError: As in `analyze`.
        """
        self._warn_of_whole_numbers()
        arrays, _ = self._read(x)
        wanted = self._read_target(arrays, first_given(target, neuron_selection), None)
        refuse_several(wanted)
        if not len(arrays[0]):
            return np.zeros(0)
        if wanted.kind == "class" and self._graph.is_binary:
            of_logit = wanted.at(np.zeros(len(arrays[0]), np.int32))
            each = {k: self._of_class(k)._delta(arrays, of_logit) for k in (0, 1)}
            return chosen(wanted.index, each)
        return self._delta(arrays, wanted)

    def _delta(self, arrays: list[np.ndarray], target: Target) -> np.ndarray:
        found = self._explained(arrays, target)
        neurons = None if target.kind == "all" else found["neurons"]
        ends = found["logits"], self._logits_of(self._reference_of(arrays))
        at_sample, at_reference = (explained_sum(end, neurons) for end in ends)
        sums = sum(m.reshape(len(m), -1).sum(1, dtype=np.float64) for m in found["maps"])
        return sums - (at_sample - at_reference)
