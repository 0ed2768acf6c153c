"""The two classes of a model with one sigmoid output."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rap_keras.analyzers.batching import Batches
from rap_keras.errors import InputError
from rap_keras.inputs.target import Target, classes
from rap_keras.network.graph import Graph
from rap_keras.network.negation import negated

CLASSES = (2,)
"""The output shape of an equivalent model with one output per class."""


class BinaryAnalyzer:
    """The part of an analyzer that treats such models: class 1 has the logit z, class 0 the logit -z.

    The map of class 0 is that of a model whose last kernel layer has its kernel and bias negated.
    """

    _graph: Graph
    _batches: Batches
    _negates_kernels = True
    _sign = 1
    _other: Any = None

    def _of_class(self, which: int) -> Any:
        """The analyzer of a class, whose only logit is that of the class."""
        if which:
            return self
        if self._other is None:
            other: Any = object.__new__(type(self))
            vars(other).update(vars(self))
            other._batches = self._batches.empty()
            other._graph = negated(self._graph, self._negates_kernels)
            other._sign = -1
            other._use_graph()
            self._other = other
        return self._other

    def _use_graph(self) -> None:
        """Rebuilds everything that depends on the graph."""

    def _explained_classes(self, arrays: list[np.ndarray], target: Target) -> dict[str, Any]:
        """Like `Analyzer._explained`, but class by class for a model with one sigmoid output."""
        this: Any = self
        if not self._graph.is_binary or target.kind in ("all", "region"):
            return this._explained(arrays, target)
        if target.kind == "largest":
            found = this._explained(arrays, target)
            return found | {"neurons": np.ones(len(arrays[0]), np.int32)}
        of_logit = classes(np.zeros(len(arrays[0])))
        present = _present(target.index)
        each = {k: self._of_class(k)._explained(arrays, of_logit) for k in present}
        maps = [
            chosen(target.index, {k: one["maps"][part] for k, one in each.items()})
            for part in range(len(arrays))
        ]
        some = present[0]
        logits = each[some]["logits"]
        return {"maps": maps, "logits": logits if some else -logits, "neurons": target.index}

    def _of_one_class(self, index: np.ndarray) -> Any:
        """The analyzer of the class of all samples, which must be the same."""
        present = _present(index)
        if len(present) > 1:
            raise InputError(
                "Expected one class for all samples here, got both: choose 0 or 1, or use analyze or "
                "explain.",
                "target",
            )
        return self._of_class(present[0])


def _present(index: np.ndarray) -> list[int]:
    return np.unique(index).tolist() or [1]


def chosen(index: np.ndarray, parts: Mapping[int, np.ndarray]) -> np.ndarray:
    """For each sample, the part of its class, or of its k classes, `(batch, k, ...)`."""
    several = index.ndim == 2
    wide = {k: np.expand_dims(part, 1) if several else part for k, part in parts.items()}
    if len(wide) == 1:
        (part,) = wide.values()
        return np.repeat(part, index.shape[1], 1) if several else part
    which = index.reshape(*index.shape, *[1] * (wide[1].ndim - (2 if several else 1)))
    return np.where(which == 1, wide[1], wide[0])
