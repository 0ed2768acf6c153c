"""From a Keras 2 model to its graph of nodes. Reads the model; changes nothing of it."""

import inspect
from collections import Counter
from collections.abc import Sequence, Set
from typing import Any

import tensorflow as tf
import tensorflow.keras.models as kmodels

from rap_keras.errors import InputError
from rap_keras.network.graph import Graph, Node, Shape
from rap_keras.network.layer_types import is_library_class


def trace(model: Any) -> tuple[Graph, dict[int, int]]:
    """The graph of a Keras 2 model from its inputs to its output. Nested models are opened.

    Args:
        model: A functional or Sequential model of graph tensors, with one output.

    Returns:
        The graph, and the slot of each tensor of the outermost model by the tensor's id.

    Raises:
        InputError: The model has several outputs, implicit masks, or calls that cannot be followed.
    """
    if len(model.outputs) != 1:
        raise InputError(
            f"Expected a model with one output, got {len(model.outputs)}: explain one of them, "
            "tf.keras.Model(model.inputs, model.outputs[k])."
        )
    _check_traceable(model)
    walk = _Walk()
    inputs = tuple(walk.new_slot(t.shape) for t in model.inputs)
    scope = {id(t): slot for t, slot in zip(model.inputs, inputs, strict=True)}
    output = walk.model(model, scope, "")
    booleans = frozenset(s for s, t in zip(inputs, model.inputs, strict=True) if t.dtype == tf.bool)
    graph = Graph(
        nodes=tuple(walk.nodes),
        inputs=inputs,
        input_names=tuple(model.input_names),
        output=output,
        shapes=walk.shapes,
        images=frozenset(s for s in inputs if len(walk.shapes[s]) > 2) - booleans,
        booleans=booleans,
    )
    return graph, scope


def is_nested(model: Any) -> bool:
    """Whether a model has models among its layers."""
    return any(isinstance(layer, kmodels.Model) for layer in model.layers)


def takes_tuples(model: Any) -> bool:
    """Whether a layer was called with its tensors in a tuple."""
    nodes = (node for group in getattr(model, "_nodes_by_depth", {}).values() for node in group)
    return any(isinstance(node.call_args[0], tuple) for node in nodes if not node.is_input)


class _Walk:
    """Numbers the tensors and collects the nodes of a model and the models in it."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.shapes: dict[int, Shape] = {}
        self._calls: Counter[str] = Counter()

    def new_slot(self, shape: Any) -> int:
        slot = len(self.shapes)
        self.shapes[slot] = tuple(shape)
        return slot

    def model(self, model: Any, scope: dict[int, int], prefix: str) -> int:
        """Walks one functional model; `scope` maps ids of its tensors to slots and grows."""
        by_depth = model._nodes_by_depth
        for depth in sorted(by_depth, reverse=True):
            for node in by_depth[depth]:
                if node.is_input or any(id(t) not in scope for t in node.keras_inputs):
                    continue
                outputs = tf.nest.flatten(node.outputs)
                call = _Call(node.layer, node.call_args, {id(t) for t in node.keras_inputs})
                slots = self._layer(
                    node.layer,
                    prefix,
                    [scope[id(t)] for t in node.keras_inputs],
                    call,
                    [t.shape for t in outputs],
                )
                if any(getattr(t, "_keras_mask", None) is not None for t in node.keras_inputs):
                    raise InputError(
                        "Expected a model without implicit masks (mask_zero, Masking), but layer "
                        f"{node.layer.name!r} gets one: use rap_keras.create_analyzer with Keras 3."
                    )
                scope.update((id(t), slot) for t, slot in zip(outputs, slots, strict=True))
        return scope[id(model.outputs[0])]

    def _layer(
        self, layer: Any, prefix: str, inputs: Sequence[int], call: "_Call", shapes: Sequence[Any]
    ) -> list[int]:
        name = prefix + layer.name
        count = self._calls[name]
        self._calls[name] += 1
        if count:
            name = f"{name}:{count}"
        if isinstance(layer, kmodels.Model):
            return self._nested(layer, name, inputs)
        outputs = [self.new_slot(shape) for shape in shapes]
        self.nodes.append(Node(layer, name, tuple(inputs), (), tuple(outputs), call))
        return outputs

    def _nested(self, inner: Any, name: str, inputs: Sequence[int]) -> list[int]:
        if getattr(inner, "_nodes_by_depth", None):
            _check_traceable(inner)
            if len(inner.outputs) != 1 or len(inner.inputs) != len(inputs):
                raise InputError(
                    f"Expected nested models with one output, each input given, but {name!r} has "
                    f"{len(inner.inputs)} inputs and {len(inner.outputs)} outputs: flatten it."
                )
            scope = {id(t): slot for t, slot in zip(inner.inputs, inputs, strict=True)}
            return [self.model(inner, scope, name + "/")]
        if not isinstance(inner, kmodels.Sequential) or len(inputs) != 1:
            raise InputError(_NOT_TRACEABLE.format(inner.name, type(inner).__name__))
        _check_traceable(inner)
        (slot,) = inputs
        for layer in inner.layers:  # a Sequential that was never told its input shape has no nodes
            shape = layer.compute_output_shape(self.shapes[slot])
            (slot,) = self._layer(
                layer, name + "/", [slot], _Call(layer, (_ANY,), {id(_ANY)}), [shape]
            )
        return [slot]


_ANY = object()  # the one tensor that a layer of a Sequential takes


_NOT_TRACEABLE = (
    "Expected functional or Sequential models, whose layers can be followed, but {!r} ({}) defines its "
    "own call(): rebuild it with tf.keras.Model(inputs, outputs)."
)


def _check_traceable(model: Any) -> None:
    """Refuses a model whose class computes something else than its graph."""
    defining = next(cls for cls in type(model).__mro__ if "call" in vars(cls))
    if not is_library_class(defining):
        raise InputError(_NOT_TRACEABLE.format(model.name, type(model).__name__))


class _Call:
    """Calls a layer as the model does, at inference, with other tensors; leaves no node on the layer."""

    def __init__(self, layer: Any, args: Any, symbolic: Set[int]) -> None:
        self._layer = layer
        self._args = args
        self._symbolic = symbolic

    def first_argument(self, inputs: Sequence[Any]) -> Any:
        """The inputs in the structure that the layer takes as its first argument."""
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
        """The tensors and constants that a bare TensorFlow operation takes, in order."""
        values = list(tensors)
        for position, constant in sorted(self._layer.constants.items()):
            values.insert(position, constant)
        return values

    def constants(self) -> list[Any]:
        """The constants that a bare TensorFlow operation takes."""
        return list(getattr(self._layer, "constants", {}).values())

    def __call__(
        self, inputs: Sequence[Any], masks: Sequence[Any] = (), as_is: bool = False
    ) -> list[Any]:
        """The flat outputs."""
        kwargs = {}
        if "training" in inspect.signature(self._layer.call).parameters:
            kwargs["training"] = False
        return tf.nest.flatten(self._layer.call(self.first_argument(inputs), **kwargs))
