"""From a Keras 3 model to its graph of nodes. Reads the model; changes nothing of it."""

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import tree
from keras.src.models.functional import Functional

from rap_keras.errors import InputError
from rap_keras.network.graph import Graph, Node, Shape
from rap_keras.network.layer_types import (
    ACTIVATION,
    ELEMENTWISE,
    HEADS,
    ROUTING,
    activation_name,
    is_a,
    is_library_class,
)


def trace(model: Any, keep_head: bool = False) -> Graph:
    """The graph of a model from its inputs to its logits.

    Nested models are opened. A softmax or sigmoid at the end is left out, fused ones included.

    Args:
        model: A functional or (built) Sequential Keras 3 model with one output.
        keep_head: Go on to the model's own output instead.

    Returns:
        The graph; slots are numbered from the inputs on.

    Raises:
        InputError: The model is not functional, not built, has several outputs, or is not Keras 3.
    """
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            "rap_keras computes on TensorFlow, but Keras runs on the "
            f"{keras.backend.backend()!r} backend: set KERAS_BACKEND=tensorflow before importing keras."
        )
    function = _as_function(model)
    if function is None:
        raise InputError(_not_traceable(model))
    if len(function.outputs) != 1:
        raise InputError(
            f"Expected a model with one output, got {len(function.outputs)}: explain one of them, "
            "keras.Model(model.inputs, model.outputs[k])."
        )
    walk = _Walk()
    inputs = [walk.new_slot(t) for t in function.inputs]
    scope = {id(t): slot for t, slot in zip(function.inputs, inputs, strict=True)}
    walk.function(function, scope, "")
    output = scope[id(function.outputs[0])]
    numeric = [s for s, t in zip(inputs, function.inputs, strict=True) if t.dtype != "bool"]
    graph = Graph(
        nodes=tuple(walk.nodes),
        inputs=tuple(inputs),
        input_names=tuple(input_names(function)),
        output=output,
        shapes=walk.shapes,
        images=frozenset(slot for slot in numeric if len(walk.shapes[slot]) > 2),
        booleans=frozenset(walk.booleans) | (set(inputs) - set(numeric)),
    )
    return _pruned(graph, output) if keep_head else without_head(graph)


@contextlib.contextmanager
def untouched(op: Any) -> Iterator[None]:
    """Calls of a layer, model or operation in it change nothing: no variable, random state or loss."""
    parts = op._flatten_layers() if hasattr(op, "_flatten_layers") else ()
    kept = [(part, list(part._losses), set(part._loss_ids)) for part in parts]
    try:
        with keras.StatelessScope(collect_losses=True):
            yield
    finally:
        for part, losses, ids in kept:  # Keras forgets those of the last call at each new one
            part._losses[:] = losses
            part._loss_ids.clear()
            part._loss_ids.update(ids)


def own_output(model: Any, inputs: Sequence[Any]) -> Any:
    """What the model itself computes of its inputs, a flat list, at inference."""
    function = _as_function(model)
    assert function is not None
    with untouched(function):
        return function(tree.pack_sequence_as(function._inputs_struct, inputs), training=False)


def input_names(model: Any) -> list[str]:
    """Names of a model's inputs: the keys of its dict of inputs, else those of the input layers."""
    function = _as_function(model)
    if function is not None and isinstance(function._inputs_struct, dict):
        return tree.flatten({key: key for key in function._inputs_struct})
    return [t._keras_history.operation.name for t in model.inputs]


def _as_function(op: Any) -> Functional | None:
    """The functional model behind a layer that is a model, or None."""
    if isinstance(op, keras.Sequential):
        op = op._functional if type(op).call is keras.Sequential.call else None
    if isinstance(op, Functional) and type(op).call is Functional.call:
        return op
    return None


def _not_traceable(model: Any) -> str:
    if isinstance(model, keras.Sequential) and not model.built:
        return (
            f"Expected a built model, got the unbuilt Sequential {model.name!r}: "
            "call model.build(input_shape) first."
        )
    kind = f"{type(model).__module__}.{type(model).__name__}"
    if isinstance(model, keras.Model):
        return (
            "Expected a functional or Sequential Keras model, whose layers can be followed, got "
            f"{kind}, which defines its own call(): rebuild it with keras.Model(inputs, outputs)."
        )
    hint = ""
    if is_library_class(type(model)) or any(is_library_class(c) for c in type(model).__mro__):
        hint = ": rebuild the Keras 2 model with Keras 3"
    return f"Expected a Keras 3 model, got {kind}{hint}."


class _Walk:
    """Numbers the tensors and collects the nodes of a model and the models in it."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.shapes: dict[int, Shape] = {}
        self.booleans: set[int] = set()
        self._calls: Counter[str] = Counter()

    def new_slot(self, tensor: Any) -> int:
        slot = len(self.shapes)
        self.shapes[slot] = tuple(tensor.shape)
        return slot

    def function(self, function: Functional, scope: dict[int, int], prefix: str) -> None:
        """Walks one model; `scope` maps the ids of its symbolic tensors to slots and grows."""
        by_depth = function._nodes_by_depth
        for depth in sorted(by_depth, reverse=True):
            for node in by_depth[depth]:
                if node.is_input or any(id(t) not in scope for t in node.input_tensors):
                    continue
                self._node(node, scope, prefix)

    def _node(self, node: Any, scope: dict[int, int], prefix: str) -> None:
        op = node.operation
        arguments = node.arguments
        taken = [t for t in tree.flatten((arguments.args, arguments.kwargs)) if _is_symbolic(t)]
        is_mask = [t.dtype == "bool" for t in taken]
        slots = [(scope[id(t)], mask) for t, mask in zip(taken, is_mask, strict=True)]
        inputs = tuple(slot for slot, mask in slots if not mask)
        masks = tuple(slot for slot, mask in slots if mask)
        name = prefix + op.name
        count = self._calls[name]
        self._calls[name] += 1
        if count:
            name = next(n for k in itertools.count(count) if not self._calls[n := f"{name}:{k}"])
            self._calls[name] += 1
        inner = _as_function(op)
        if inner is not None and arguments.args and isinstance(arguments.args[0], dict):
            given = arguments.args[0]
            if given.keys() >= set(input_names(inner)):
                inputs = tuple(scope[id(given[key])] for key in input_names(inner))
        if inner is not None and len(inner.inputs) == len(inputs):
            inner_scope = {id(t): slot for t, slot in zip(inner.inputs, inputs, strict=True)}
            self.function(inner, inner_scope, name + "/")
            outputs = [inner_scope[id(t)] for t in inner.outputs]
            scope.update((id(t), slot) for t, slot in zip(node.outputs, outputs, strict=True))
            return
        outputs = [self.new_slot(t) for t in node.outputs]
        scope.update((id(t), slot) for t, slot in zip(node.outputs, outputs, strict=True))
        self.booleans.update(
            s for s, t in zip(outputs, node.outputs, strict=True) if t.dtype == "bool"
        )
        call = _Call(op, (arguments.args, arguments.kwargs), is_mask)
        constant = bool(arguments.args) and isinstance(arguments.args[0], int | float)
        self.nodes.append(Node(op, name, inputs, masks, tuple(outputs), call, constant))


def _is_symbolic(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


class _Call:
    """Calls an operation as the model does, with other tensors in the places of the symbolic ones."""

    def __init__(self, op: Any, arguments: Any, is_mask: Sequence[bool]) -> None:
        self._op = op
        self._arguments = arguments
        self._is_mask = is_mask

    def _filled(self, inputs: Sequence[Any], masks: Sequence[Any]) -> tuple[Any, Any]:
        sources = iter(inputs), iter(masks)
        values = iter([next(sources[mask]) for mask in self._is_mask])
        return tree.map_structure(
            lambda leaf: next(values) if _is_symbolic(leaf) else leaf, self._arguments
        )

    def first_argument(self, inputs: Sequence[Any]) -> Any:
        """The inputs in the structure that the layer takes as its first argument."""
        args, _ = self._filled(inputs, [])
        if len([leaf for leaf in tree.flatten(self._arguments[0][0]) if _is_symbolic(leaf)]) < len(
            inputs
        ):
            raise InputError(
                "Expected layers that take their tensors as one argument, but layer "
                f"{self._op.name!r} takes several."
            )
        return args[0]

    def operands(self, tensors: Sequence[Any]) -> list[Any]:
        """The tensors and constants that an operation takes, in order."""
        return tree.flatten(self._filled(tensors, []))

    def __call__(
        self, inputs: Sequence[Any], masks: Sequence[Any] = (), as_is: bool = False
    ) -> list[Any]:
        args, kwargs = self._filled(inputs, masks)
        if getattr(self._op, "_call_has_training_arg", False):
            kwargs = kwargs | {"training": False}  # as at prediction, whatever the default
        with untouched(self._op):
            if not as_is:
                return tree.flatten(self._op(*args, **kwargs))
            return tree.flatten(self._op.call(*args, **kwargs))


def without_head(graph: Graph) -> Graph:
    """The same graph without the softmax at its end, nor one that only moves follow: to its logits."""
    slot = graph.output
    while (node := graph.producers.get(slot)) and activation_name(node.layer) not in HEADS:
        moves = is_a(node.layer, ROUTING | ELEMENTWISE) or _is_linear_activation(node.layer)
        if not moves or len(node.inputs) != 1 or graph.crosses_samples(node):
            return _pruned(graph, graph.output)
        slot = node.inputs[0]
    if node is None:
        return _pruned(graph, graph.output)
    if not is_a(node.layer, ACTIVATION):
        return _pruned(dataclasses.replace(graph, fused=slot), graph.output)
    nodes = [_reading(n, slot, node.inputs[0]) for n in graph.nodes if n is not node]
    output = node.inputs[0] if slot == graph.output else graph.output
    return _pruned(dataclasses.replace(graph, nodes=tuple(nodes)), output)


def _is_linear_activation(layer: Any) -> bool:
    return is_a(layer, {"Activation"}) and activation_name(layer) is None


def _reading(node: Node, old: int, new: int) -> Node:
    """The node with one slot of its inputs exchanged."""
    inputs = tuple(new if slot == old else slot for slot in node.inputs)
    return dataclasses.replace(node, inputs=inputs)


def _pruned(graph: Graph, output: int) -> Graph:
    """The nodes that lead to a slot."""
    wanted = {output}
    nodes = []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            nodes.append(node)
            wanted.update(node.inputs + node.masks)
    return dataclasses.replace(graph, nodes=tuple(reversed(nodes)), output=output)
