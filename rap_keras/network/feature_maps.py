"""The feature maps of a model: the outputs of layers that keep the positions of an input."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rap_keras import tensors as ops
from rap_keras.errors import InputError
from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import (
    AVERAGING,
    CONTRACTION,
    EMBEDDING,
    KERNEL,
    MAX_POOLING,
    is_a,
)
from rap_keras.network.named import called, find_node

MOST_NAMES = 8  # in an error
# What positions are called, by the rank of a tensor.
_SHAPES = {
    3: "(batch, steps, channels)",
    4: "(batch, rows, columns, channels)",
    5: "(batch, frames or planes, rows, columns, channels)",
}


@dataclass(frozen=True)
class FeatureMap:
    """The feature maps of one layer, `(batch, positions ..., channels)`.

    Attributes:
        name: The name of the layer, as `read_layer` takes it.
        nodes: The call of the layer; its calls for all frames, in their order, if a video is computed
            frame by frame (`TimeDistributed`).
        images: The slots of the inputs whose positions it keeps.
    """

    name: str
    nodes: tuple[Node, ...]
    images: tuple[int, ...]

    @property
    def slots(self) -> list[int]:
        """The slot of the maps, or of those of each frame."""
        return [node.outputs[0] for node in self.nodes]

    def found_in(self, graph: Graph) -> "FeatureMap":
        """The same layer in another graph of the model."""
        nodes = {node.name: node for node in graph.nodes}
        return dataclasses.replace(self, nodes=tuple(nodes[node.name] for node in self.nodes))

    def values(self, of_slots: Mapping[int, ops.Tensor]) -> ops.Tensor:
        """The maps, from the values of slots; those of frames are stacked along the first position."""
        parts = [of_slots[slot] for slot in self.slots]
        return parts[0] if len(parts) == 1 else ops.stack(parts, 1)


def read_images(graph: Graph, method: str) -> list[int]:
    """The slots of the inputs with positions: series, images, volumes, videos, and embedded tokens.

    Raises:
        InputError: There is none.
    """
    found = [slot for slot in graph.inputs if slot not in graph.booleans and _rank(graph, slot)]
    if not found:
        raise InputError(
            "Expected a model with an input of images, (height, width, channels), or of series, volumes "
            f"or videos for {method!r}, got inputs of shapes "
            f'{[graph.shapes[slot] for slot in graph.inputs]}: use another method, such as "rap".'
        )
    return found


def _rank(graph: Graph, image: int) -> int:
    """The rank of an input's feature maps; 0 if it has none."""
    rank = len(graph.shapes[image])
    return rank if rank in _SHAPES else 3 if rank == 2 and _embedded(graph, image) else 0


def _embedded(graph: Graph, slot: int) -> list[int]:
    """The slots of the embeddings of tokens."""
    found: list[int] = []
    for node in graph.consumers.get(slot, []):
        if is_a(node.layer, EMBEDDING):
            found += node.outputs
        elif is_a(node.layer, {"Cast"}):
            found += _embedded(graph, node.outputs[0])
    return found


def read_layer(graph: Graph, layer: str | None, method: str) -> FeatureMap:
    """The layer whose feature maps a method weights.

    Args:
        graph: The graph of the model.
        layer: Its name; "layer:0" is the first call of a layer that is called several times; the name
            of a `TimeDistributed` layer or of a nested model is that of its last feature maps. None:
            the last layer that keeps the positions of an input, has more than one, and lies on every
            path from this input to the output.
        method: The name of the method.

    Raises:
        InputError: There is no such layer, or it has no feature maps.
    """
    images = read_images(graph, method)
    each = {image: feature_maps(graph, image) for image in images}
    found = _default_layer(graph, each, method) if layer is None else _named(graph, each, layer)
    kept = [image for image, maps in each.items() if any(m.name == found.name for m in maps)]
    return dataclasses.replace(found, images=tuple(kept)) if kept else found


def feature_maps(graph: Graph, image: int) -> list[FeatureMap]:
    """The feature maps of an input with more than one position, channels last, ahead of the output.

    Axes are followed from the input, because tensors in attention can have as many axes.
    """
    rank = _rank(graph, image)
    whole = {image, *_embedded(graph, image)} if len(graph.shapes[image]) < rank else {image}
    turned: set[int] = set()  # with the axis of frames first
    frames: dict[int, int] = {}  # single frames, and their numbers
    found: list[FeatureMap] = []
    of_frames: dict[str, dict[int, Node]] = {}
    for node in graph.nodes:
        taken, made = set(node.inputs), set(node.outputs) - graph.booleans
        numbers = [frames[slot] for slot in node.inputs if slot in frames]
        if whole & made:  # an embedding
            pass
        elif _swaps_frames(node):
            whole |= made if taken & turned else set()
            turned |= made if taken & whole and not taken & turned else set()
            continue
        elif taken & turned and is_a(node.layer, {"GetItem"}):
            number = _frame(graph, node)
            frames.update(dict.fromkeys(made, number) if number is not None else {})
            continue
        elif numbers and is_a(node.layer, {"Stack"}):
            turned |= made if node.layer.axis == 0 and numbers == [*range(len(taken))] else set()
        elif not _moves(node) and len(set(numbers)) == 1:
            same = [slot for slot in made if len(graph.shapes[slot]) == rank - 1]
            frames.update(dict.fromkeys(same, numbers[0]))
        elif not _moves(node) and taken & whole:
            whole |= {slot for slot in made if len(graph.shapes[slot]) == rank}
        if len(node.outputs) != 1 or graph.output in made:
            continue
        (slot,) = node.outputs
        if slot in whole and set(graph.shapes[slot][1:-1]) != {1}:
            found.append(FeatureMap(node.name, (node,), (image,)))
        elif slot in frames:
            name = re.sub(r":\d+(?=/|$)", "", node.name)
            calls = of_frames.setdefault(name, {})
            calls[frames[slot]] = node
            if len(calls) == graph.shapes[image][1]:
                nodes = tuple(calls[k] for k in sorted(calls))
                found.append(FeatureMap(name, nodes, (image,)))
    return found


def has_channels_first(graph: Graph, place: int) -> bool:
    """Whether a layer takes an input, by its number, with the channels ahead of the positions."""
    whole = {graph.inputs[place]}
    for node in graph.nodes:
        if whole.isdisjoint(node.inputs):
            continue
        if not _moves(node):
            whole.update(node.outputs)
        elif is_a(node.layer, KERNEL | MAX_POOLING | AVERAGING) and _is_first(node):
            return True
    return False


def _is_first(node: Node) -> bool:
    return getattr(node.layer, "data_format", None) == "channels_first"


def _moves(node: Node) -> bool:
    """Whether a node may move positions to another axis."""
    joins = is_a(node.layer, CONTRACTION) and len(node.inputs) > 1
    return _is_first(node) or joins or is_a(node.layer, {"Permute", "Transpose", "Reshape"})


def _swaps_frames(node: Node) -> bool:
    """Whether a node exchanges the first two axes, as `TimeDistributed` does."""
    axes = list(getattr(node.layer, "axes", None) or ()) if is_a(node.layer, {"Transpose"}) else []
    return bool(axes) and axes == [1, 0, *range(2, len(axes))]


def _frame(graph: Graph, node: Node) -> int | None:
    """The number of the frame that a node takes from frames."""
    specs = [ops.Spec([n or 1 for n in graph.shapes[slot]]) for slot in node.inputs]
    _, *keys = node.call.operands(specs)
    count = graph.shapes[node.inputs[0]][0]
    return keys[0] % count if count and len(keys) == 1 and isinstance(keys[0], int) else None


def default_map(graph: Graph, maps: Collection[FeatureMap]) -> FeatureMap | None:
    """The last of an input's maps that lie on every path to the output; None if there is none.

    An image that is only scaled ahead of the branches does not count. If only one branch has maps, the
    default is its last map.
    """
    last = ends(graph, maps)
    passed = [one for one in maps if graph.all_pass(one.slots, one.images)]
    if passed and any(passed[-1] is one for one in last):
        return passed[-1]
    learned = _made_by_weights(graph)
    found = [one for one in passed if learned.issuperset(one.slots)]
    if found:
        return found[-1]
    return last[0] if len(last) == 1 else None


def ends(graph: Graph, maps: Collection[FeatureMap]) -> list[FeatureMap]:
    """The last map of each branch."""
    owner = {node.name: one for one in maps for node in one.nodes}
    before: set[int] = set()  # slots that lead to a map
    found: dict[str, FeatureMap] = {}
    for node in reversed(graph.nodes):
        leads = not before.isdisjoint(node.outputs)
        if node.name in owner and not leads:
            found.setdefault(owner[node.name].name, owner[node.name])
        if node.name in owner or leads:
            before.update(node.inputs)
    return [*found.values()][::-1]


def _made_by_weights(graph: Graph) -> set[int]:
    """The slots that depend on a kernel layer."""
    found: set[int] = set()
    for node in graph.nodes:
        if is_a(node.layer, KERNEL) or not found.isdisjoint(node.inputs):
            found.update(node.outputs)
    return found


def _default_layer(
    graph: Graph, each: Mapping[int, Sequence[FeatureMap]], method: str
) -> FeatureMap:
    if not any(each.values()):
        raise InputError(
            f"Expected a model with a layer of feature maps for {method!r}, got one without, "
            f"or with maps of one position only: name a layer with outputs {_shapes(graph, each)}, "
            'layer="...", or use another method.',
            "layer",
        )
    of_images = {image: default_map(graph, maps) for image, maps in each.items() if maps}
    found = {one.name: one for one in of_images.values() if one is not None}
    if None in of_images.values() or len(found) > 1:
        last = {
            one.name: one
            for image, of_image in of_images.items()
            for one in ([of_image] if of_image else ends(graph, each[image]))
        }
        names = [repr(_name(graph, one)) for one in last.values()]
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        raise InputError(
            f"Expected a layer of feature maps on every path to the output for {method!r}, got "
            f"{len(names)} branches: choose the layer of one branch, layer="
            f"{', '.join(names[:MOST_NAMES])}{more}, or use another method.",
            "layer",
        )
    (one,) = found.values()
    return one


def _name(graph: Graph, one: FeatureMap) -> str:
    return one.name if len(one.nodes) > 1 else called(graph, one.nodes[0])


def _shapes(graph: Graph, images: Collection[int]) -> str:
    """The shapes of the feature maps of inputs, in words."""
    return " or ".join(_SHAPES[rank] for rank in sorted({_rank(graph, image) for image in images}))


def _named(graph: Graph, each: Mapping[int, Sequence[FeatureMap]], name: str) -> FeatureMap:
    maps = {one.name: one for found in each.values() for one in found}
    if name in maps and len(maps[name].nodes) > 1:
        return maps[name]
    inside = [one for one in maps.values() if one.name.startswith(f"{name}/")]
    known = {called(graph, node) for node in graph.nodes}
    if inside and not {name, f"{name}:0"} & known:
        return inside[-1]
    node = find_node(graph, name)
    shapes = [graph.shapes[slot] for slot in node.outputs]
    first = _is_first(node)
    images = [image for image in each if [_rank(graph, image)] == [len(shape) for shape in shapes]]
    if not images or first:
        raise InputError(
            f"Expected a layer with one output of shape {_shapes(graph, each)}, got "
            f"{name!r} with {shapes}{', channels first' if first else ''}: choose another layer.",
            "layer",
        )
    return FeatureMap(node.name, (node,), tuple(images))
