"""Graphs whose output is negated, or reduced by a reference value."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rap_keras import tensors as ops
from rap_keras.errors import InputError
from rap_keras.network import layer_types as types
from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import activation_name, is_a
from rap_keras.network.node import Call, nodes_to

# The identity at inference.
_IDENTITY = {
    *("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "ActivityRegularization"),
    *("Identity", "Cast", "StopGradient", "Copy", "Array", "ConvertToTensor", "Negative"),
} | {f"SpatialDropout{rank}D" for rank in (1, 2, 3)}
# f(-x) = -f(x), with a relevance rule that holds for both signs.
_ODD = types.ROUTING | types.AVERAGING | _IDENTITY
_MEANS = {"Mean"} | {f"GlobalAveragePooling{rank}D" for rank in (1, 2, 3)}
# Relevance passes through these whatever the sign of a value.
_PASSES = types.ELEMENTWISE | types.WINNER | types.BATCH_NORMALIZATION


class Negative:
    """Negates a tensor. It has the name of a Keras operation, by which rules find it."""

    name = "negative"
    axis = ()  # it has no axis


class _Negate(Call):
    """Calls `Negative`."""

    def __call__(
        self, inputs: Sequence[Any], masks: Sequence[Any] = (), as_is: bool = False
    ) -> list[Any]:
        return [ops.negative(inputs[0])]


def negated(graph: Graph, kernels: bool = True) -> Graph:
    """A graph with the same inputs and the negated output.

    The kernel layers that feed the output get negated kernels and biases if only sums, averages, maxima
    and layers that move or scale values follow them. Rules that separate positive from negative
    contributions then use the contributions to the negated output. If other operations follow (products
    of tensors, activations), and with `kernels=False`, the sign changes there, and relevance starts
    there as it would at the output. Nodes keep their names; nodes that negate are `Negative`.
    """
    walk = _Walk(graph)
    turned = walk.turned(graph.output) if kernels else None
    output = walk.negative(graph.output) if turned is None else turned
    return walk.finished(output)


def lowered(graph: Graph, by: float) -> Graph | None:
    """The graph with an output that is lower by a number, subtracted from the last kernel layer's bias.

    None if anything except averages and layers that only move values follows that layer.
    """
    slot = graph.output
    while (node := graph.producers.get(slot)) is not None:
        linear = activation_name(node.layer) is None or graph.ends_before_activation(node)
        if linear and is_a(node.layer, types.KERNEL):
            nodes = [
                dataclasses.replace(n, lowered=n.lowered + by) if n is node else n
                for n in graph.nodes
            ]
            return dataclasses.replace(graph, nodes=tuple(nodes))
        moves = is_a(node.layer, types.ROUTING | _IDENTITY - {"Negative"} | _MEANS | {"Activation"})
        if not linear or not moves or len(node.inputs) != 1:
            return None
        (slot,) = node.inputs
    return None


def less_reference(graph: Graph, reference: float) -> Graph:
    """The graph of a regression with its output reduced by a reference value; unchanged if that is 0.

    Raises:
        InputError: The output is not a single number without a head, or no kernel layer computes it.
    """
    if not reference:
        return graph
    shape = graph.shapes[graph.output][1:]
    if shape not in ((), (1,)) or graph.head is not None:
        what = f"of shape {tuple(shape)}" + (f" with a {graph.head}" if graph.head else "")
        raise InputError(
            "Expected a regression, whose output is one number without a sigmoid, for "
            f"reference_output, got an output {what}: leave reference_output out.",
            "reference_output",
        )
    found = lowered(graph, reference)
    if found is None:
        raise InputError(
            "Expected a model that ends in a layer with weights, such as Dense, for reference_output, "
            "which changes its bias, got one that ends otherwise: leave reference_output out.",
            "reference_output",
        )
    return found


class _Walk:
    """Makes the nodes of a negated graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._shapes = dict(graph.shapes)
        self._fused = graph.fused
        self._nodes: list[Node] = list(graph.nodes)
        self._made: dict[int, int | None] = {}

    def turned(self, slot: int) -> int | None:
        """The slot of a tensor negated by negated kernels; None if there are none."""
        if slot not in self._made:
            self._made[slot] = self._turned(slot)
        return self._made[slot]

    def _turned(self, slot: int) -> int | None:
        node = self._graph.producers.get(slot)
        if node is None or len(node.outputs) != 1:
            return None
        linear = activation_name(node.layer) is None or self._graph.ends_before_activation(node)
        if is_a(node.layer, types.KERNEL):
            changed = dataclasses.replace(node, negated=not node.negated)
            return self._copied(changed, node.inputs) if linear else None
        if not linear:
            return None
        sums = is_a(node.layer, types.ADDITION)
        scales = len(node.inputs) == 1 and (
            is_a(node.layer, types.MULTIPLICATION)
            or (is_a(node.layer, types.DIVISION) and not node.starts_constant)
        )
        constants = bool(node.call.constants()) or len(node.inputs) == 1
        odd = is_a(node.layer, _ODD | {"Activation"}) or (sums and not constants)
        odd = odd or scales
        if not odd and not is_a(node.layer, _PASSES) and not sums:
            return None
        inputs = [self.turned(s) for s in node.inputs]
        if not any(i is not None for i in inputs):
            return None
        whole = [
            self.negative(s) if i is None else i for s, i in zip(node.inputs, inputs, strict=True)
        ]
        if odd:
            return self._copied(node, whole)
        # Negated back before the layer, and again after it.
        return self.negative(self._copied(node, [self.negative(s) for s in whole]))

    def negative(self, slot: int) -> int:
        """The slot of a tensor negated by a separate node."""
        made = self._new_slot(slot)
        self._nodes.append(Node(Negative(), f"negative:{made}", (slot,), (), (made,), _Negate()))
        return made

    def _copied(self, node: Node, inputs: Sequence[int]) -> int:
        """The slot of a node's output for other inputs."""
        made = self._new_slot(node.outputs[0])
        if self._graph.ends_before_activation(node):
            self._fused = made
        self._nodes.append(dataclasses.replace(node, inputs=tuple(inputs), outputs=(made,)))
        return made

    def _new_slot(self, like: int) -> int:
        slot = max(self._shapes) + 1
        self._shapes[slot] = self._shapes[like]
        return slot

    def finished(self, output: int) -> Graph:
        """The graph up to an output."""
        nodes: dict[str, Node] = {}
        for node in nodes_to(output, self._nodes):
            # A layer whose output is also used unchanged appears twice.
            name = f"{node.name}:negated" if node.name in nodes else node.name
            nodes[name] = dataclasses.replace(node, name=name)
        return dataclasses.replace(
            self._graph,
            nodes=tuple(nodes.values()),
            output=output,
            shapes=self._shapes,
            fused=self._fused,
            head=None,
        )
