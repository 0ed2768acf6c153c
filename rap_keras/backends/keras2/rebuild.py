"""Models that iNNvestigate can analyze, rebuilt from models that it cannot."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.keras.backend as kbackend
import tensorflow.keras.layers as klayers
import tensorflow.keras.models as kmodels

from rap_keras.backends.keras2.graphs import (
    entering,
    graph_scope,
    new_graph,
    reserve_names,
    valid_name,
)
from rap_keras.backends.keras2.opening import is_bare_operation
from rap_keras.backends.keras2.operations import OF_KERAS, layer_of
from rap_keras.backends.keras2.trace import has_insides, is_itself, takes_tuples, trace
from rap_keras.backends.version import has_keras3
from rap_keras.errors import InputError
from rap_keras.inputs.outputs import read_output
from rap_keras.network.graph import Graph, Node, Shape
from rap_keras.network.layer_types import HEADS, activation_name, is_a, is_layer
from rap_keras.propagate import forward
from rap_keras.support.text import first_line

Copy = Callable[[Any, str], Any]


def prepare(model: Any, keep_head: bool = True, negated: bool = False) -> Any:
    """A model on which iNNvestigate's own analyzers work, where they would fail or be wrong.

    Nested models, which iNNvestigate takes for single layers, are flattened, layers without a rule that
    only call others are opened, and bare TensorFlow operations become layers; the result is then a copy,
    with the weights as they are now. The names of the model's layers are kept free: the layers that
    analyzers add get other names.

    Args:
        model: A Keras 2 model, built or loaded with eager execution off or by `from_keras3`. One that
            defines its own `call` must have been called on an `Input`. It is not changed.
        keep_head: Keep the softmax or sigmoid at the end. False ends the result with the logits, as
            most analyzers need it.
        negated: With `keep_head=False`, end with the negated logit: the kernel and the bias of the last
            Dense layer are negated. For a model with one sigmoid, whose only neuron in iNNvestigate is
            class 1, neuron 0 of the new model is class 0.

    Returns:
        The model itself where it can be analyzed as it is, else a copy that computes the same. A layer
        of a nested model, or of one that is opened, is named "model/layer".

    Raises:
        InputError: The model is in no graph, or something in it cannot be rebuilt.
    """
    with graph_scope(model):
        flat = flattened(model)
        if not keep_head:
            flat = _without_head(flat)
        if negated:
            flat = _negated(flat)
        reserve_names(flat)
    return entering(flat, flat)


def _without_head(model: Any) -> Any:
    """The flat model itself, or, where a softmax or sigmoid ends it, the model of its logits."""
    if not any(activation_name(t._keras_history.layer) in HEADS for t in model.outputs):
        return model
    return kmodels.Model(model.inputs, [_logits(t) for t in model.outputs], name=model.name)


def _logits(output: Any) -> Any:
    """The output, or what goes into the softmax or sigmoid that it is of."""
    layer, call, _ = output._keras_history
    if activation_name(layer) not in HEADS:
        return output
    given = layer.get_input_at(call)
    if not layer.weights:
        return given
    name = layer.name if len(layer._inbound_nodes) == 1 else f"{layer.name}/logits"
    copy = type(layer).from_config(layer.get_config() | {"name": name, "activation": "linear"})
    logits = copy(given)
    _assign(copy.weights, kbackend.batch_get_value(layer.weights))
    return logits


def _negated(model: Any) -> Any:
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
    _assign(copy.weights, [-w for w in kbackend.batch_get_value(layer.weights)])
    return kmodels.Model(model.inputs, logit, name=model.name)


def flattened(model: Any) -> Any:
    """The model itself, or, where something in it can be opened or is a bare operation, a flat copy."""
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

    flat = _built(graph, copy, [t.dtype.name for t in model.inputs], model.name)
    sources = [v for old, _ in copies for v in old.weights]
    targets = [v for _, new in copies for v in new.weights]
    _assign(targets, kbackend.batch_get_value(sources))
    _compare_copy(model, flat)
    return flat


def from_keras3(
    model: Any,
    keep_head: bool = True,
    custom_objects: Mapping[str, type] | None = None,
    output: str | int | None = None,
    negated: bool = False,
) -> Any:
    """Rebuilds a Keras 3 model on Keras 2, so that iNNvestigate can analyze it.

    The new model lives in a TensorFlow graph of its own; eager execution stays on. Its methods, and
    the analyzers of `rap_keras.innvestigate.create_analyzer`, enter that graph by themselves; for
    anything else use `with rap_keras.innvestigate.graph_scope(model):`.

    Args:
        model: A Keras 3 model: functional, Sequential, or subclassed; built, or called once. Or the path
            of a file that Keras 3 can load. It is not changed. Nested models are flattened.
        keep_head: Keep the softmax or sigmoid at the end. False ends the new model with the logits, as
            most analyzers need it.
        custom_objects: Keras 2 classes for layers that Keras does not define, by class name.
        output: Which output of a model with several the new model gives, by name or number.
        negated: See `prepare`.

    Returns:
        The Keras 2 model, with one output. It takes a list where the original takes a dict of inputs.

    Raises:
        InputError: The file cannot be read, the model cannot be followed, or a layer has no counterpart
            in Keras 2 that computes the same.
    """
    keras = _keras3()
    if isinstance(model, str | Path):
        model = _loaded(keras, Path(model))
    from rap_keras.backends.keras3.source import Source
    from rap_keras.backends.keras3.trace import trace as trace3

    source = Source.of(model)
    whole = {
        type(layer)
        for layer in model._flatten_layers()
        if type(layer).__name__ in (custom_objects or {})
    }
    graph = trace3(source, keep_head, read_output(output, source.output_names), whole)
    copies: list[tuple[Any, Any]] = []
    fused = graph.producers[graph.fused].layer if graph.fused is not None else None

    def copy(layer: Any, name: str) -> Any:
        config = layer.get_config() | {"name": name}
        if layer is fused:
            config["activation"] = "linear"
        new = _counterpart(layer, config, custom_objects or {})
        copies.append((layer, new))
        return new

    dtypes = [tf.as_dtype(t.dtype).name for t in source.inputs]
    operations = [node for node in graph.nodes if not is_layer(node.layer)]
    constants = {id(c): np.asarray(c) for node in operations for c in node.call.constants()}
    with new_graph():
        new = _built(graph, copy, dtypes, model.name, constants)
    arrays = [np.asarray(v) for old, _ in copies for v in old.weights]
    with graph_scope(new):
        _assign([v for _, layer in copies for v in layer.weights], arrays)
    entering(new, new)
    _compare(graph, source, new)
    if negated:
        with graph_scope(new):
            new = _negated(new)
        entering(new, new)
    return new


def _keras3() -> Any:
    keras = importlib.import_module("keras")
    if not has_keras3():
        raise InputError(
            f"Expected Keras 3 to read the model, got Keras {keras.__version__}: convert it where "
            "TensorFlow 2.16 or newer is installed, rap_keras.innvestigate.from_keras3(model)"
            '.save("model.h5"), and load that file here.'
        )
    return keras


def _loaded(keras: Any, path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"Expected a model file, got {str(path)!r}: there is no such file.")
    try:
        return keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"Expected a file that Keras can load, got {str(path)!r}: {reason}"
        ) from error


def _built(
    graph: Graph,
    copy: Copy,
    dtypes: Sequence[str],
    name: str,
    constants: Mapping[int, np.ndarray] | None = None,
) -> Any:
    """A flat Keras 2 model of the nodes of a graph, each layer made by `copy(layer, name)`.

    `constants` has the values, by id, of those that operations take and a graph cannot read.
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
            # iNNvestigate looks for tensors in lists only.
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


def _assign(variables: Sequence[Any], arrays: Sequence[np.ndarray]) -> None:
    """All weights in one run of the session; one by one takes minutes."""
    pairs = list(zip(variables, arrays, strict=True))
    for variable, array in pairs:
        if tuple(variable.shape) != array.shape:
            raise InputError(
                f"Expected weight {variable.name!r} of shape {tuple(variable.shape)}, as Keras 2 makes "
                f"it, got {array.shape}: the layer differs between the versions of Keras."
            )
    kbackend.batch_set_value(pairs)


def _counterpart(layer: Any, config: dict[str, Any], custom_objects: Mapping[str, type]) -> Any:
    """The Keras 2 layer that does what a Keras 3 layer does."""
    kind = type(layer).__name__
    library = type(layer).__module__.startswith("keras.")
    cls: Any = custom_objects.get(kind) or (getattr(klayers, kind, None) if library else None)
    if cls is None:
        raise InputError(
            f"Expected layers that Keras 2 knows, but layer {layer.name!r} is a {kind}: pass a Keras 2 "
            f"class that computes the same, custom_objects={{{kind!r}: MyLayer}}."
        )
    options = {}
    for key, value in config.items():
        if key.endswith(("_regularizer", "_constraint")) or key in _NOT_IN_KERAS_2:
            continue
        if key.endswith("_initializer"):
            value = "zeros"  # the weights come from the original
        options[_RENAMED.get((kind, key), key)] = value
    options["dtype"] = layer.compute_dtype
    if isinstance(options.get("activation"), str):
        options["activation"] = _ACTIVATIONS.get(options["activation"], options["activation"])
    options = _accepted(cls, layer, options)
    try:
        return cls.from_config(options)
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"Expected a layer that Keras 2 can make, but {kind} {layer.name!r} it cannot: {error}"
        ) from error


_NOT_IN_KERAS_2 = {"quantization_config", "autocast", "build_config"}
_RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}
_ACTIVATIONS = {"silu": "swish"}


def _accepted(cls: type, layer: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Without the options that are new in Keras 3, if they are left at their defaults."""
    known = {"name", "trainable", "dtype"}
    for base in cls.__mro__:
        if "__init__" in vars(base) and base is not klayers.Layer:
            known |= inspect.signature(vars(base)["__init__"]).parameters.keys()
    defaults = {
        key: parameter.default
        for base in reversed(type(layer).__mro__)
        if "__init__" in vars(base)
        for key, parameter in inspect.signature(vars(base)["__init__"]).parameters.items()
    }
    for key in options.keys() - known:
        if options[key] not in (None, False, defaults.get(key)):
            raise InputError(
                f"Expected options that Keras 2 has too, but {type(layer).__name__} {layer.name!r} has "
                f"{key}={options[key]!r}: rebuild the model without it."
            )
    return {key: value for key, value in options.items() if key in known}


def _operation(
    node: Node, tensors: Sequence[Any], shape: Shape, constants: Mapping[int, np.ndarray]
) -> tuple[Any, Any]:
    """A layer that does what a bare operation does, and what it takes."""
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


def _compare(graph: Graph, original: Any, rebuilt: Any) -> None:
    """Refuses a model that does not compute what the original does."""
    sample = _sample(original)
    expected = np.asarray(forward(graph, [tf.constant(x) for x in sample])[0])
    _refuse_other(
        expected, rebuilt.predict_on_batch(sample), "a layer means something else in Keras 2"
    )


def _compare_copy(model: Any, flat: Any) -> None:
    """Refuses a flat copy that does not compute what the model does."""
    sample = _sample(model)
    session = tf.compat.v1.keras.backend.get_session()
    expected, got = (
        session.run(m.outputs[0], dict(zip(m.inputs, sample, strict=True))) for m in (model, flat)
    )
    _refuse_other(
        expected,
        got,
        "its class computes something else than its graph, or a layer is called with training=True",
    )


def _sample(model: Any) -> list[np.ndarray]:
    """Two samples, for layers may treat a lone one in another way, the second of either sign.

    Numbers below 1 are token 0.
    """
    rng = np.random.default_rng(0)
    samples = []
    for t in model.inputs:
        x = rng.uniform(0, 1, [t.shape[0] or 2, *(n or 32 for n in t.shape[1:])])
        x[1:] = 2 * x[1:] - 1
        samples.append(x.astype(tf.as_dtype(t.dtype).as_numpy_dtype))
    return samples


def _refuse_other(expected: np.ndarray, got: np.ndarray, why: str) -> None:
    scale = np.abs(expected, where=np.isfinite(expected), out=np.zeros_like(expected)).max()
    if not np.allclose(got, expected, rtol=1e-3, atol=1e-4 * scale, equal_nan=True):
        raise InputError(
            "Expected the rebuilt model to compute what the original does, got outputs that differ by "
            f"up to {abs(got - expected).max():.3g}: {why}."
        )
