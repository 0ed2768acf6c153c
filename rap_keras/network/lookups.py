"""Look-ups of table rows by index: embeddings, and `take` with tokens."""

import dataclasses
import math
from dataclasses import dataclass

from rap_keras import tensors as ops
from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import EMBEDDING, KERNEL, is_a, is_layer
from rap_keras.network.node import nodes_to


@dataclass(frozen=True)
class Lookup:
    """A look-up of rows, by the indices in a slot, in a table with a number of rows."""

    node: Node
    slot: int
    rows: int


def lookups(graph: Graph) -> list[Lookup]:
    """The look-ups of a graph in tables with a known number of rows."""
    found = (_lookup(graph, node) for node in graph.nodes if node.inputs)
    return [lookup for lookup in found if lookup is not None]


def lookups_by_inputs(graph: Graph) -> list[tuple[Lookup, Graph]]:
    """Each look-up by indices that come from the inputs, with the part of the graph that makes them.

    Indices computed by kernel layers, such as those of a codebook, are not checked.
    """
    parts = ((lookup, pruned(graph, lookup.slot)) for lookup in lookups(graph))
    return [
        (lookup, part)
        for lookup, part in parts
        if not any(is_a(node.layer, KERNEL) for node in part.nodes)
    ]


def _lookup(graph: Graph, node: Node) -> Lookup | None:
    layer = node.layer
    if is_a(layer, EMBEDDING):
        return Lookup(node, node.inputs[0], layer.input_dim)
    if not is_a(layer, {"Take"}) or is_layer(layer):
        return None
    specs = [ops.Spec([n or 1 for n in graph.shapes[slot]]) for slot in node.inputs]
    table, numbers = node.call.operands(specs)[:2]
    places = {id(spec): slot for spec, slot in zip(specs, node.inputs, strict=True)}
    if id(numbers) not in places:
        return None
    shape = graph.shapes[places[id(table)]] if id(table) in places else tuple(table.shape)
    sizes = shape if layer.axis is None else (shape[layer.axis],)
    if None in sizes:
        return None
    return Lookup(node, places[id(numbers)], math.prod(int(n or 0) for n in sizes))


def pruned(graph: Graph, output: int) -> Graph:
    """The part of a graph that leads to a slot."""
    return dataclasses.replace(graph, nodes=nodes_to(output, graph.nodes), output=output)


def leading_to(graph: Graph, slot: int) -> set[int]:
    """The slots of the inputs that lead to a slot."""
    taken = {s for node in nodes_to(slot, graph.nodes) for s in node.inputs + node.masks}
    return {slot, *taken}.intersection(graph.inputs)
