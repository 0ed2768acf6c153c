"""The layers of an image model that keep the axes of the image."""

from collections.abc import Collection

from rap_keras.errors import InputError
from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import KERNEL, is_a
from rap_keras.support.text import did_you_mean

MOST_NAMES = 8  # in an error


def read_layer(graph: Graph, layer: str | None, method: str) -> Node:
    """The layer whose feature maps a method weights.

    Args:
        graph: The graph of a model with one image input.
        layer: Its name; "layer:0" is the first call of a layer that is called several times. None: the
            last layer that keeps the axes of the image, has more than one position, and lies on every
            path from the image to the output.
        method: The name of the method.

    Raises:
        InputError: There is no such layer, or it has no feature maps.
    """
    return _default_layer(graph, method) if layer is None else _find_layer(graph, layer)


def feature_maps(graph: Graph) -> list[Node]:
    """The nodes ahead of the output with one map of more than one position, channels last.

    Axes are followed from the image, because tensors in attention can have four axes too.
    """
    spatial = set(graph.inputs)
    found = []
    for node in graph.nodes:
        first = getattr(node.layer, "data_format", None) == "channels_first"
        moves = first or is_a(node.layer, {"Permute", "Transpose", "Reshape"})
        if moves or spatial.isdisjoint(node.inputs):
            continue
        made = [slot for slot in node.outputs if len(graph.shapes[slot]) == 4]
        spatial.update(slot for slot in made if slot not in graph.booleans)
        if len(node.outputs) == 1 and spatial.issuperset(node.outputs):
            (slot,) = node.outputs
            if graph.shapes[slot][1:3] != (1, 1) and slot != graph.output:
                found.append(node)
    return found


def default_map(graph: Graph, maps: Collection[Node]) -> Node | None:
    """The last of the maps that lie on every path from the image to the output; None if there is none.

    An image that is only scaled ahead of the branches does not count. If only one branch has maps, the
    default is its last map.
    """
    last = ends(graph, maps)
    names = {node.name for node in last}
    passed = [node for node in maps if graph.passed_by_all.issuperset(node.outputs)]
    if passed and passed[-1].name in names:
        return passed[-1]
    learned = _made_by_weights(graph)
    found = [node for node in passed if learned.issuperset(node.outputs)]
    if found:
        return found[-1]
    return last[0] if len(last) == 1 else None


def ends(graph: Graph, maps: Collection[Node]) -> list[Node]:
    """The last map of each branch."""
    names = {node.name for node in maps}
    before: set[int] = set()  # slots that lead to a map
    found = []
    for node in reversed(graph.nodes):
        leads = not before.isdisjoint(node.outputs)
        if node.name in names and not leads:
            found.append(node)
        if node.name in names or leads:
            before.update(node.inputs)
    return found[::-1]


def _made_by_weights(graph: Graph) -> set[int]:
    """The slots that depend on a kernel layer."""
    found: set[int] = set()
    for node in graph.nodes:
        if is_a(node.layer, KERNEL) or not found.isdisjoint(node.inputs):
            found.update(node.outputs)
    return found


def _default_layer(graph: Graph, method: str) -> Node:
    maps = feature_maps(graph)
    if not maps:
        raise InputError(
            f"Expected a model with a layer of feature maps for {method!r}, got one without, "
            "or with maps of one position only: name a layer with outputs (rows, columns, channels), "
            'layer="...", or use another method.',
            "layer",
        )
    found = default_map(graph, maps)
    if found is None:
        last = [repr(_called(graph, node)) for node in ends(graph, maps)]
        more = f" and {len(last) - MOST_NAMES} more" if len(last) > MOST_NAMES else ""
        raise InputError(
            f"Expected a layer of feature maps on every path to the output for {method!r}, got "
            f"{len(last)} branches: choose the layer of one branch, layer="
            f"{', '.join(last[:MOST_NAMES])}{more}, or use another method.",
            "layer",
        )
    return found


def _called(graph: Graph, node: Node) -> str:
    """A node's unique name: with ":0" for the first call of a layer that is called several times."""
    calls = [other for other in graph.nodes if other.layer is node.layer]
    return f"{node.name}:0" if len(calls) > 1 and node is calls[0] else node.name


def _find_layer(graph: Graph, name: str) -> Node:
    nodes = {_called(graph, node): node for node in graph.nodes}
    if f"{name}:0" in nodes:
        layer = nodes[f"{name}:0"].layer
        calls = [repr(called) for called, node in nodes.items() if node.layer is layer]
        raise InputError(
            f"Expected layer to name one call of {name!r}, which the model calls {len(calls)} "
            f"times, got only its name: choose {' or '.join(calls)}.",
            "layer",
        )
    if name not in nodes:
        hint = did_you_mean(str(name), nodes) or "rules() lists them."
        raise InputError(
            f"Expected layer to be a layer of the model, got {name!r}: {hint}", "layer"
        )
    shapes = [graph.shapes[slot] for slot in nodes[name].outputs]
    first = getattr(nodes[name].layer, "data_format", None) == "channels_first"
    if len(shapes) != 1 or len(shapes[0]) != 4 or first:
        raise InputError(
            f"Expected a layer with one output of shape (batch, rows, columns, channels), got "
            f"{name!r} with {shapes}{', channels first' if first else ''}: choose another layer.",
            "layer",
        )
    return nodes[name]
