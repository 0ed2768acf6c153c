"""A model as a list of nodes, and the properties that follow from its structure.

A *node* is one call of a layer or operation: a shared layer has several. A *slot* is the number of a
tensor. Nothing is computed here; the backends compute the tensors.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rap_keras.network import layer_types
from rap_keras.network.layer_types import activation_name, is_a
from rap_keras.network.node import Node, Shape, batch_axis

_ELEMENT_BY_ELEMENT = (
    layer_types.ACTIVATION
    | layer_types.ELEMENTWISE
    | layer_types.ADDITION
    | layer_types.MULTIPLICATION
    | layer_types.DIVISION
    | {"Reshape", "ExpandDims", "Squeeze", "BroadcastTo"}
)


@dataclass(frozen=True)
class Graph:
    """The nodes between a model's inputs and the output that is explained.

    Attributes:
        nodes: The nodes, in an order in which they can be computed.
        inputs: Slots of the model's inputs.
        input_names: Their names.
        output: Slot of the explained output: the logits.
        shapes: Static shape of each slot, batch axis first.
        images: Slots of the inputs whose values have bounds; by default those with spatial axes.
        booleans: Slots of boolean tensors.
        fused: Slot whose layer's own activation is left out: the softmax of a fused head.
        head: The head that is left out: "softmax" or "sigmoid".
        positions: The names of sums whose constant, a position embedding, takes a share of relevance,
            and the first and the number of the positions that do.
        read: Variables whose values are constants in the graph; all others are read when it runs.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    input_names: tuple[str, ...]
    output: int
    shapes: dict[int, Shape]
    images: frozenset[int]
    booleans: frozenset[int] = frozenset()
    fused: int | None = None
    head: str | None = None
    positions: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    read: tuple[Any, ...] = ()

    @property
    def is_binary(self) -> bool:
        """Whether the output is one number followed by a sigmoid: classes 0 and 1."""
        return self.head == "sigmoid" and self.shapes[self.output][1:] in ((), (1,))

    @cached_property
    def producers(self) -> dict[int, Node]:
        """The node that makes each slot; inputs have none."""
        return {slot: node for node in self.nodes for slot in node.outputs}

    @cached_property
    def consumers(self) -> dict[int, list[Node]]:
        """The nodes that take each slot."""
        taken: dict[int, list[Node]] = {}
        for node in self.nodes:
            for slot in node.inputs:
                taken.setdefault(slot, []).append(node)
        return taken

    @cached_property
    def bottlenecks(self) -> frozenset[int]:
        """The slots on every path from inputs and constants to the output."""
        last_use = {slot: k for k, node in enumerate(self.nodes) for slot in node.inputs}
        last_use[self.output] = len(self.nodes)
        alive = set(self.inputs) & last_use.keys()
        found = set(alive) if len(alive) == 1 else set()
        for k, node in enumerate(self.nodes):
            alive.update(node.outputs)
            alive = {slot for slot in alive if last_use.get(slot, -1) > k}
            if len(alive) == 1:
                found |= alive
        return frozenset(found)

    def all_pass(self, slots: Collection[int], inputs: Iterable[int]) -> bool:
        """Whether every path from some inputs to the output leads through one of the slots."""
        reached = set(inputs)
        for node in self.nodes:
            if not reached.isdisjoint(node.inputs):
                reached.update(set(node.outputs).difference(slots))
        return self.output not in reached

    def samples(self, node: Node) -> tuple[list[int], list[int]]:
        """The batch axes of a node's inputs and outputs."""
        inputs, outputs = (
            [batch_axis(self.shapes[slot]) or 0 for slot in slots]
            for slots in (node.inputs, node.outputs)
        )
        return inputs, outputs

    def ends_before_activation(self, node: Node) -> bool:
        """Whether a node's own activation comes after the logits and is not applied."""
        return self.fused in node.outputs

    def only_masks(self, node: Node) -> bool:
        """Whether a node makes, or is made from, only masks or constants."""
        made_of_none = self.constants.issuperset(node.outputs)
        return made_of_none or not node.inputs or self.booleans.issuperset(node.outputs)

    def crosses_samples(self, node: Node) -> bool:
        """Whether an operation mixes the samples of a batch, so that no sample has a separate map."""
        varying = [slot for slot in node.inputs if slot not in self.constants]
        if layer_types.is_layer(node.layer) or not varying:
            return False
        shape, result = self.shapes[varying[0]], self.shapes[node.outputs[0]]
        batch = batch_axis(shape)
        if batch is None or (shape[batch] is None and None not in result):
            return True
        axes = getattr(node.layer, "axis", None if batch else -1)
        if axes is None:
            return not batch and not is_a(node.layer, {"Squeeze"})
        axes = axes if isinstance(axes, list | tuple) else [axes]
        inserts = is_a(node.layer, {"ExpandDims", "Stack"})
        if is_a(node.layer, {"Tile"}):
            return len(node.layer.repeats) == len(shape) and node.layer.repeats[batch] != 1
        return not inserts and any(a % len(shape) == batch for a in axes if isinstance(a, int))

    def first_linear(self) -> set[str]:
        """Names of the kernel layers that no other kernel layer or embedding feeds."""
        return {n.name for n in self._reached(self.nodes, lambda n: n.inputs, lambda n: n.outputs)}

    def last_linear(self) -> set[str]:
        """Names of the kernel layers that feed no other: the first ones going back from the output."""
        back = reversed(self.nodes)
        return {n.name for n in self._reached(back, lambda n: n.outputs, lambda n: n.inputs)}

    @staticmethod
    def _reached(nodes: Any, before: Callable, after: Callable) -> Iterator[Node]:
        """The first kernel layers on every path, in the order of `nodes`."""
        passed: set[int] = set()
        for node in nodes:
            blocked = any(slot in passed for slot in before(node))
            linear = is_a(node.layer, layer_types.KERNEL)
            if linear and not blocked:
                yield node
            if blocked or linear or is_a(node.layer, layer_types.EMBEDDING):
                passed.update(after(node))

    @cached_property
    def _nonnegative(self) -> dict[int, bool]:
        known: dict[int, bool] = dict.fromkeys(self.inputs, False)
        for node in self.nodes:
            if self.ends_before_activation(node):
                sign = False
            elif activation_name(node.layer) in layer_types.NONNEGATIVE_ACTIVATIONS:
                sign = True
            else:
                sign = (
                    is_a(node.layer, layer_types.KEEPS_SIGN)
                    and not self._has_constant_operand(node)
                    and all(known[slot] for slot in node.inputs)
                )
            known.update(dict.fromkeys(node.outputs, sign))
        return known

    @staticmethod
    def _has_constant_operand(node: Node) -> bool:
        if layer_types.is_layer(node.layer):
            return False
        # Constants may be among several tensors.
        joins = layer_types.CONCATENATION | {"Stack", "Select"}
        merges = layer_types.ADDITION | layer_types.MULTIPLICATION | {"Maximum", "Minimum", "Where"}
        return is_a(node.layer, joins) or (len(node.inputs) < 2 and is_a(node.layer, merges))

    def nonnegative(self, node: Node) -> bool:
        """Whether all inputs of a node are known to be >= 0 because of the layers that make them."""
        return all(self._nonnegative[slot] for slot in node.inputs)

    def rectified(self, node: Node) -> bool:
        """Whether a ReLU, the node's own or one after it, cuts everything made from its output."""
        if self.ends_before_activation(node) or self.output in node.outputs:
            return False
        name = activation_name(node.layer)
        if name is not None:
            return name in layer_types.RELUS
        after = [user for slot in node.outputs for user in self.consumers.get(slot, [])]
        return all(
            is_a(user.layer, layer_types.ACTIVATION)
            and activation_name(user.layer) in layer_types.RELUS
            for user in after
        )

    def gates(self, node: Node) -> list[bool]:
        """For each input of a product, whether it is a gate.

        It is one if it is bounded, broadcast over another input, or made from the statistics of
        another.
        """
        return [
            self._bounded(slot)
            or statistic
            or any(self._broadcasts(slot, other) for other in node.inputs)
            for slot, statistic in zip(node.inputs, self.statistics(node), strict=True)
        ]

    def weights(self, node: Node) -> list[bool]:
        """For each input, whether it is bounded, as attention weights are."""
        return [self._bounded(slot) for slot in node.inputs]

    def statistics(self, node: Node) -> list[bool]:
        """For each input, whether it is a constant, or made only from statistics of another input.

        Models write normalizations this way: x - mean(x), x * rsqrt(variance(x) + epsilon) * gamma.
        """
        sources = [self._reduced(slot) for slot in node.inputs]
        others = [
            self._values_of(slot)
            for slot, reduced in zip(node.inputs, sources, strict=True)
            if not reduced
        ]
        return [
            slot in self.constants or any(reduced & values for values in others)
            for slot, reduced in zip(node.inputs, sources, strict=True)
        ]

    @cached_property
    def constants(self) -> frozenset[int]:
        """The slots that do not depend on an input of the model."""
        found: set[int] = set()
        for node in self.nodes:
            if found.issuperset(node.inputs) and found.issuperset(node.masks):
                found.update(node.outputs)
        return frozenset(found)

    def drops(self, node: Node) -> bool:
        """Whether relevance may arrive at constants: padding, or a constant that is joined."""
        if is_a(node.layer, layer_types.PADDING):
            return True
        constants = any(slot in self.constants for slot in node.inputs)
        return is_a(node.layer, layer_types.JOINS) and (
            constants or not layer_types.is_layer(node.layer)
        )

    def _reduced(self, slot: int) -> frozenset[int]:
        """The slots from whose statistics a slot is made; empty if it is made from anything else."""
        node = self.producers.get(slot)
        if node is None or not node.inputs:
            return frozenset()
        if is_a(node.layer, layer_types.STATISTICS) and len(node.inputs) == 1:
            return self._values_of(node.inputs[0])
        if not is_a(node.layer, _ELEMENT_BY_ELEMENT):
            return frozenset()
        parts = [self._reduced(s) for s in node.inputs]
        return frozenset().union(*parts) if all(parts) else frozenset()

    def _values_of(self, slot: int) -> frozenset[int]:
        """A slot and those that it is made from, element by element."""
        found, left = set(), [slot]
        while left:
            found.add(slot := left.pop())
            node = self.producers.get(slot)
            if node is not None and is_a(node.layer, _ELEMENT_BY_ELEMENT):
                left += set(node.inputs) - found
        return frozenset(found)

    def _bounded(self, slot: int) -> bool:
        node = self.producers.get(slot)
        if node is None:
            return False
        if activation_name(node.layer) in layer_types.BOUNDED_ACTIVATIONS:
            return True
        if not node.inputs:  # made only from a mask
            return True
        scaling = layer_types.MULTIPLICATION | layer_types.DIVISION
        passes = layer_types.ROUTING | layer_types.ELEMENTWISE
        if is_a(node.layer, passes) or (len(node.inputs) == 1 and is_a(node.layer, scaling)):
            return self._bounded(node.inputs[0])
        return False

    def _broadcasts(self, slot: int, other: int) -> bool:
        small, large = self.shapes[slot], self.shapes[other]
        if len(small) != len(large):
            return len(small) < len(large)
        return any(a == 1 != b for a, b in zip(small[1:], large[1:], strict=True))

    def has_box(self, slot: int) -> bool:
        """Whether bounds of the image can be propagated to a slot.

        They can if the layers in between are monotone, channel by channel.
        """
        node = self.producers.get(slot)
        if node is None:
            return slot in self.images
        if node.masks or not node.inputs:
            return False
        affine = layer_types.ADDITION | layer_types.MULTIPLICATION | layer_types.DIVISION
        monotone = is_a(node.layer, layer_types.MONOTONE) or (
            len(node.inputs) == 1 and is_a(node.layer, affine)
        )
        if node.starts_constant and is_a(node.layer, layer_types.DIVISION):
            return False
        return monotone and all(self.has_box(s) for s in node.inputs)
