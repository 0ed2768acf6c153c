"""The base class of gradient methods; tokens are differentiated through their embedding."""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import keras
import numpy as np

from rap_keras import tensors as ops
from rap_keras.analyzers.base import Analyzer
from rap_keras.backends.keras3.network import Keras3Network, open_output
from rap_keras.backends.keras3.views import TokenVectors
from rap_keras.errors import InputError
from rap_keras.inputs.samples import as_dtype
from rap_keras.network.graph import Graph, Node, Shape
from rap_keras.network.layer_types import EMBEDDING, is_a
from rap_keras.network.lookups import leading_to, lookups_by_inputs
from rap_keras.support.warn import warn

# Layers and operations that turn numbers into the index of a row, a position or a class.
_COUNTING = EMBEDDING | {
    *("Argmax", "Argmin", "Argsort", "OneHot", "Bincount", "Digitize", "SearchSorted"),
    *("CategoryEncoding", "Discretization", "Hashing", "HashedCrossing", "IntegerLookup"),
}


class DifferentiatingAnalyzer(Analyzer):
    """An analyzer that uses gradients.

    Tokens are explained through their embedding: methods work with the vectors, and a token gets the
    sum over its vector. Other integer and boolean inputs get zeros. They keep their values when a
    method changes its inputs.
    """

    _distributes = False

    def __init__(self, model: keras.Model | Keras3Network, *arguments: Any, **options: Any) -> None:
        network = TokenVectors.of(open_output(model, options.get("output")))
        super().__init__(network, *arguments, **options)

    def _check_call(self, x: Any) -> None:
        """Warns about inputs without a derivative. It is an error if none has one."""
        taken = {slot for node in self._graph.nodes for slot in node.inputs + node.masks}
        taken -= self._tokens
        without = [repr(name) for slot, name, has in self._named() if not has and slot in taken]
        if without:
            verb = "contains" if len(without) == 1 else "contain"
            inputs = f"{', '.join(without)} {verb} whole numbers"
            other = 'methods that propagate relevance, such as "rap", explain'
            if not any(self._differentiable):
                raise InputError(
                    f"Expected a model with an input that {self.name!r} can differentiate, but "
                    f"{inputs} that no embedding looks up, which have no derivative: {other} them."
                )
            warn(
                f"{self.name!r} gives zeros to inputs without a derivative: {inputs} that no embedding "
                f"looks up; {other} them."
            )
        both = [repr(name) for slot, name, has in self._named() if has and slot in self._choosing]
        if both:
            warn(
                f"{self.name!r} uses derivatives, but some values of {', '.join(both)} choose rows of "
                "an embedding, as tokens do, and have none: give them a separate input, or use a "
                'method that propagates relevance, such as "rap".'
            )

    def _read_samples(
        self, option: str, given: Any, read: Callable[[Any, list[Shape]], list[np.ndarray]]
    ) -> list[np.ndarray]:
        """The arrays of an option, one for each of the model's own inputs, whose dtypes they fit."""
        specs = self._network.own_inputs
        shapes = [self._graph.shapes[slot][1:] for slot in self._graph.inputs[: len(specs)]]
        arrays = read(given, shapes)
        for array, spec, slot in zip(arrays, specs, self._graph.inputs, strict=False):
            if ops.is_floating(spec.dtype) or slot in self._tokens:
                as_dtype(array, spec.dtype, option)
        return arrays

    @property
    def _tokens(self) -> set[int]:
        """The slots of the inputs that are explained through their embedding."""
        return self._network.tokens if isinstance(self._network, TokenVectors) else set()

    def _named(self) -> Iterable[tuple[int, str, bool]]:
        """The inputs' slots and names, and whether the output can be differentiated by them."""
        return zip(self._graph.inputs, self._graph.input_names, self._differentiable, strict=True)

    @cached_property
    def _choosing(self) -> set[int]:
        """The slots of the inputs some of whose values choose rows of an embedding."""
        found = lookups_by_inputs(self._graph)
        return set().union(*(leading_to(self._graph, lookup.slot) for lookup, _ in found))

    @cached_property
    def _differentiable(self) -> list[bool]:
        """For each input, whether the output can be differentiated by it."""
        reached = _reached(self._graph)
        return [
            slot in reached and ops.is_floating(spec.dtype)
            for slot, spec in zip(self._graph.inputs, self._network.inputs, strict=True)
        ]

    def _varied(self, changed: list[np.ndarray], sample: list[np.ndarray]) -> list[np.ndarray]:
        """The changed inputs where there is a derivative, the sample's inputs elsewhere."""
        parts = zip(changed, sample, self._differentiable, strict=True)
        return [new if has else x for new, x, has in parts]


def _reached(graph: Graph) -> set[int]:
    """The slots that the output is differentiable with respect to."""
    found = {graph.output}
    for node in reversed(graph.nodes):
        if found.intersection(node.outputs) and not _counts(node):
            found.update(node.inputs)
    return found


def _counts(node: Node) -> bool:
    dtype = getattr(node.layer, "dtype", "float32") if is_a(node.layer, {"Cast"}) else "float32"
    return is_a(node.layer, _COUNTING) or not ops.is_floating(dtype)
