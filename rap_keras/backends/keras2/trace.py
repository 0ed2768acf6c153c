"""From a Keras 2 model to its graph of nodes. The model is not changed."""

import inspect
from collections import Counter
from collections.abc import Sequence, Set
from typing import Any

import tensorflow as tf
import tensorflow.keras.layers as klayers
import tensorflow.keras.models as kmodels

from rap_keras.backends.keras2.graphs import valid_name
from rap_keras.backends.keras2.opening import (
    is_bare_operation,
    is_composite,
    needed,
    open_layer,
    operands,
    why_not_opened,
)
from rap_keras.backends.keras2.operations import layer_of
from rap_keras.backends.opening import CannotOpen
from rap_keras.errors import InputError
from rap_keras.network.graph import Graph, Node, Shape
from rap_keras.network.node import Call, nodes_to


def trace(model: Any) -> tuple[Graph, dict[int, int]]:
    """The graph of a Keras 2 model with one output, and the slots of its tensors by their ids.

    Nested models are opened, as well as layers and models that only call others. Bare operations become
    layers that compute the same, if there are any.
    """
    if len(model.outputs) != 1:
        raise InputError(
            f"Expected a model with one output, got {len(model.outputs)}: explain one of them, "
            "tf.keras.Model(model.inputs, model.outputs[k])."
        )
    walk = _Walk()
    inputs = tuple(walk.new_slot(t.shape) for t in model.inputs)
    scope = {id(t): slot for t, slot in zip(model.inputs, inputs, strict=True)}
    if is_composite(model):
        taken = getattr(model, "_nested_inputs", None)
        taken = model._saved_model_inputs_spec if taken is None else taken
        try:
            (output,) = walk.opened(model, (taken,), {}, inputs, "")
        except CannotOpen as error:
            raise InputError(
                f"Expected a model whose layers can be traced, but {error}: rebuild it with "
                "tf.keras.Model(inputs, outputs)."
            ) from error
    else:
        output = walk.model(model, scope, "")
    booleans = frozenset(s for s, t in zip(inputs, model.inputs, strict=True) if t.dtype == tf.bool)
    graph = Graph(
        nodes=nodes_to(output, walk.nodes),
        inputs=inputs,
        input_names=tuple(model.input_names),
        output=output,
        shapes=walk.shapes,
        images=frozenset(s for s in inputs if len(walk.shapes[s]) > 2) - booleans,
        booleans=booleans,
    )
    return graph, scope


def has_insides(model: Any) -> bool:
    """Whether a model or a layer of it can be opened, or a layer is a bare operation."""
    return is_composite(model) or any(
        isinstance(layer, kmodels.Model) or is_bare_operation(layer) or is_composite(layer)
        for layer in model.layers
    )


def is_itself(model: Any, graph: Graph) -> bool:
    """Whether the graph consists of the model's own layers, because nothing in it could be opened."""
    layers = [layer for layer in model.layers if not isinstance(layer, klayers.InputLayer)]
    nodes = {id(node.layer) for node in graph.nodes}
    inside = is_composite(model) or any(map(is_bare_operation, layers))
    return not inside and nodes == {id(layer) for layer in layers}


def takes_tuples(model: Any) -> bool:
    """Whether a layer was called with its tensors in a tuple."""
    nodes = (node for group in getattr(model, "_nodes_by_depth", {}).values() for node in group)
    return any(isinstance(node.call_args[0], tuple) for node in nodes if not node.is_input)


class _Walk:
    """Numbers the tensors and collects the nodes of a model and of the models and layers in it."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.shapes: dict[int, Shape] = {}
        self._calls: Counter[str] = Counter()

    def new_slot(self, shape: Any) -> int:
        slot = len(self.shapes)
        self.shapes[slot] = tuple(shape)
        return slot

    def model(self, model: Any, scope: dict[int, int], prefix: str) -> int:
        """Walks one functional model. `scope` maps ids of its tensors to slots; new ones are added."""
        by_depth = model._nodes_by_depth
        for depth in sorted(by_depth, reverse=True):
            for node in by_depth[depth]:
                if node.is_input or any(id(t) not in scope for t in node.keras_inputs):
                    continue
                self._node(node, scope, prefix)
        return scope[id(model.outputs[0])]

    def opened(
        self, layer: Any, args: Any, kwargs: Any, slots: Sequence[int], prefix: str
    ) -> list[int]:
        """Walks the graph of a layer's call; `CannotOpen` if an operation is computed by no layer."""
        inputs, nodes, outputs = open_layer(layer, args, kwargs)
        scope = {id(t): slot for t, slot in zip(inputs, slots, strict=True)}
        for node in nodes:
            self._node(node, scope, prefix, inside=True)
        return [scope[id(t)] for t in outputs]

    def _node(self, node: Any, scope: dict[int, int], prefix: str, inside: bool = False) -> None:
        """Adds one call; `inside` means that the call is inside an opened layer."""
        layer, taken, outputs = node.layer, needed(node), tf.nest.flatten(node.outputs)
        if any(id(t) not in scope for t in taken):
            raise CannotOpen("it takes tensors that it is not called with")
        if any(getattr(t, "_keras_mask", None) is not None for t in taken):
            raise InputError(
                "Expected a model without implicit masks (mask_zero, Masking), but layer "
                f"{layer.name!r} gets one: use rap_keras.create_analyzer with Keras 3."
            )
        kind = layer.node_def.op if is_bare_operation(layer) else None
        if kind in _PASSING:
            passed = zip(outputs, operands(layer, taken), strict=True)
            scope.update((id(t), scope[id(o)]) for t, o in passed if id(o) in scope)
            return
        name = self._name(prefix + (kind.lower() if kind and inside else layer.name))
        args, kwargs = node.call_args, node.call_kwargs
        if kind:
            given = operands(layer, taken)
            attributes = layer.node_def.attr
            made = layer_of(kind, given, valid_name(name), attributes, outputs[0].shape)
            if made:
                layer, taken = made
                args = (taken if len(taken) > 1 else taken[0],)
            elif inside:
                raise CannotOpen(
                    f"it calls {kind} of {len(taken)} tensors and {len(given) - len(taken)} constants, "
                    "which no layer of Keras 2 computes"
                )
        call = _LayerCall(layer, args, {id(t) for t in taken})
        slots = [scope[id(t)] for t in taken]
        found = self._layer(layer, name, slots, call, (args, kwargs), [t.shape for t in outputs])
        scope.update((id(t), slot) for t, slot in zip(outputs, found, strict=True))

    def _layer(
        self,
        layer: Any,
        name: str,
        inputs: Sequence[int],
        call: Call,
        arguments: tuple[Any, Any],
        shapes: Sequence[Any],
    ) -> list[int]:
        why = why_not_opened(layer)
        if is_composite(layer):
            before = list(self.nodes), self._calls.copy()
            try:
                return self.opened(layer, *arguments, inputs, name + "/")
            except CannotOpen as error:
                (self.nodes, self._calls), why = before, str(error)
        elif isinstance(layer, kmodels.Model):
            return self._nested(layer, name, inputs)
        outputs = [self.new_slot(shape) for shape in shapes]
        self.nodes.append(Node(layer, name, tuple(inputs), (), tuple(outputs), call, closed=why))
        return outputs

    def _name(self, name: str) -> str:
        count = self._calls[name]
        self._calls[name] += 1
        return f"{name}:{count}" if count else name

    def _nested(self, inner: Any, name: str, inputs: Sequence[int]) -> list[int]:
        if getattr(inner, "_nodes_by_depth", None):
            if len(inner.outputs) != 1 or len(inner.inputs) != len(inputs):
                raise InputError(
                    f"Expected nested models with one output, each input given, but {name!r} has "
                    f"{len(inner.inputs)} inputs and {len(inner.outputs)} outputs: flatten it."
                )
            scope = {id(t): slot for t, slot in zip(inner.inputs, inputs, strict=True)}
            return [self.model(inner, scope, name + "/")]
        # A Sequential without an input shape has no nodes.
        (slot,) = inputs
        for layer in inner.layers:
            full = self._name(f"{name}/{layer.name}")
            spec = tf.TensorSpec(self.shapes[slot], layer.compute_dtype)
            call = _LayerCall(layer, (spec,), {id(spec)})
            shape = layer.compute_output_shape(spec.shape)
            (slot,) = self._layer(layer, full, [slot], call, ((spec,), {}), [shape])
        return [slot]


# Operations that return their inputs.
_PASSING = {"Identity", "IdentityN"}


class _LayerCall(Call):
    """Repeats a model's call of a layer, at inference, with other tensors; adds no node to the layer."""

    def __init__(self, layer: Any, args: Any, symbolic: Set[int]) -> None:
        self._layer = layer
        self._args = args
        self._symbolic = symbolic

    def first_argument(self, inputs: Sequence[Any]) -> Any:
        values = list(inputs)
        first = tf.nest.map_structure(
            lambda leaf: values.pop(0) if id(leaf) in self._symbolic else leaf, self._args[0]
        )
        if values:
            raise InputError(
                "Expected layers that take their tensors as one argument, but layer "
                f"{self._layer.name!r} takes several."
            )
        return first

    def operands(self, tensors: Sequence[Any]) -> list[Any]:
        return operands(self._layer, tensors)

    def constants(self) -> list[Any]:
        return list(getattr(self._layer, "constants", {}).values())

    def __call__(
        self, inputs: Sequence[Any], masks: Sequence[Any] = (), as_is: bool = False
    ) -> list[Any]:
        kwargs = {}
        if "training" in inspect.signature(self._layer.call).parameters:
            kwargs["training"] = False
        return tf.nest.flatten(self._layer.call(self.first_argument(inputs), **kwargs))
