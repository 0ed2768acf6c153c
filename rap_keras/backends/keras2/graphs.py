"""The TensorFlow graph of a Keras 2 model.

iNNvestigate needs models made of graph tensors, which they are if eager execution is off. Otherwise a
model can have a separate graph and session, which are entered whenever the model is used.
"""

import contextlib
import functools
import importlib
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.keras.layers as klayers
import tensorflow.keras.models as kmodels
from tensorflow.python.ops import resource_variable_ops

from rap_keras.errors import InputError

_SESSION = "_rap_keras_session"
# Only one thread at a time may patch Keras: the bases of its classes, and how it builds.
_LOCK = threading.RLock()


@contextlib.contextmanager
def new_graph() -> Iterator[None]:
    """A separate graph for Keras 2 models that are built or loaded inside; eager execution stays on.

    Example:
        >>> import tensorflow as tf
        >>> with rap_keras.innvestigate.new_graph():
        ...     model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
        >>> analyzer = rap_keras.innvestigate.create_analyzer("rap", model)
        >>> analyzer.analyze(np.ones((1, 3))).shape
        (1, 3)
    """
    graph = tf.Graph()
    setattr(graph, _SESSION, tf.compat.v1.Session(graph=graph))
    with _inside(graph):
        yield


@contextlib.contextmanager
def graph_scope(model: Any) -> Iterator[None]:
    """Enters the graph and the session of a model.

    If eager execution is off, nothing has to be entered.

    Args:
        model: A Keras 2 model: made by `from_keras3` or in `new_graph`, or built while eager execution
            was off.

    Raises:
        InputError: The model is in no graph.

    Example:
        >>> import tensorflow as tf
        >>> with rap_keras.innvestigate.new_graph():
        ...     model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
        >>> with rap_keras.innvestigate.graph_scope(model):
        ...     model.predict_on_batch(np.ones((1, 3))).shape
        (1, 2)
    """
    graph = _graph_of(model)
    if hasattr(graph, _SESSION):
        with _inside(graph, model):
            yield
    elif tf.executing_eagerly():
        raise InputError(
            "Expected iNNvestigate's analyzers to be used as the model was built, with eager execution "
            "off, but it is on: call tf.compat.v1.disable_eager_execution() first."
        )
    else:
        yield


def _graph_of(model: Any) -> tf.Graph:
    if not isinstance(model, kmodels.Model):
        kind = f"{type(model).__module__}.{type(model).__name__}"
        raise InputError(
            f"Expected a Keras 2 model (tf.keras), as iNNvestigate does, got {kind}: rebuild a Keras 3 "
            "model with rap_keras.innvestigate.from_keras3(model)."
        )
    if not model.inputs and not isinstance(model, kmodels.Sequential):
        raise InputError(
            f"Expected a model whose inputs are known, but {model.name!r} ({type(model).__name__}) "
            "defines its own call: call it once on an Input, model(tf.keras.Input((224, 224, 3)))."
        )
    if not model.inputs or not all(isinstance(t, tf.Tensor) for t in model.inputs):
        raise InputError(
            "Expected a model with inputs, built while eager execution is off, "
            "as iNNvestigate needs it: call tf.compat.v1.disable_eager_execution() first, then build "
            "or load the model."
        )
    return model.inputs[0].graph


@contextlib.contextmanager
def _inside(graph: tf.Graph, model: Any = None) -> Iterator[None]:
    session = getattr(graph, _SESSION)
    if tf.compat.v1.get_default_session() is session:  # inside already
        yield
        return
    layers = () if model is None else model._flatten_layers()
    classes = _keras_classes() | {type(layer) for layer in layers}
    with _LOCK:
        try:
            with graph.as_default(), session.as_default(), _reading_weights():
                _settle(classes)
                yield
        finally:
            _settle(classes)


@contextlib.contextmanager
def _reading_weights() -> Iterator[None]:
    """Makes Keras use the session when it loads and saves `.keras` and `.weights.h5` files."""
    try:
        saving = _module("saving.saving_lib")
        before = {name: getattr(saving, name) for name in ("_load_state", "_save_state")}
    except (ImportError, AttributeError):  # this release has no such files
        yield
        return

    def inside(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            with _values_of_session():
                return function(*args, **kwargs)

        return run

    for name, function in before.items():
        setattr(saving, name, inside(function))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(saving, name, function)


@contextlib.contextmanager
def _values_of_session() -> Iterator[None]:
    """Inside, `variable.assign(value)` and `variable.numpy()` use the session."""
    bases = resource_variable_ops.ResourceVariable.__mro__
    owners = {
        name: next(base for base in bases if name in vars(base)) for name in ("assign", "numpy")
    }
    before = {name: getattr(owner, name) for name, owner in owners.items()}

    def assign(variable: Any, value: Any, *args: Any, **kwargs: Any) -> None:
        shape = tuple(variable.shape)
        if np.shape(value) != shape:
            raise ValueError(
                f"Expected weights of shape {shape} for {variable.name!r}, got {np.shape(value)}."
            )
        given = tf.compat.v1.placeholder(variable.dtype, shape)
        operation = before["assign"](variable, given, read_value=False)
        _module("backend").get_session().run(operation, {given: np.asarray(value)})

    if before["assign"].__qualname__ == assign.__qualname__:  # inside already
        yield
        return
    try:
        owners["assign"].assign = assign
        owners["numpy"].numpy = _module("backend").get_value
        yield
    finally:
        for name, owner in owners.items():
            setattr(owner, name, before[name])


def _settle(classes: Any) -> None:
    """Makes classes of layers and models work in the current mode, eager or graph.

    Keras 2 replaces their bases, for all instances, whenever an instance is made in the other mode.
    """
    graph_mode = not tf.executing_eagerly()
    graph_layer = engine("base_layer_v1").Layer
    graph_model = engine("training_v1").Model
    for cls in classes:
        base = graph_model if issubclass(cls, kmodels.Model) else graph_layer
        if issubclass(cls, base) != graph_mode:
            cls.__new__(cls)


@functools.cache
def _keras_classes() -> frozenset[type]:
    exported = (getattr(klayers, name) for name in dir(klayers))
    layers = {cls for cls in exported if isinstance(cls, type) and issubclass(cls, klayers.Layer)}
    return frozenset(layers - {klayers.Layer}) | {
        engine("functional").Functional,
        kmodels.Sequential,
    }


def engine(name: str) -> Any:
    """A module of Keras 2's engine, from Keras 2 itself or from tf_keras."""
    return _module(f"engine.{name}")


def _module(name: str) -> Any:
    package = klayers.Dense.__module__.partition(".")[0]
    return importlib.import_module(f"{package}.src.{name}")


@contextlib.contextmanager
def safe_loading(safe: bool) -> Iterator[None]:
    """Keras 2's safe mode, when models are built from JSON: no Lambda layers of Python code."""
    try:
        with _module("saving.serialization_lib").SafeModeScope(safe):
            yield
    except ValueError as error:
        if "safe_mode=False" not in str(error):
            raise
        raise InputError(
            "Expected a saved analyzer that runs no code, but its model has a Lambda layer of Python "
            "code: if you trust the author of the file, load it with safe_mode=False."
        ) from error


def entering(thing: Any, model: Any) -> Any:
    """Makes the public methods of a model or an analyzer enter the graph of a model, and returns it.

    Only this instance is changed, and only if its model has a separate graph.
    """
    if not hasattr(_graph_of(model), _SESSION):
        return thing
    for name in _METHODS:
        if hasattr(type(thing), name) and name not in vars(thing):
            object.__setattr__(thing, name, _entered(thing, name, model))
    return thing


_METHODS = (
    *("analyze", "analyze_layers", "create_analyzer_model", "save_npz", "fit"),
    *("predict", "predict_on_batch", "evaluate", "get_weights", "set_weights", "load_weights"),
    *("save", "save_weights"),
)


def _entered(thing: Any, name: str, model: Any) -> Any:
    @functools.wraps(getattr(type(thing), name))
    def inside(*args: Any, **kwargs: Any) -> Any:
        with graph_scope(model):  # look up inside: the bases of the class differ there
            return getattr(type(thing), name)(thing, *args, **kwargs)

    return inside


def valid_name(name: str) -> str:
    """The name, with characters replaced that TensorFlow does not allow in the name of a scope."""
    name = re.sub(r"[^A-Za-z0-9_./>-]", "_", name)
    return name if re.match(r"[A-Za-z0-9.]", name) else f"layer{name}"


def reserve_names(model: Any) -> None:
    """Makes Keras name new layers so that none gets the name of a layer of the model.

    A model that was loaded from a file may have layers named "add", "conv2d_3" or "input_1". Keras
    would use these names again for the layers that an analyzer adds, but names must be unique.
    """
    counts = _module("backend").get_default_graph_uid_map()
    for layer in model.layers:
        match = re.fullmatch(r"([a-z][a-z0-9_]*?)(?:_(\d+))?", layer.name)
        if match:
            base, number = match[1], int(match[2] or 0)
            counts["", base] = max(counts["", base], number + 1)
            counts[base] = max(counts[base], number)  # input layers: "input_1" is the first


@contextlib.contextmanager
def fast_building() -> Iterator[None]:
    """Builds iNNvestigate's own analyzers many times faster, with the same results.

    iNNvestigate writes its rules as TensorFlow operations, and Keras then evaluates every constant
    among them in the session (minutes for a ResNet-50). Inside this context Keras uses the tensors
    directly. "rap" is built of layers and does not need it.

    Example:
        >>> import innvestigate, tensorflow as tf
        >>> with rap_keras.innvestigate.new_graph():
        ...     model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
        >>> with rap_keras.innvestigate.graph_scope(model), rap_keras.innvestigate.fast_building():
        ...     analyzer = innvestigate.create_analyzer("lrp.alpha_1_beta_0", model)
        ...     analyzer.create_analyzer_model()
    """
    utils = engine("base_layer_utils")
    with _LOCK:
        before = utils._UNSAFE_GRAPH_OP_LAYER_CREATION
        utils._UNSAFE_GRAPH_OP_LAYER_CREATION = True
        try:
            yield
        finally:
            utils._UNSAFE_GRAPH_OP_LAYER_CREATION = before
