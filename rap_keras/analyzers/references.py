"""What methods share that explain the way from a reference to a sample."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rap_keras.analyzers.base import Analyzer
from rap_keras.analyzers.binary import chosen
from rap_keras.analyzers.explanation import explained_sum
from rap_keras.errors import InputError
from rap_keras.network.graph import Shape


def read_references(given: Any, shapes: Sequence[Shape]) -> list[np.ndarray]:
    """References, float64, that broadcast to samples of these shapes, without the batch axis.

    Raises:
        InputError: They do not, or are not finite.
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
            f"{given!r}."
        )
    return references


class ReferenceAnalyzer(Analyzer):
    """An analyzer with the option `reference_inputs`, whose maps sum to a difference of logits."""

    _references: list[np.ndarray]

    def _use_references(self, given: Any) -> None:
        shapes = [self._graph.shapes[slot][1:] for slot in self._graph.inputs]
        self.reference_inputs = given
        self._references = read_references(given, shapes)

    def options(self) -> dict[str, Any]:
        """The options that make this analyzer again, as JSON knows them."""
        references = [r.tolist() for r in self._references]
        told = references if len(references) > 1 else references[0]
        return super().options() | {"reference_inputs": told}

    def convergence_delta(self, x: Any, neuron_selection: Any = None) -> np.ndarray:
        """How far the sum of each map is from the difference of the logits (completeness).

        Args:
            x: As in `analyze`.
            neuron_selection: As in `analyze`.

        Returns:
            np.ndarray of shape (batch,): sum of the map - (logit of the sample - of the reference).

        Raises:
            InputError: As in `analyze`.
        """
        arrays, _ = self._read(x)
        if self._explains_classes(neuron_selection):
            classes = self._read_classes(neuron_selection, len(arrays[0]))
            each = {k: self._of_class(k)._delta(arrays, 0) for k in (0, 1)}
            return chosen(classes, each)
        return self._delta(arrays, neuron_selection)

    def _delta(self, arrays: list[np.ndarray], neuron_selection: Any) -> np.ndarray:
        at_samples = self._explained(arrays, neuron_selection)
        references = [
            np.broadcast_to(r, a.shape).astype(a.dtype)
            for a, r in zip(arrays, self._references, strict=True)
        ]
        at_references = self._batched("logits", self._selecting, references, neuron_selection)
        if at_references is None:
            return np.zeros(0)
        neurons = None if self._explains_all(neuron_selection) else at_samples["neurons"]
        ends = [explained_sum(end["logits"], neurons) for end in (at_samples, at_references)]
        sums = sum(m.reshape(len(m), -1).sum(1, dtype=np.float64) for m in at_samples["maps"])
        return sums - (ends[0] - ends[1])
