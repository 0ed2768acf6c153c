"""Where relevance starts and how rules propagate it; used by both backends."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from rap_keras import tensors as ops
from rap_keras.composites.composite import Composite, RuleTable
from rap_keras.inputs.bounds import Bounds, boxes
from rap_keras.inputs.contrast import Contrast
from rap_keras.inputs.target import Target
from rap_keras.network.graph import Graph, Node
from rap_keras.propagate import Record, backward, compute, forward, relevance_dtype, share
from rap_keras.rules import facts_of

Start = Callable[[ops.Tensor, ops.Tensor], ops.Tensor]
Steps = Sequence[tuple[Node, list[ops.Tensor], list[ops.Tensor]]]


class Propagation:
    """A graph with a rule for each node.

    Args:
        graph: The graph, from the inputs to the logits.
        composite: The rule of each layer.
        bounds: Bounds of the inputs for rules that need them; None: the bounds of each image.

    Attributes:
        graph: The graph.
        table: The rule of each node.

    Raises:
        UnknownLayerError: A layer has no rule.
    """

    def __init__(self, graph: Graph, composite: Composite, bounds: Bounds | None = None) -> None:
        if bounds is not None:
            graph = dataclasses.replace(graph, images=frozenset(graph.inputs))
        self.graph = graph
        self.table: RuleTable = composite.assign(graph)
        self._bounds = bounds
        self._rules = {node.name: rule for node, rule in self.table.rows}

    def forward(self, inputs: Sequence[ops.Tensor]) -> tuple[ops.Tensor, list[Record]]:
        """The logits, and the record of each node."""
        logits, records = forward(self.graph, inputs)
        return ops.cast(logits, relevance_dtype(logits.dtype)), records

    def backward(
        self, records: Sequence[Record], inputs: Sequence[ops.Tensor], start: ops.Tensor
    ) -> tuple[Mapping[int, ops.Tensor], Steps]:
        """The relevance of every slot and of each node, from the relevance of the logits."""
        return self.between(records, inputs, {self.graph.output: start})

    def between(
        self,
        records: Sequence[Record],
        inputs: Sequence[ops.Tensor],
        relevance: Mapping[int, ops.Tensor],
        start: Node | None = None,
        end: Node | None = None,
    ) -> tuple[Mapping[int, ops.Tensor], Steps]:
        """The relevance of the slots and nodes of a part of the graph.

        Args:
            records: The records of the forward pass.
            inputs: The inputs of the graph.
            relevance: The relevance to start from, by slot.
            start: The node at whose outputs it starts; None: the logits.
            end: The node at whose outputs it ends; None: the inputs.
        """
        names = [node.name for node, _ in self.table.rows]
        last = len(names) if start is None else names.index(start.name) + 1
        first = 0 if end is None else names.index(end.name) + 1
        rows, box = self.table.rows[first:last], boxes(self.graph, inputs, self._bounds)
        return backward(self.graph, rows, records[first:last], box, relevance)

    def share(self, node: Node, tensors: Sequence[ops.Tensor]) -> list[ops.Tensor]:
        """The relevance of a node's inputs.

        Args:
            node: The node.
            tensors: Its inputs, the relevance of its outputs and, if the rule `takes_box`, the inputs
                of the graph.
        """
        n, m = len(node.inputs), len(node.outputs)
        xs, relevances, inputs = tensors[:n], tensors[n : n + m], tensors[n + m :]
        _, record = compute(self.graph, node, xs)
        box = boxes(self.graph, inputs, self._bounds) if inputs else {}
        relevances = [ops.cast(r, relevance_dtype(r.dtype)) for r in relevances]
        rule = self._rules[node.name]
        assert rule is not None  # Composite.assign raises an error otherwise
        return share(self.graph, record, rule, box, relevances)

    def takes_box(self, node: Node) -> bool:
        """Whether a node's rule needs the bounds of its input."""
        rule = self._rules[node.name]
        return rule is not None and "box" in facts_of(rule, {"box"})


def started(logits: ops.Tensor, target: Target, start: Start) -> ops.Tensor:
    """The relevance of the logits.

    Args:
        logits: The logits; the last axis is that of classes.
        target: What is explained, and what it is compared with.
        start: The relevance without contrast: a function of the logits and of 1 at the explained
            neurons, 0 elsewhere.
    """
    selected = select(logits, target)
    return contrasted(start(logits, selected), logits, selected, target.contrast)


def only_selected(logits: ops.Tensor, selected: ops.Tensor) -> ops.Tensor:
    """The start of gradients: 1 at the explained neurons, 0 elsewhere."""
    return selected


def select(logits: ops.Tensor, target: Target) -> ops.Tensor:
    """1 at the neurons that are explained, 0 elsewhere; the shape of the logits."""
    if target.kind == "region":
        return ops.where(target.index, ops.ones_like(logits), ops.zeros_like(logits))
    if target.kind == "all" or len(logits.shape) == 1:
        return ops.ones_like(logits)
    neurons = target.index
    if target.kind == "largest":
        neurons = ops.argmax(logits, -1)
    return ops.one_hot(neurons, ops.shape(logits)[-1], dtype=logits.dtype)


def contrasted(
    start: ops.Tensor, logits: ops.Tensor, selected: ops.Tensor, contrast: Contrast
) -> ops.Tensor:
    """The explained neurons against the others at the same position: |s_c| e_c - sum_k |s_c| w_k e_k.

    Args:
        start: The relevance s of the selected logits, 0 elsewhere; the last axis is that of classes.
        logits: The logits.
        selected: 1 at the selected neurons, 0 elsewhere.
        contrast: How the others are weighted. "softmax": by their probabilities among themselves.
            "uniform": equally. Class numbers: these equally, and no others. None: there is no contrast.

    Returns:
        The relevance to start from, whose sum is 0. Evidence for the selected neurons is positive,
        whatever the sign of their logit. It is 0 if all of the classes are selected.
    """
    if contrast is None:
        return start
    others = 1 - selected
    if isinstance(contrast, tuple):
        wanted = ops.max(ops.one_hot(contrast, ops.shape(logits)[-1], dtype=logits.dtype), 0)
        others *= wanted
    weights = others
    if contrast == "softmax":
        weights *= ops.softmax(ops.where(others > 0, logits, ops.lowest(logits.dtype)))
    total = ops.sum(weights, -1, keepdims=True)
    size = ops.abs(start) * ops.cast(total > 0, start.dtype)
    return size - ops.divide_no_nan(weights, total) * ops.sum(size, -1, keepdims=True)


def values_of(records: Sequence[Record]) -> dict[int, ops.Tensor]:
    """The value of every slot that a node makes."""
    return {
        slot: value
        for record in records
        for slot, value in zip(record.node.outputs, record.outputs, strict=True)
    }
