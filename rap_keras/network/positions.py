"""Where a model adds position embeddings, and to which parts of its input their positions belong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rap_keras import tensors as ops
from rap_keras.errors import InputError
from rap_keras.network import layer_types as types
from rap_keras.network.attention import placed
from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import activation_name, is_a
from rap_keras.network.node import nodes_to

_LEAVE = 'leave it at "constant"'
_BETWEEN = (
    types.ELEMENTWISE | types.ADDITION | types.MULTIPLICATION | types.DIVISION | types.ROUTING
)


@dataclass(frozen=True)
class Positions:
    """The position embeddings of a model: constants that are added to the tokens of each sample.

    Attributes:
        sums: The names of the sums, and for each the first token that is part of the input, and the
            number of such tokens. Others, such as a class token, are joined to them.
        grid: The positions in the input: (rows, columns) of an image, or (length,) of a sequence.
        slot: The input.
    """

    sums: dict[str, tuple[int, int]]
    grid: tuple[int, ...]
    slot: int


def find_positions(graph: Graph) -> Positions:
    """The position embeddings of a graph.

    A sum adds them if its only other summand is a constant that differs from position to position and
    from channel to channel. Scores of attention, to which constants are added too, are no tokens.

    Raises:
        InputError: There are none, or their positions do not belong to those of an input.
    """
    nodes = [node for node in graph.nodes if _adds_constant(graph, node)]
    if not nodes:
        raise InputError(
            "Expected a model that adds position embeddings to a known number of tokens, for "
            f"positions, got one without: {_LEAVE}.",
            "positions",
        )
    found = [(node, *_place(graph, node)) for node in nodes]
    _, _, grid, slot = found[0]
    other = next((node for node, _, *place in found if place != [grid, slot]), None)
    if other is not None:
        raise InputError(
            "Expected position embeddings of the same positions everywhere, for positions, got others "
            f"at {other.name!r}: {_LEAVE}.",
            "positions",
        )
    return Positions({node.name: tokens for node, tokens, _, _ in found}, grid, slot)


def added_position(
    graph: Graph,
    node: Node,
    inputs: Sequence[ops.Tensor],
    recompute: Callable[[Sequence[ops.Tensor]], list[ops.Tensor]],
) -> ops.Tensor | None:
    """The position embedding that a sum adds, 0 where a position takes no share; None elsewhere.

    Args:
        graph: The graph.
        node: The sum.
        inputs: Its inputs.
        recompute: The sum of other inputs.
    """
    if node.name not in graph.positions:
        return None
    constants = [x for slot, x in zip(node.inputs, inputs, strict=True) if slot in graph.constants]
    added = constants[0] if constants else recompute([ops.zeros_like(inputs[0])])[0]
    first, count = graph.positions[node.name]
    shape = graph.shapes[node.outputs[0]]
    takes = [float(first <= k < first + count) for k in range(shape[1] or 0)]
    return added * ops.reshape(ops.constant(takes, added.dtype), [-1, *(1 for _ in shape[2:])])


def _adds_constant(graph: Graph, node: Node) -> bool:
    """Whether a sum adds a constant of the shape of one sample, with at least two axes."""
    varying = [slot for slot in node.inputs if slot not in graph.constants]
    if not is_a(node.layer, {"Add"}) or len(varying) != 1:
        return False
    constants = [graph.shapes[slot] for slot in node.inputs if slot in graph.constants]
    constants += [tuple(value.shape) for value in node.call.constants()]
    shape = graph.shapes[node.outputs[0]][1:]
    if len(constants) != 1 or len(shape) < 2 or None in shape:
        return False
    constant = constants[0]
    while len(constant) > len(shape) and constant[0] in (1, None):
        constant = constant[1:]
    return constant == shape and not _makes_weights(graph, node)


def _makes_weights(graph: Graph, node: Node) -> bool:
    """Whether what a node returns becomes the weights of an attention, by a softmax."""
    for user in (user for slot in node.outputs for user in graph.consumers.get(slot, [])):
        if activation_name(user.layer) == "softmax":
            return True
        if is_a(user.layer, _BETWEEN) and _makes_weights(graph, user):
            return True
    return False


def _place(graph: Graph, node: Node) -> tuple[tuple[int, int], tuple[int, ...], int]:
    """The tokens of a sum that are part of the input, the positions there, and the input."""
    shape = graph.shapes[node.outputs[0]]
    before = nodes_to(node.outputs[0], graph.nodes)
    read = {slot for other in before for slot in other.inputs}
    inputs = [slot for slot in graph.inputs if slot in read]
    if len(inputs) == 1 and len(graph.shapes[inputs[0]]) == 4:
        patches = _patches(graph, before, shape)
        if patches is not None:
            return *patches, inputs[0]
    length = shape[1]
    sequences = [
        slot
        for slot in inputs
        if len(shape) == 3
        and len(graph.shapes[slot]) in (2, 3)
        and graph.shapes[slot][1] in (None, length)
    ]
    if len(sequences) != 1 or length is None:
        raise InputError(
            "Expected position embeddings of the patches of an image or of the steps of a sequence, "
            f"for positions, got others at {node.name!r}: {_LEAVE}.",
            "positions",
        )
    return (0, length), (length,), sequences[0]


def _patches(
    graph: Graph, before: Sequence[Node], shape: Sequence[int | None]
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The tokens that are patches of an image, and their rows and columns."""
    if len(shape) == 4:  # a map
        _, rows, columns, _ = shape
        return (0, rows or 0), (rows or 0, columns or 0)
    for flat in before:
        found = placed(graph, before, flat)
        if found is not None and found[1] == shape[1]:
            _, rows, columns, _ = graph.shapes[flat.inputs[0]]
            assert rows is not None
            assert columns is not None
            return (found[0], rows * columns), (rows, columns)
    return None
