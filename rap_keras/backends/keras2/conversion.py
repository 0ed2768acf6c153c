"""Rebuilds Keras 3 models on Keras 2."""

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.keras.layers as klayers

from rap_keras.backends.keras2.graphs import entering, graph_scope, new_graph
from rap_keras.backends.keras2.rebuild import assign, built, negated_logit, refuse_other, sample_of
from rap_keras.backends.version import has_keras3
from rap_keras.errors import InputError
from rap_keras.inputs.classes import read_output
from rap_keras.network.layer_types import is_layer
from rap_keras.propagate import logits_of


def from_keras3(
    model: Any,
    keep_head: bool = True,
    custom_objects: Mapping[str, type] | None = None,
    output: str | int | None = None,
    negated: bool = False,
) -> Any:
    """Rebuilds a Keras 3 model on Keras 2, so that iNNvestigate can analyze it.

    The new model lives in a separate TensorFlow graph; eager execution stays on. Its methods, and the
    analyzers of `rap_keras.innvestigate.create_analyzer`, enter that graph automatically. For anything
    else use `with rap_keras.innvestigate.graph_scope(model):`.

    Args:
        model: A Keras 3 model: functional, Sequential or subclassed; built, or called once. Or the path
            of a file that Keras 3 can load. It is not changed. Nested models are flattened.
        keep_head: Keep the softmax or sigmoid at the end. False: the new model ends with the logits, as
            most analyzers require.
        custom_objects: Keras 2 classes for layers that Keras does not define, by class name.
        output: Which output the new model has if there are several, by name or number.
        negated: See `prepare`.

    Returns:
        The Keras 2 model, with one output. It takes a list if the original takes a dict of inputs.

    Raises:
        InputError: The file cannot be read, the model cannot be traced, or a layer has no equivalent in
            Keras 2.

    Example:
        >>> model = rap_keras.bundled.load("vgg")  # doctest: +SKIP
        >>> logits = rap_keras.innvestigate.from_keras3(model, keep_head=False)  # doctest: +SKIP
        >>> rap_keras.innvestigate.create_analyzer("gradient", logits)  # doctest: +SKIP
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
        new = built(graph, copy, dtypes, model.name, constants)
    arrays = [np.asarray(v) for old, _ in copies for v in old.weights]
    with graph_scope(new):
        assign([v for _, layer in copies for v in layer.weights], arrays)
    entering(new, new)
    sample = sample_of(source)
    expected = np.asarray(logits_of(graph, [tf.constant(x) for x in sample]))
    got = new.predict_on_batch(sample)
    refuse_other(expected, got, "a layer means something else in Keras 2")
    if negated:
        with graph_scope(new):
            new = negated_logit(new)
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


def _counterpart(layer: Any, config: dict[str, Any], custom_objects: Mapping[str, type]) -> Any:
    """The Keras 2 layer that computes the same as a Keras 3 layer."""
    kind = type(layer).__name__
    library = type(layer).__module__.startswith("keras.")
    cls: Any = custom_objects.get(kind) or (getattr(klayers, kind, None) if library else None)
    if cls is None:
        raise InputError(
            f"Expected layers that Keras 2 has, but layer {layer.name!r} is a {kind}: pass a Keras 2 "
            f"class that computes the same, custom_objects={{{kind!r}: MyLayer}}."
        )
    options = {}
    for key, value in config.items():
        if key.endswith(("_regularizer", "_constraint")) or key in _NOT_IN_KERAS_2:
            continue
        if key.endswith("_initializer"):
            value = "zeros"  # the weights come from the original
        if library and isinstance(value, str) and value in _OTHER_ACTIVATIONS:
            raise InputError(
                f"Expected activations that mean the same in Keras 2, but {kind} {layer.name!r} has "
                f"{key}={value!r}, which has another slope there: rebuild the model without it."
            )
        options[_RENAMED.get((kind, key), key)] = value
    options["dtype"] = layer.compute_dtype
    if isinstance(options.get("activation"), str):
        options["activation"] = _ACTIVATIONS.get(options["activation"], options["activation"])
    options = _accepted(cls, layer, options)
    try:
        return cls.from_config(options)
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"Expected layers that Keras 2 can make, but it cannot make {kind} {layer.name!r}: {error}"
        ) from error


_NOT_IN_KERAS_2 = {"quantization_config", "autocast", "build_config"}
_RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}
_ACTIVATIONS = {"silu": "swish"}
# Functions that are others in Keras 2. They differ little around 0, where samples may not show it.
_OTHER_ACTIVATIONS = {"hard_sigmoid"}


def _accepted(cls: type, layer: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The options without those that are new in Keras 3, if they have their defaults."""
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
                f"Expected options that Keras 2 also has, but {type(layer).__name__} {layer.name!r} has "
                f"{key}={options[key]!r}: rebuild the model without it."
            )
    return {key: value for key, value in options.items() if key in known}
