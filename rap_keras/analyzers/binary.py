"""The two classes of a model whose output is one number with a sigmoid."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from rap_keras.errors import InputError
from rap_keras.inputs.neurons import is_region, read_selection
from rap_keras.network.graph import Graph
from rap_keras.network.turning import negated

CLASSES = (2,)
"""The output shape of a model with one neuron per class."""


class BinaryAnalyzer:
    """The part of an analyzer for such models: class 1 has the logit z, class 0 the logit -z.

    The map of class 0 is that of a model whose last kernel layer has its kernel and bias negated.
    """

    neuron_selection_mode: str
    _graph: Graph
    _functions: dict[Any, Any]
    _negates_kernels = True
    _sign = 1
    _first: int
    _other: Any = None

    def _explains_classes(self, selection: Any) -> bool:
        """Whether a selection names classes 0 and 1."""
        told = self.neuron_selection_mode == "index" and selection is not None
        return told and self._graph.is_binary and not is_region(selection)

    def neuron_of_output(self, size: int) -> np.ndarray:
        """The selection of a single output itself, for `size` samples."""
        return np.full(size, int(self._graph.is_binary), np.int32)

    def _of_class(self, which: int) -> Any:
        """The analyzer of a class, whose neuron 0 is its logit."""
        if which:
            return self
        if self._other is None:
            other = copy.copy(self)
            other._functions = {}
            other._graph = negated(self._graph, self._negates_kernels)
            other._sign = -1
            other._use_graph()
            self._other = other
        self._other._first = self._first
        return self._other

    def _use_graph(self) -> None:
        """Rebuilds what depends on the graph."""

    def _explained_classes(self, arrays: list[np.ndarray], selection: Any) -> dict[str, Any]:
        """As `Analyzer._explained`, for the class or the k classes of each sample."""
        classes = self._read_classes(selection, len(arrays[0]))
        found = {k: self._of_class(k)._explained(arrays, 0) for k in _present(classes)}
        some = next(iter(found))
        maps = [
            chosen(classes, {k: one["maps"][part] for k, one in found.items()})
            for part in range(len(arrays))
        ]
        logits = found[some]["logits"]
        return {"maps": maps, "logits": logits if some else -logits, "neurons": classes}

    def _read_classes(self, selection: Any, size: int) -> np.ndarray:
        return read_selection(selection, self.neuron_selection_mode, size, CLASSES)

    def _of_one_class(self, selection: Any, size: int) -> Any:
        """The analyzer of the one class of all samples.

        Raises:
            InputError: The samples have both classes.
        """
        present = _present(self._read_classes(selection, size))
        if len(present) > 1:
            raise InputError(
                "Expected one class for all samples here, got both: choose 0 or 1, or use analyze or "
                "explain.",
                "neuron_selection",
            )
        return self._of_class(present[0])


def _present(classes: np.ndarray) -> list[int]:
    return np.unique(classes).tolist() or [1]


def chosen(classes: np.ndarray, parts: Mapping[int, np.ndarray]) -> np.ndarray:
    """For each sample the part of its class, or of its k classes, `(batch, k, ...)`."""
    several = classes.ndim == 2
    wide = {k: np.expand_dims(part, 1) if several else part for k, part in parts.items()}
    if len(wide) == 1:
        (part,) = wide.values()
        return np.repeat(part, classes.shape[1], 1) if several else part
    which = classes.reshape(*classes.shape, *[1] * (wide[1].ndim - (2 if several else 1)))
    return np.where(which == 1, wide[1], wide[0])
