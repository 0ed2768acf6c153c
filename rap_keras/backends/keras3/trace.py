"""From a Keras 3 model to its graph of nodes. The model is not changed."""

import copy
import dataclasses
import itertools
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import keras
from keras import tree
from keras.backend import standardize_dtype
from keras.src.utils.naming import to_snake_case

from rap_keras.backends.keras3.calls import Call, Constant
from rap_keras.backends.keras3.expansions import expansion_of
from rap_keras.backends.keras3.opening import (
    Context,
    Opened,
    autocast_of,
    batch_axes,
    is_symbolic,
    open_call,
    open_layer,
)
from rap_keras.backends.keras3.source import Source, as_function, names_of_inputs
from rap_keras.backends.opening import CannotOpen
from rap_keras.composites.composite import has_registered_rule
from rap_keras.errors import InputError
from rap_keras.network.graph import Graph, Node, Shape
from rap_keras.network.heads import MOVING, is_increasing
from rap_keras.network.layer_types import (
    ACTIVATION,
    HEADS,
    KNOWN,
    WEIGHTED,
    activation_name,
    head_of,
    is_a,
    is_layer,
)
from rap_keras.network.lookups import pruned
from rap_keras.network.operations import KernelOperation


def trace(
    model: Any, keep_head: bool = False, output: int = 0, kept: Collection[type] = ()
) -> Graph:
    """The graph of a model from its inputs to its logits.

    Nested models are opened, as well as layers that only call others and `keras.ops`, except for those
    in `kept` and those with a registered rule. A softmax or sigmoid at the end is left out, also a
    fused one, unless `keep_head` is set. Slots are numbered starting with the inputs.
    """
    source = model if isinstance(model, Source) else Source.of(model)
    walk = _Walk(kept)
    inputs = [walk.new_slot(t, source.context) for t in source.inputs]
    scope = {id(t): slot for t, slot in zip(source.inputs, inputs, strict=True)}
    try:
        walk.function(source.function, scope, "", source.context)
    except CannotOpen as error:
        raise InputError(
            f"Expected a model whose call can be traced, but {error}: build it of layers that compute "
            "each sample of a batch in the same way."
        ) from error
    end = scope[id(source.outputs[output])]
    numeric = [slot for slot in inputs if slot not in walk.booleans]
    graph = Graph(
        nodes=tuple(_with_biases(walk.nodes, walk.shapes, end)),
        inputs=tuple(inputs),
        input_names=tuple(source.input_names),
        output=end,
        shapes=walk.shapes,
        images=frozenset(slot for slot in numeric if len(walk.shapes[slot]) > 2),
        booleans=frozenset(walk.booleans),
        read=tuple({id(v): v for v in (*source.read, *walk.read)}.values()),
    )
    return pruned(graph, end) if keep_head else without_head(graph)


# The graph inside of an operation, the slots that it takes its tensors from, and how it was made.
_Inside = tuple[Opened, list[int], Context]


class _Walk:
    """Numbers the tensors and collects the nodes of a model and of the models and layers in it."""

    def __init__(self, kept: Collection[type]) -> None:
        self.nodes: list[Node] = []
        self.shapes: dict[int, Shape] = {}
        self.booleans: set[int] = set()
        self.read: list[Any] = []
        self._kept = kept
        self._calls: Counter[str] = Counter()

    def new_slot(self, tensor: keras.KerasTensor, context: Context) -> int:
        slot = len(self.shapes)
        samples = batch_axes(tensor.shape) if context.traced else []
        self.shapes[slot] = tuple(None if k in samples else n for k, n in enumerate(tensor.shape))
        if standardize_dtype(tensor.dtype) == "bool":
            self.booleans.add(slot)
        return slot

    def function(self, function: Any, scope: dict[int, int], prefix: str, context: Context) -> None:
        """Walks one graph. `scope` maps the ids of its symbolic tensors to slots; new ones are added."""
        by_depth = function._nodes_by_depth
        used = {id(t) for nodes in by_depth.values() for node in nodes for t in node.input_tensors}
        used.update(map(id, function.outputs))
        for depth in sorted(by_depth, reverse=True):
            for node in by_depth[depth]:
                if node.is_input or any(id(t) not in scope for t in node.input_tensors):
                    continue
                self._node(node, scope, prefix, context, used)

    def _node(
        self, node: Any, scope: dict[int, int], prefix: str, context: Context, used: Collection[int]
    ) -> None:
        op, (args, kwargs) = node.operation, (node.arguments.args, node.arguments.kwargs)
        taken = [t for t in tree.flatten((args, kwargs)) if is_symbolic(t)]
        name = self._name(op, prefix, context)
        why = ""
        try:
            inside = self._inside(op, args, kwargs, [scope[id(t)] for t in taken], scope, context)
            if inside is not None:
                scope.update(self._opened(node, used, name, *inside))
                return
        except CannotOpen as error:
            why = str(error)
        outputs = [self.new_slot(t, context) for t in node.outputs]
        scope.update((id(t), slot) for t, slot in zip(node.outputs, outputs, strict=True))
        slots = [scope[id(t)] for t in taken]
        masks = [slot in self.booleans for slot in slots]
        call = Call(op, (args, kwargs), masks, context)
        self.nodes.append(
            Node(
                _with_weights(op, call, taken) or op,
                name,
                tuple(slot for slot in slots if slot not in self.booleans),
                tuple(slot for slot in slots if slot in self.booleans),
                tuple(outputs),
                call,
                bool(args) and isinstance(args[0], int | float),
                closed=why,
            )
        )

    def _opened(
        self,
        node: Any,
        used: Collection[int],
        name: str,
        opened: Opened,
        slots: list[int],
        within: Context,
    ) -> dict[int, int]:
        """Walks the graph inside of an operation; returns the slots of its outputs by their ids."""
        before = {key: copy.copy(value) for key, value in vars(self).items()}
        self.read += opened.read
        inner = {id(t): slot for t, slot in zip(opened.inputs, slots, strict=True)}
        given: dict[int, int] = {}
        try:
            if opened.function is not None:
                self.function(opened.function, inner, name + "/", within)
            for tensor, made in zip(node.outputs, opened.outputs, strict=True):
                if id(made) in inner:
                    given[id(tensor)] = inner[id(made)]
                elif id(tensor) in used:
                    given[id(tensor)] = self._constant(node.operation, made, name)
        except CannotOpen:  # perhaps of an operation inside, after others
            vars(self).update(before)
            raise
        return given

    def _constant(self, layer: Any, value: Any, name: str) -> int:
        """The slot of a value that a layer returns for all inputs."""
        if batch_axes(value.shape):
            raise CannotOpen(
                "it returns a constant for each sample; join it with the samples in the same layer, or "
                "return it once"
            )
        slot = self.new_slot(value, Context(traced=True))
        self.nodes.append(Node(layer, f"{name}/constant:{slot}", (), (), (slot,), Constant(value)))
        return slot

    def _name(self, op: Any, prefix: str, context: Context) -> str:
        # Each trace numbers the operations of a call again, but their types stay the same.
        last = to_snake_case(type(op).__name__) if context.traced and not is_layer(op) else op.name
        name = prefix + last
        count = self._calls[name]
        self._calls[name] += 1
        if count:
            name = next(n for k in itertools.count(count) if not self._calls[n := f"{name}:{k}"])
            self._calls[name] += 1
        return name

    def _inside(
        self,
        op: Any,
        args: Any,
        kwargs: dict[str, Any],
        slots: list[int],
        scope: dict[int, int],
        context: Context,
    ) -> _Inside | None:
        """The graph inside of a model, or of a layer without a rule; None for others."""
        function, traced = as_function(op), dataclasses.replace(context, traced=True)
        if function is not None:
            if args and isinstance(args[0], dict):
                names = names_of_inputs(function)
                if args[0].keys() >= set(names):
                    slots = [scope[id(args[0][key])] for key in names]
            if len(function.inputs) == len(slots):
                if self._needs_sizes(function, args, kwargs):
                    return open_layer(op, args, kwargs), slots, traced
                return (
                    Opened(function, (args, kwargs), function.inputs, function.outputs),
                    slots,
                    Context(),
                )
        expanded = expansion_of(op)
        if expanded is not None:
            return open_call(None, expanded, args, kwargs), slots, traced
        if not self._is_composite(op):
            return None
        return open_layer(op, args, kwargs), slots, Context(True, autocast_of(op))

    def _is_composite(self, op: Any) -> bool:
        """Whether an operation is a layer without a rule."""
        whole = is_a(op, KNOWN) or has_registered_rule(op) or is_a(op, self._kept)
        return is_layer(op) and not whole

    def _needs_sizes(self, function: Any, args: Any, kwargs: dict[str, Any]) -> bool:
        """Whether a nested model for any size is called with one size and has layers to be opened.

        Their calls may compute with the sizes, which the model's own graph does not contain.
        """
        taken = [t for t in tree.flatten((args, kwargs)) if is_symbolic(t)]
        sized = any(
            inside is None and given is not None
            for inner, outer in zip(function.inputs, taken, strict=True)
            for inside, given in zip(inner.shape[1:], outer.shape[1:], strict=False)
        )
        layers = function._flatten_layers() if sized else ()
        return any(self._is_composite(layer) and as_function(layer) is None for layer in layers)


def _with_weights(op: Any, call: Call, taken: list[keras.KerasTensor]) -> KernelOperation | None:
    """The operation as a kernel layer, if it takes one tensor and the weights of a linear map."""
    if is_layer(op) or len(taken) != 1 or not is_a(op, WEIGHTED):
        return None
    weights = call.weights()
    if len(weights) != 1:
        return None
    return KernelOperation(op.name, weights[0], call.with_weights, op)


def _with_biases(nodes: list[Node], shapes: Mapping[int, Shape], end: int) -> list[Node]:
    """The nodes, with biases that are added to a `KernelOperation` included in it.

    A constant of more places than its output, such as positions that are added to one token, stays.
    """
    makers = {node.outputs[0]: node for node in nodes if isinstance(node.layer, KernelOperation)}
    taken = Counter(slot for node in nodes for slot in node.inputs)
    joined: dict[str, Node | None] = {}
    for node in nodes:
        maker = makers.get(node.inputs[0]) if len(node.inputs) == 1 else None
        if maker is None or taken[node.inputs[0]] > 1 or node.inputs[0] == end:
            continue
        if shapes[node.outputs[0]] != shapes[node.inputs[0]]:
            continue
        constants = node.call.constants() if is_a(node.layer, {"Add"}) else []
        if len(constants) == 1:
            layer = dataclasses.replace(maker.layer, bias=constants[0])
            joined[maker.name] = None
            joined[node.name] = dataclasses.replace(maker, layer=layer, outputs=node.outputs)
    return [kept for node in nodes if (kept := joined.get(node.name, node)) is not None]


def without_head(graph: Graph) -> Graph:
    """The graph without the softmax at its end, up to its logits.

    Later layers that only move or resize its output are then applied to the logits. Layers that apply
    the same increasing function to every probability, such as a clip, a logarithm or another softmax,
    are left out too.
    """
    while (shorter := _without_last_head(graph)) is not None:
        graph = shorter
    return pruned(graph, graph.output)


def _without_last_head(graph: Graph) -> Graph | None:
    slot, left_out = graph.output, []
    while (node := graph.producers.get(slot)) and activation_name(node.layer) not in HEADS:
        rises = is_increasing(graph, node)
        linear = is_a(node.layer, {"Activation"}) and activation_name(node.layer) is None
        moves = is_a(node.layer, MOVING) or linear
        if not (rises or moves) or len(node.inputs) != 1 or graph.crosses_samples(node):
            return None
        left_out += [node] if rises else []
        slot = node.inputs[0]
    if node is None or graph.ends_before_activation(node):
        return None
    graph = dataclasses.replace(graph, head=head_of(node.layer))
    if is_a(node.layer, ACTIVATION):
        left_out.append(node)
    else:
        graph = dataclasses.replace(graph, fused=slot)
    for one in left_out:
        graph = _passed_over(graph, one)
    return pruned(graph, graph.output)


def _passed_over(graph: Graph, node: Node) -> Graph:
    """The graph without a node: the node's input replaces its output."""
    old, new = node.outputs[0], node.inputs[0]
    nodes = tuple(
        dataclasses.replace(n, inputs=tuple(new if slot == old else slot for slot in n.inputs))
        for n in graph.nodes
        if n.name != node.name
    )
    output = new if graph.output == old else graph.output
    return dataclasses.replace(graph, nodes=nodes, output=output)
