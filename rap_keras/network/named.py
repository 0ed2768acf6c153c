"""The nodes of a graph by the names of their layers."""

from rap_keras.errors import InputError
from rap_keras.network.graph import Graph, Node
from rap_keras.support.text import did_you_mean


def called(graph: Graph, node: Node) -> str:
    """A node's unique name: with ":0" for the first call of a layer that is called several times."""
    calls = [other for other in graph.nodes if other.layer is node.layer]
    return f"{node.name}:0" if len(calls) > 1 and node is calls[0] else node.name


def find_node(graph: Graph, name: str, argument: str = "layer") -> Node:
    """The node of a layer.

    Args:
        graph: The graph.
        name: The layer's name; "layer:0" is the first call of a layer that is called several times.
        argument: The user's argument, for messages.

    Raises:
        InputError: There is no such layer, or the model calls it several times.
    """
    nodes = {called(graph, node): node for node in graph.nodes}
    if f"{name}:0" in nodes:
        layer = nodes[f"{name}:0"].layer
        calls = [repr(known) for known, node in nodes.items() if node.layer is layer]
        raise InputError(
            f"Expected {argument} to name one call of {name!r}, which the model calls {len(calls)} "
            f"times, got only its name: choose {' or '.join(calls)}.",
            argument,
        )
    if name not in nodes:
        hint = did_you_mean(str(name), nodes) or "rules() lists them."
        raise InputError(
            f"Expected {argument} to be a layer of the model, got {name!r}: {hint}", argument
        )
    return nodes[name]
