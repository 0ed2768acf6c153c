"""The layers of a network that keep the axes of its image."""

from collections.abc import Collection

from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import KERNEL, is_a


def feature_maps(graph: Graph) -> list[Node]:
    """The nodes before the output with one map of more than one place, channels last.

    Axes are followed from the image, because tensors of attention can have four axes too.
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
    """The last of the maps that lie on every path from the image to the output; None without one.

    An image that is only scaled before the branches does not count. If only one branch has maps, the
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
    """The slots that a kernel layer precedes."""
    found: set[int] = set()
    for node in graph.nodes:
        if is_a(node.layer, KERNEL) or not found.isdisjoint(node.inputs):
            found.update(node.outputs)
    return found
