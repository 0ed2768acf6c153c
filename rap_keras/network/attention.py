"""The attention of a model: the softmaxes that weight its tokens, and which tokens are image patches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rap_keras import tensors as ops
from rap_keras.errors import InputError
from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import (
    ADDITION,
    CONCATENATION,
    CONTRACTION,
    ELEMENTWISE,
    KERNEL,
    ROUTING,
    activation_name,
    is_a,
)

_OTHERS = 'use another method, such as "rap"'


@dataclass(frozen=True)
class Attention:
    """The attention of a model in which, in every block, all tokens attend to all tokens.

    Attributes:
        weights: The names and slots of its weights, `(batch, ..., tokens, tokens)`, in the order of
            computation.
        tokens: The number of tokens.
        grid: The patches of the image, (rows, columns).
        first: The position of the first patch among the tokens.
    """

    weights: dict[str, int]
    tokens: int
    grid: tuple[int, int]
    first: int

    @property
    def class_token(self) -> int | None:
        """The position of the first token that is not a patch, if there is one."""
        patches = self.grid[0] * self.grid[1]
        if self.tokens == patches:
            return None
        return 0 if self.first else patches

    def check(self, name: str, shape: Sequence[int | None]) -> None:
        """Raises an error for weights of another number of tokens, if their shape is known.

        Raises:
            InputError: Another number of tokens attends, or is attended to.
        """
        queries, keys = shape[-2:]
        if any(size not in (None, self.tokens) for size in (queries, keys)):
            raise InputError(
                f"Expected attention between the same {self.tokens} tokens in every block, got "
                f"{queries} that attend to {keys} at {name!r}: {_OTHERS}."
            )


def find_attention(graph: Graph) -> Attention:
    """The attention of an image model, found by its computations and not by the names of layers.

    Weights are the results of a softmax over the last axis that are used in a product of two tensors.
    Patches are the positions of a map `(height, width, channels)` that is flattened to tokens. Other
    tokens may be joined before or after them.

    Raises:
        InputError: There is no attention; the patches are not known; or another block has other tokens.
    """
    nodes = list(_attending(graph))
    if not nodes:
        raise InputError(
            "Expected a model with attention, where a softmax weights tokens, got one without: "
            f"{_OTHERS}."
        )
    weights = {node.name: node.outputs[0] for node in nodes}
    before = graph.nodes[: graph.nodes.index(nodes[0])]
    for node in before:
        patches = placed(graph, before, node)
        if patches is None:
            continue
        _, rows, columns, _ = graph.shapes[node.inputs[0]]
        assert rows is not None
        assert columns is not None
        found = Attention(weights, patches[1], (rows, columns), patches[0])
        for name, slot in weights.items():
            found.check(name, graph.shapes[slot])
        return found
    raise InputError(
        "Expected attention to patches of an image, a map that is flattened to tokens, got a model "
        f"without known patches: {_OTHERS}."
    )


def block_ends(graph: Graph, attention: Attention, name: str) -> list[int]:
    """For each attention, the slot of the tokens after its block.

    It is the last sum after the attention, and ahead of the next one, that lies on every path from the
    inputs to the output: the residual stream.

    Args:
        graph: The graph.
        attention: Its attention.
        name: The method that needs them, for errors.

    Raises:
        InputError: There is no such sum after an attention.
    """
    at = [graph.nodes.index(graph.producers[slot]) for slot in attention.weights.values()]
    ends = []
    for start, stop in zip(at, [*at[1:], len(graph.nodes)], strict=True):
        sums = [
            node.outputs[0]
            for node in graph.nodes[start:stop]
            if is_a(node.layer, ADDITION)
            and len(set(node.inputs) - graph.constants) > 1
            and graph.shapes[node.outputs[0]][1:2] == (attention.tokens,)
            and graph.all_pass(node.outputs, graph.inputs)
        ]
        if not sums:
            raise InputError(
                f"Expected blocks that end in a sum with a skip connection, which all paths pass, for "
                f"{name!r}, got none after {graph.nodes[start].name!r}: {_OTHERS}."
            )
        ends.append(sums[-1])
    return ends


def projections(graph: Graph) -> set[str]:
    """Names of the kernel layers around products of two tensors, as attention has them.

    These are the layers whose outputs are used only in such products (queries, keys and values), and
    those that take the result of one. Other kernel layers may not lie between them.
    """
    products = {
        node.name
        for node in graph.nodes
        if is_a(node.layer, CONTRACTION) and len(set(node.inputs) - graph.constants) > 1
    }
    return _leading_to(graph, products) | _taking(graph, products)


def _leading_to(graph: Graph, products: set[str]) -> set[str]:
    """The kernel layers from which every path first meets a product."""
    found: set[str] = set()
    leading: dict[str, bool] = {}
    for node in reversed(graph.nodes):
        leads = all(
            leading.get(user.name, False)
            for slot in node.outputs
            for user in graph.consumers.get(slot, [])
        ) and not set(node.outputs).issubset({graph.output})
        if is_a(node.layer, KERNEL):
            found |= {node.name} if leads else set()
            leads = False
        leading[node.name] = leads or node.name in products
    return found


def _taking(graph: Graph, products: set[str]) -> set[str]:
    """The kernel layers that take what a product returns, perhaps moved."""
    found: set[str] = set()
    given: set[int] = set()
    for node in graph.nodes:
        from_product = bool(node.inputs) and given.issuperset(node.inputs)
        if is_a(node.layer, KERNEL):
            found |= {node.name} if from_product else set()
        elif node.name in products or (from_product and is_a(node.layer, ROUTING | ELEMENTWISE)):
            given.update(node.outputs)
    return found


def _attending(graph: Graph) -> Iterator[Node]:
    """The nodes of softmaxes that compute weights."""
    for node in graph.nodes:
        if activation_name(node.layer) != "softmax" or graph.fused in node.outputs:
            continue
        shape = graph.shapes[node.outputs[0]]
        last = getattr(node.layer, "axis", -1) in (-1, len(shape) - 1, (len(shape) - 1,))
        if last and len(shape) > 2 and _weighs(graph, node.outputs[0]):
            yield node


def _weighs(graph: Graph, slot: int) -> bool:
    """Whether a product of two tensors uses a slot unchanged."""
    for user in graph.consumers.get(slot, []):
        if is_a(user.layer, CONTRACTION) and len(user.inputs) == 2:
            return True
        if is_a(user.layer, ELEMENTWISE) and _weighs(graph, user.outputs[0]):
            return True
    return False


def placed(graph: Graph, before: Sequence[Node], flat: Node) -> tuple[int, int] | None:
    """The position of the tokens that a node makes from a map, and their number with those joined.

    None if the node does not make tokens from a map.
    """
    if not is_a(flat.layer, ROUTING) or len(flat.inputs) != 1:
        return None
    map_, tokens = graph.shapes[flat.inputs[0]], graph.shapes[flat.outputs[0]]
    if len(map_) != 4 or len(tokens) != 3 or map_[3] != tokens[2]:
        return None
    (_, rows, columns, _), count = map_, tokens[1]
    if rows is None or columns is None or count != rows * columns:
        return None
    first, sequence = 0, {flat.outputs[0]}
    for node in before[before.index(flat) + 1 :]:
        shape = graph.shapes[node.outputs[0]]
        if not sequence.intersection(node.inputs) or len(shape) != 3 or shape[1] is None:
            continue
        if is_a(node.layer, CONCATENATION) and shape[1] != count:
            first += _joined_before(graph, node, sequence)
            sequence, count = {node.outputs[0]}, shape[1]
        elif shape[1] == count:
            sequence.add(node.outputs[0])
    return first, count


def _joined_before(graph: Graph, node: Node, sequence: set[int]) -> int:
    """The number of tokens that a concatenation puts before a sequence."""
    given = [ops.Spec([1, *graph.shapes[slot][1:]]) for slot in node.inputs]
    before = 0
    for part in node.call.operands(given):
        if any(part is spec for spec, s in zip(given, node.inputs, strict=True) if s in sequence):
            break
        if hasattr(part, "shape"):
            before += int(part.shape[1])
    return before
