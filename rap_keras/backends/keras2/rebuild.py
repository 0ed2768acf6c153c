"""Rebuilds models so that iNNvestigate can analyze them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.keras.backend as kbackend
import tensorflow.keras.layers as klayers
import tensorflow.keras.models as kmodels

from rap_keras.backends.keras2.graphs import entering, graph_scope, reserve_names, valid_name
from rap_keras.backends.keras2.opening import is_bare_operation
from rap_keras.backends.keras2.operations import OF_KERAS, layer_of
from rap_keras.backends.keras2.trace import has_insides, is_itself, takes_tuples, trace
from rap_keras.errors import InputError
from rap_keras.network.graph import Graph, Node, Shape
from rap_keras.network.layer_types import HEADS, activation_name, is_a, is_layer
from rap_keras.support.text import first_line

Copy = Callable[[Any, str], Any]


def prepare(model: Any, keep_head: bool = True, negated: bool = False) -> Any:
    """A model that iNNvestigate's own analyzers can analyze, where they would fail or be wrong.

    Nested models, which iNNvestigate treats as single layers, are flattened. Layers without a rule that
    only call others are opened, and bare TensorFlow operations become layers. The result is then a copy
    with the current weights. The layers that analyzers add get names that no layer of the model has.

    Args:
        model: A Keras 2 model, built or loaded with eager execution off or by `from_keras3`. If it
            defines its `call`, it must have been called on an `Input`. It is not changed.
        keep_head: Keep the softmax or sigmoid at the end. False: the result ends with the logits, as
            most analyzers require.
        negated: With `keep_head=False`, end with the negated logit: the kernel and the bias of the last
            Dense layer are negated. This is for a model with one sigmoid, whose only neuron in
            iNNvestigate is class 1: neuron 0 of the new model is class 0.

    Returns:
        The model itself if it can be analyzed as it is, otherwise a copy that computes the same. A
        layer of a nested or opened model is named "model/layer".

    Raises:
        InputError: The model is in no graph, or a part of it cannot be rebuilt.

    Example:
        >>> import tensorflow as tf
        >>> with rap_keras.innvestigate.new_graph():
        ...     dense = tf.keras.layers.Dense(2, activation="softmax", input_shape=(3,))
        ...     model = tf.keras.Sequential([dense])
        >>> logits = rap_keras.innvestigate.prepare(model, keep_head=False)
        >>> analyzer = rap_keras.innvestigate.create_analyzer("gradient", logits)
        >>> analyzer.analyze(np.ones((1, 3))).shape
        (1, 3)
    """
    with graph_scope(model):
        flat = flattened(model)
        if not keep_head:
            flat = _without_head(flat)
        if negated:
            flat = negated_logit(flat)
        reserve_names(flat)
    return entering(flat, flat)


def _without_head(model: Any) -> Any:
    """The flat model itself or, if it ends with a softmax or sigmoid, the model of its logits."""
    if not any(activation_name(t._keras_history.layer) in HEADS for t in model.outputs):
        return model
    return kmodels.Model(model.inputs, [_logits(t) for t in model.outputs], name=model.name)


def _logits(output: Any) -> Any:
    """The output, or the input of its softmax or sigmoid."""
    layer, call, _ = output._keras_history
    if activation_name(layer) not in HEADS:
        return output
    given = layer.get_input_at(call)
    if not layer.weights:
        return given
    name = layer.name if len(layer._inbound_nodes) == 1 else f"{layer.name}/logits"
    copy = type(layer).from_config(layer.get_config() | {"name": name, "activation": "linear"})
    logits = copy(given)
    assign(copy.weights, kbackend.batch_get_value(layer.weights))
    return logits


def negated_logit(model: Any) -> Any:
    """The model with the negated logit."""
    output = model.outputs[0]
    layer, call, _ = output._keras_history
    ends = is_a(layer, {"Dense", "EinsumDense"}) and activation_name(layer) is None
    if not ends or len(model.outputs) > 1 or tuple(output.shape[1:]) != (1,):
        raise InputError(
            "Expected a model that ends in one logit of a Dense layer to negate it, got one whose "
            f"last layer is {type(layer).__name__} {layer.name!r} of shape {tuple(output.shape)}: pass "
            "keep_head=False, or use rap_keras.create_analyzer."
        )
    copy = type(layer).from_config(layer.get_config())
    logit = copy(layer.get_input_at(call))
    assign(copy.weights, [-w for w in kbackend.batch_get_value(layer.weights)])
    return kmodels.Model(model.inputs, logit, name=model.name)


def flattened(model: Any) -> Any:
    """The model itself or, if a part of it can be opened or is a bare operation, a flat copy."""
    tuples = takes_tuples(model)
    if not tuples and not has_insides(model):
        return model
    graph, _ = trace(model)
    if not tuples and is_itself(model, graph):
        return model
    copies: list[tuple[Any, Any]] = []

    def copy(layer: Any, name: str) -> Any:
        try:
            new = type(layer).from_config(layer.get_config() | {"name": name})
        except Exception as error:
            raise InputError(
                f"Expected layers that can be copied, but {type(layer).__name__} {layer.name!r} cannot "
                f"({first_line(error)}): give it a get_config that returns what its __init__ takes."
            ) from error
        copies.append((layer, new))
        return new

    flat = built(graph, copy, [t.dtype.name for t in model.inputs], model.name)
    for pair in copies:  # the order of weights depends on which layers inside are frozen
        for old, new in zip(*(layer._flatten_layers() for layer in pair), strict=True):
            new._trainable = old._trainable
    sources = [v for old, _ in copies for v in old.weights]
    targets = [v for _, new in copies for v in new.weights]
    assign(targets, kbackend.batch_get_value(sources))
    _compare_copy(model, flat)
    return flat


def built(
    graph: Graph,
    copy: Copy,
    dtypes: Sequence[str],
    name: str,
    constants: Mapping[int, np.ndarray] | None = None,
) -> Any:
    """A flat Keras 2 model of the nodes of a graph, each layer made by `copy(layer, name)`.

    `constants` maps ids to the values of operations' constants that a graph cannot read.
    """
    inputs = [
        klayers.Input(graph.shapes[slot][1:], name=valid_name(input_name), dtype=dtype)
        for slot, input_name, dtype in zip(graph.inputs, graph.input_names, dtypes, strict=True)
    ]
    values = dict(zip(graph.inputs, inputs, strict=True))
    made: dict[int, Any] = {}
    for node in graph.nodes:
        taken = [values[slot] for slot in node.inputs]
        if is_layer(node.layer) and not is_bare_operation(node.layer):
            if id(node.layer) not in made:
                made[id(node.layer)] = copy(node.layer, valid_name(node.name))
            argument = node.call.first_argument(taken)
            # iNNvestigate only looks for tensors in lists.
            given = made[id(node.layer)](
                list(argument) if isinstance(argument, tuple) else argument
            )
        else:
            layer, operands = _operation(
                node, taken, graph.shapes[node.outputs[0]], constants or {}
            )
            given = layer(operands)
        values.update(zip(node.outputs, tf.nest.flatten(given), strict=True))
    return kmodels.Model(inputs, values[graph.output], name=valid_name(name))


def assign(variables: Sequence[Any], arrays: Sequence[np.ndarray]) -> None:
    """Sets all weights in one run of the session; setting them one by one takes minutes."""
    pairs = list(zip(variables, arrays, strict=True))
    for variable, array in pairs:
        if tuple(variable.shape) != array.shape:
            raise InputError(
                f"Expected weight {variable.name!r} of shape {tuple(variable.shape)}, as Keras 2 "
                f"creates it, got {array.shape}: the layer differs between the versions of Keras."
            )
    kbackend.batch_set_value(pairs)


def _operation(
    node: Node, tensors: Sequence[Any], shape: Shape, constants: Mapping[int, np.ndarray]
) -> tuple[Any, Any]:
    """A layer that computes the same as a bare operation, and its inputs."""
    kind = getattr(getattr(node.layer, "node_def", None), "op", type(node.layer).__name__)
    operands = node.call.operands(tensors) if kind in OF_KERAS else []
    operands = [constants.get(id(operand), operand) for operand in operands]
    made = layer_of(kind, operands, valid_name(node.name), shape=shape)
    if made is None:
        more = " and constants" if len(operands) > len(tensors) else ""
        raise InputError(
            f"Expected operations that are layers in Keras 2, but {node.name!r} is {kind} of "
            f"{len(tensors)} tensors{more}: write it as a layer."
        )
    layer, taken = made
    return layer, taken if len(taken) > 1 else taken[0]


def _compare_copy(model: Any, flat: Any) -> None:
    """Raises an error if a flat copy does not compute the model's output."""
    sample = sample_of(model)
    session = tf.compat.v1.keras.backend.get_session()
    expected, got = (
        session.run(m.outputs[0], dict(zip(m.inputs, sample, strict=True))) for m in (model, flat)
    )
    why = (
        "its class computes something else than its graph, or a layer is called with training=True"
    )
    refuse_other(expected, got, why)


def sample_of(model: Any) -> list[np.ndarray]:
    """Two samples, the second of both signs, because layers may treat a single sample differently.

    Numbers below 1 are token 0.
    """
    rng = np.random.default_rng(0)
    samples = []
    for t in model.inputs:
        x = rng.uniform(0, 1, [t.shape[0] or 2, *(n or 32 for n in t.shape[1:])])
        x[1:] = 2 * x[1:] - 1
        samples.append(x.astype(tf.as_dtype(t.dtype).as_numpy_dtype))
    return samples


def refuse_other(expected: np.ndarray, got: np.ndarray, why: str) -> None:
    """Raises an error if a model does not compute the output of the original."""
    # NumPy cannot compare bfloat16.
    expected, got = (np.asarray(y, np.float64) for y in (expected, got))
    scale = np.abs(expected, where=np.isfinite(expected), out=np.zeros_like(expected)).max()
    if not np.allclose(got, expected, rtol=1e-3, atol=1e-4 * scale, equal_nan=True):
        raise InputError(
            "Expected the rebuilt model to compute what the original does, got outputs that differ by "
            f"up to {abs(got - expected).max():.3g}: {why}."
        )
