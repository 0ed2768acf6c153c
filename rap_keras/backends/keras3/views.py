"""Views of an opened model whose functions take more arrays than the model."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from rap_keras import tensors as ops
from rap_keras.backends.keras3.network import Keras3Network
from rap_keras.backends.network import Run
from rap_keras.composites.composite import Composite
from rap_keras.composites.routing import ROUTING
from rap_keras.errors import UnknownLayerError
from rap_keras.inputs.batches import as_batches
from rap_keras.inputs.samples import Pack, refuse_unknown_tokens
from rap_keras.network.graph import Graph
from rap_keras.network.layer_types import EMBEDDING, is_a
from rap_keras.network.lookups import Lookup, leading_to, lookups_by_inputs, pruned
from rap_keras.network.node import nodes_to
from rap_keras.propagate import backward, forward, logits_of

MOST = 64  # samples at a time


class FurtherInputs(Keras3Network):
    """A view whose functions take further arrays after the model's inputs."""

    def __init__(self, network: Keras3Network, further: Sequence[ops.Spec]) -> None:
        known = [entry for cls in type(network).__mro__ for entry in vars(cls).items()]
        computed = {name for name, value in known if isinstance(value, cached_property)}
        vars(self).update({k: v for k, v in vars(network).items() if k not in computed})
        self._network = network
        self._further = list(further)

    @property
    def inputs(self) -> list[ops.Spec]:
        """Shapes and dtypes of the inputs and of the further arrays."""
        return [*self._network.inputs, *self._further]

    def check(self, sample: Sequence[np.ndarray]) -> None:
        """Checks the inputs of the model, like `Keras3Network.check`."""
        self._network.check(sample[: len(self._network.inputs)])

    def _takes(self, sample: Sequence[np.ndarray]) -> bool:
        return self._network._takes(sample[: len(self._network.inputs)])


class TokenVectors(FurtherInputs):
    """A view whose functions also take the vectors of tokens, by which they can be differentiated.

    The graph begins after the embeddings: the vectors are inputs. Tokens stay inputs, too, because
    masks may be made from them; `tokens` has their slots. `read` adds the vectors, and packs the maps
    of vectors as maps of tokens: summed over the vector.
    """

    @staticmethod
    def of(network: Keras3Network) -> Keras3Network:
        """The view of a model; the model itself if it has no embeddings of inputs."""
        found = [
            (lookup, part)
            for lookup, part in lookups_by_inputs(network.graph)
            if lookup.slot not in network.graph.constants and _is_embedding(network.graph, lookup)
            if _routing(part) is not None
        ]
        return TokenVectors(network, found) if found else network

    def __init__(self, network: Keras3Network, found: Sequence[tuple[Lookup, Graph]]) -> None:
        graph = network.graph
        nodes = [lookup.node for lookup, _ in found]
        slots = [node.outputs[0] for node in nodes]
        specs = [
            ops.Spec([None, *graph.shapes[slot][1:]], _dtype(graph, node))
            for node, slot in zip(nodes, slots, strict=True)
        ]
        super().__init__(network, specs)
        self._found = found
        self.tokens = set().union(*(leading_to(graph, lookup.slot) for lookup, _ in found))
        kept = [node for node in graph.nodes if not any(node is one for one in nodes)]
        self.graph = dataclasses.replace(
            graph,
            nodes=nodes_to(graph.output, kept),
            inputs=(*graph.inputs, *slots),
            input_names=(*graph.input_names, *(node.name for node in nodes)),
        )
        parts = [pruned(graph, slot) for slot in slots]
        self._vectors = network.compiled(lambda inputs: [logits_of(part, inputs) for part in parts])

    @property
    def names(self) -> list[str]:
        """The names of the model's inputs."""
        return self._network.names

    def read(self, x: Any, check_finite: bool = True) -> tuple[list[np.ndarray], Pack]:
        """The inputs and the vectors of the tokens, and a function that packs maps of the inputs."""
        arrays, pack = self._network.read(x, check_finite)
        return self.with_vectors(arrays), lambda maps: pack(self.of_tokens(arrays, maps))

    def with_vectors(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The inputs and the vectors of their tokens."""
        if len(arrays[0]):
            return [*arrays, *self._in_parts(self._vectors, arrays)]
        shapes = [[0, *(n or 0 for n in spec.shape[1:])] for spec in self._further]
        pairs = zip(shapes, self._further, strict=True)
        return [*arrays, *(np.zeros(shape, ops.numpy_dtype(s.dtype)) for shape, s in pairs)]

    def refuse_unknown(self, arrays: Sequence[np.ndarray]) -> None:
        """Raises an error for tokens that an embedding does not have, in arrays of any shape."""
        refuse_unknown_tokens(self._network.graph, arrays, self._counts_from_end)

    def of_tokens(
        self, arrays: Sequence[np.ndarray], maps: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """The maps of the inputs, to which those of vectors are added; also of k classes."""
        count = len(self._network.inputs)
        result = [np.array(m) for m in maps[:count]]
        for (lookup, part), spec, of_vectors in zip(
            self._found, self._further, maps[count:], strict=True
        ):
            summed = of_vectors.sum(-1)
            several = of_vectors.ndim > len(spec.shape)
            for k in range(summed.shape[1] if several else 1):
                at = (slice(None), k) if several else ()
                if not part.nodes:  # the index is an input
                    result[self.graph.inputs.index(lookup.slot)][at] += summed[at]
                elif len(arrays[0]):
                    routed = self._in_parts(self._routes[lookup.node.name], arrays, summed[at])
                    for whole, share in zip(result, routed, strict=True):
                        whole[at] += share
        return result

    def _in_parts(
        self, run: Run, arrays: Sequence[np.ndarray], *others: np.ndarray
    ) -> list[np.ndarray]:
        """The results for all samples, from parts of sizes that programs are compiled for."""
        sizes = self.part_sizes(jit_compile=False)
        parts = [
            run([a[chunk] for a in arrays], *(a[chunk] for a in others))
            for chunk in as_batches(len(arrays[0]), self._fixed_size() or MOST, sizes)
        ]
        return [np.concatenate(several) for several in zip(*parts, strict=True)]

    @cached_property
    def _routes(self) -> dict[str, Run]:
        """From inputs and the relevance of an embedding's indices to that of the inputs."""

        def route(part: Graph) -> Callable[..., Any]:
            def routed(inputs: list[ops.Tensor], relevance: ops.Tensor) -> list[ops.Tensor]:
                _, records = forward(part, inputs)
                rows = Composite(ROUTING).assign(part).rows
                found, _ = backward(part, rows, records, {}, {part.output: relevance})
                return [
                    found.get(slot, ops.zeros_like(x, dtype="float32"))
                    for slot, x in zip(part.inputs, inputs, strict=True)
                ]

            return routed

        return {
            lookup.node.name: self._network.compiled(
                route(part), ops.Spec([None] * len(part.shapes[part.output]))
            )
            for lookup, part in self._found
            if part.nodes
        }


def _is_embedding(graph: Graph, lookup: Lookup) -> bool:
    """Whether a look-up gives each index a vector of weights."""
    node = lookup.node
    if is_a(node.layer, EMBEDDING):
        return True
    vectors, indices = graph.shapes[node.outputs[0]], graph.shapes[lookup.slot]
    tables = [slot for slot in node.inputs if slot != lookup.slot]
    return (
        len(vectors) == len(indices) + 1
        and node.layer.axis == 0
        and graph.constants.issuperset(tables)
        and ops.is_floating(_dtype(graph, node))
    )


def _dtype(graph: Graph, node: Any) -> Any:
    """The dtype of the vectors of an embedding."""
    if is_a(node.layer, EMBEDDING):
        return node.layer.compute_dtype
    specs = [ops.Spec([n or 1 for n in graph.shapes[slot]]) for slot in node.inputs]
    return ops.dtype_name(node.call.operands(specs)[0].dtype)


def _routing(part: Graph) -> Any:
    """The rules from the indices of an embedding back to the inputs; None if there are none."""
    try:
        return Composite(ROUTING).assign(part)
    except UnknownLayerError:
        return None
