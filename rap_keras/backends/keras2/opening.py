"""Opens layers and models of Keras 2 that only call others, as graphs of these calls."""

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
import tensorflow.keras.layers as klayers
import tensorflow.keras.models as kmodels

from rap_keras.backends.keras2.graphs import engine, fast_building
from rap_keras.backends.keras2.operations import RESHAPES, is_symbolic
from rap_keras.backends.opening import CannotOpen, why_call_failed
from rap_keras.composites.composite import has_registered_rule
from rap_keras.network.layer_types import CONTRACTION, KNOWN, is_a, is_library_class


def is_composite(layer: Any) -> bool:
    """Whether a layer, or a model that defines its `call`, is defined only by what it calls."""
    if isinstance(layer, kmodels.Model):
        defining = next(cls for cls in type(layer).__mro__ if "call" in vars(cls))
        return not is_library_class(defining)
    known = is_a(layer, KNOWN | CONTRACTION) or has_registered_rule(layer)
    return not (known or is_bare_operation(layer) or why_not_opened(layer))


def why_not_opened(layer: Any) -> str:
    """Why there is no attempt to open a layer: part of a sentence, or empty."""
    if isinstance(layer, klayers.RNN | klayers.Wrapper):
        return "it repeats or changes what another layer does"
    return ""


def is_bare_operation(layer: Any) -> bool:
    """Whether Keras 2 made this layer from a TensorFlow operation on its tensors."""
    return type(layer).__name__ == "TensorFlowOpLayer"


def operands(layer: Any, tensors: Sequence[Any]) -> list[Any]:
    """The tensors and constants that a bare operation takes, in order."""
    values, constants = list(tensors), dict(layer.constants)
    if any(map(tf.is_tensor, constants.values())):  # as in models built within `fast_building`
        constants = tf.compat.v1.keras.backend.get_session().run(constants)
    for position, constant in sorted(constants.items()):
        values.insert(position, constant)
    return values


def open_layer(layer: Any, args: Any, kwargs: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Calls a layer's `call` on symbolic tensors, as functional models do, at inference.

    Returns the tensors that replace those of the arguments, the nodes of the graph in an order in which
    they can be computed, and the tensors that the call returned.
    """
    inputs: list[Any] = []

    def fresh(leaf: Any) -> Any:
        if not (is_symbolic(leaf) or isinstance(leaf, tf.TensorSpec)):
            return leaf
        inputs.append(klayers.Input(leaf.shape[1:], dtype=leaf.dtype))
        return inputs[-1]

    args, kwargs = tf.nest.map_structure(fresh, (args, kwargs))
    kwargs.pop("training", None)
    if "training" in inspect.signature(layer.call).parameters:
        kwargs["training"] = False
    with _unchanged(layer):
        try:
            with fast_building():
                outputs = tf.nest.flatten(layer.call(*args, **kwargs))
                engine("base_layer_utils").create_keras_history(outputs)
            nodes = _nodes_to(outputs)
        except Exception as error:
            raise CannotOpen(why_call_failed(layer, error)) from error
        _evaluate([node.layer for node in nodes if is_bare_operation(node.layer)])
    return inputs, nodes, outputs


@contextlib.contextmanager
def _unchanged(layer: Any) -> Iterator[None]:
    """Removes the traces of symbolic calls on the layers: nodes, losses and updates."""
    names = ("_inbound_nodes", "_outbound_nodes", "_losses", "_updates")
    kept = [
        (getattr(each, name), len(getattr(each, name)))
        for each in layer._flatten_layers()
        for name in names
        if isinstance(getattr(each, name, None), list)
    ]
    try:
        yield
    finally:
        for traces, length in kept:
            del traces[length:]


def needed(node: Any) -> list[Any]:
    """The tensors that a node takes, without those that define a new shape."""
    tensors = list(node.keras_inputs)
    if is_bare_operation(node.layer) and node.layer.node_def.op in RESHAPES:
        return tensors[:1]
    return tensors


def _nodes_to(outputs: Sequence[Any]) -> list[Any]:
    """The nodes that lead to tensors, each after those that it takes tensors from."""
    found: dict[int, Any] = {}
    left = [_maker(t) for t in outputs]
    while left:
        node = left[-1]
        before = [_maker(t) for t in needed(node)]
        missing = [n for n in before if id(n) not in found and not n.is_input]
        if missing and id(node) not in found:
            left += missing
            continue
        left.pop()
        if not node.is_input:
            found.setdefault(id(node), node)
    return list(found.values())


def _maker(tensor: Any) -> Any:
    layer, place, _ = tensor._keras_history
    return layer._inbound_nodes[place]


def _evaluate(layers: Sequence[Any]) -> None:
    """The constants of operations as arrays, in one run of the session."""
    places = [(layer, k) for layer in layers for k in layer.constants]
    tensors = [layer.constants[k] for layer, k in places]
    _refuse_state([t.op for t in tensors])
    values = tf.compat.v1.keras.backend.get_session().run(tensors) if tensors else []
    for (layer, k), value in zip(places, values, strict=True):
        layer.constants[k] = value


def _refuse_state(operations: Sequence[Any]) -> None:
    """Raises an error for constants that are random, or change whenever they are computed."""
    left, seen = list(operations), set()
    while left:
        operation = left.pop()
        if operation in seen:
            continue
        seen.add(operation)
        if operation.op_def.is_stateful and operation.type not in _READING:
            raise CannotOpen(f"it calls {operation.type}, which draws random numbers or has state")
        left += [t.op for t in operation.inputs] + operation.control_inputs


_READING = {"VarHandleOp", "ReadVariableOp"}
