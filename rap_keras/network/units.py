"""The units of a layer: its channels, its neurons, or the heads of its attention."""

from collections.abc import Sequence
from dataclasses import dataclass

from rap_keras import tensors as ops
from rap_keras.errors import InputError
from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import CONTRACTION, is_a
from rap_keras.network.named import find_node
from rap_keras.network.node import Shape, batch_axis


@dataclass(frozen=True)
class Units:
    """One axis of a layer's output, along which relevance is separated.

    Attributes:
        node: The layer.
        shape: The shape of its output.
        samples: The batch axis.
        axis: The axis of the units.
        kind: "channel", "neuron" (there are no positions) or "head".
    """

    node: Node
    shape: Shape
    samples: int
    axis: int
    kind: str

    @property
    def slot(self) -> int:
        """The slot of the output."""
        return self.node.outputs[0]

    @property
    def count(self) -> int:
        """The number of units."""
        count = self.shape[self.axis]
        assert count is not None  # checked by `find_units`
        return count

    @property
    def _order(self) -> list[int]:
        others = [k for k in range(len(self.shape)) if k not in (self.samples, self.axis)]
        return [self.samples, *others, self.axis]

    def by_unit(self, relevance: ops.Tensor, size: ops.Tensor) -> ops.Tensor:
        """Relevance as `(batch, positions, units)`.

        Windows of an image may be placed along the batch axis; they count as positions.
        """
        moved = ops.transpose(relevance, self._order)
        return ops.reshape(moved, [size, -1, self.count])

    def places(self, relevance: ops.Tensor, size: ops.Tensor) -> ops.Tensor:
        """The position of the largest relevance of each unit, int32 `(batch, units, axes)`."""
        left = ops.argmax(self.by_unit(relevance, size), 1)
        sizes = ops.shape(ops.transpose(relevance, self._order))
        found = []
        for k in reversed(range(1, len(self.shape) - 1)):
            found.append(left % sizes[k])
            left = left // sizes[k]
        return ops.stack(found[::-1], -1) if found else ops.zeros([size, self.count, 0], "int32")

    def only(self, relevance: ops.Tensor, chosen: ops.Tensor, size: ops.Tensor) -> ops.Tensor:
        """Relevance of one unit of each sample, and 0 for all others.

        Args:
            relevance: The relevance of the output.
            chosen: The unit of each sample, int32 `(batch,)`.
            size: The number of samples.
        """
        order = self._order
        moved = ops.transpose(relevance, order)
        wanted = ops.one_hot(chosen, self.count, dtype=relevance.dtype)
        kept = ops.reshape(moved, [size, -1, self.count]) * ops.expand_dims(wanted, 1)
        back = [order.index(k) for k in range(len(order))]
        return ops.transpose(ops.reshape(kept, ops.shape(moved)), back)


def find_units(graph: Graph, name: str, argument: str = "layer") -> Units:
    """The units of a layer.

    They are the heads where attention weights multiply values, and otherwise the channels of the
    output, the last axis (the second for a layer with channels first).

    Args:
        graph: The graph.
        name: The layer's name, as `rules()` lists it. The name of an attention layer that the graph
            opens stands for the product of its weights and values.
        argument: The user's argument, for messages.

    Raises:
        InputError: There is no such layer, or its output has no such axis.
    """
    within = [n for n in graph.nodes if n.name.startswith(f"{name}/")]
    inside = [n for n in within if _head_axis(graph, n) is not None]
    node = inside[0] if len(inside) == 1 else find_node(graph, name, argument)
    shapes = [graph.shapes[slot] for slot in node.outputs]
    rank = len(shapes[0])
    if len(shapes) == 1 and rank > 1 and not graph.booleans.issuperset(node.outputs):
        samples = batch_axis(shapes[0]) or 0
        first = getattr(node.layer, "data_format", None) == "channels_first"
        axis = 1 if first and rank > 2 else rank - 1
        kind = "channel" if rank > 2 else "neuron"
        heads = _head_axis(graph, node)
        if heads is not None:
            axis, kind = heads, "head"
        if axis != samples and shapes[0][axis] is not None:
            return Units(node, shapes[0], samples, axis, kind)
    raise InputError(
        f"Expected {argument} to name a layer with one output (batch, ..., channels) of a known number "
        f"of channels, got {name!r} with {', '.join(map(str, shapes))}: choose another layer.",
        argument,
    )


def _head_axis(graph: Graph, node: Node) -> int | None:
    """The axis of the heads, if a node multiplies attention weights and values of several heads."""
    if not is_a(node.layer, CONTRACTION) or sum(graph.weights(node)) != 1:
        return None
    shapes = [graph.shapes[slot] for slot in node.inputs]
    if len(shapes) != 2:
        return None
    result = graph.shapes[node.outputs[0]]
    shared = _shared_axes(node, shapes, len(result))
    heads = [k for k in shared if k != (batch_axis(result) or 0)]
    return heads[0] if len(heads) == 1 else None


def _shared_axes(node: Node, shapes: Sequence[Shape], rank: int) -> list[int]:
    """The axes of a product of two tensors that both have and that are not summed."""
    if is_a(node.layer, {"Matmul"}):
        return list(range(rank - 2)) if len(shapes[0]) == len(shapes[1]) else []
    text = getattr(node.layer, "subscripts", "").replace(" ", "")
    taken, arrow, made = text.partition("->")
    first, comma, second = taken.partition(",")
    if not arrow or not comma or "." in text:
        return []
    return [k for k, letter in enumerate(made) if letter in first and letter in second]
