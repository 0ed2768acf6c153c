"""Opens layers and models that only call other layers and `keras.ops`, as graphs of these calls."""

import contextlib
import copy
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops, tree
from keras.src import ops as own_ops
from keras.src.backend import AutocastScope, Variable
from keras.src.backend.common import global_state
from keras.src.layers import layer as layer_module
from keras.src.ops import operation as operation_module
from keras.src.ops.function import Function
from keras.src.ops.node import Node

from rap_keras import tensors
from rap_keras.backends.opening import CannotOpen, why_call_failed
from rap_keras.errors import InputError
from rap_keras.support.quiet import without_warnings
from rap_keras.support.text import first_line

# The batch size of symbolic calls. In shapes that a `call` computes, multiples of it mark the batch
# axis. No layer is likely to have this number of channels, or a multiple of it.
BATCH = 251

# Advice if a layer computes with an unknown size.
ONE_SIZE = (
    "build the model for inputs of one size, such as x = keras.Input((224, 224, 3)); "
    "keras.Model(x, model(x))"
)


@dataclass(frozen=True)
class Context:
    """How a graph was made."""

    traced: bool = False  # whether it is the graph of a call with `BATCH` samples
    autocast: str | None = None  # the dtype in which it reads variables, if not theirs


@dataclass(frozen=True)
class Opened:
    """The graph of one call."""

    function: Function | None  # from the tensors that the call took; None if it computed no others
    arguments: tuple[Any, dict[str, Any]]  # (args, kwargs), with the symbolic inputs
    inputs: list[keras.KerasTensor]  # in the order of the arguments
    outputs: list[Any]  # symbolic tensors and constants
    returned: Any = None  # the same, in the structure in which the call returned them
    read: Sequence[Variable] = ()  # whose values became constants of the graph


class _Recording(keras.StatelessScope):
    """Keeps variables unchanged, and records those whose values were read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[Variable] = []

    def get_current_value(self, variable: Variable) -> Any:
        self.read.append(variable)
        return super().get_current_value(variable)


def batch_axes(shape: Sequence[int | None]) -> list[int]:
    """The batch axes of a traced shape."""
    return [axis for axis, size in enumerate(shape) if size and size % BATCH == 0]


def is_symbolic(value: Any) -> bool:
    """Whether a value is a symbolic tensor."""
    return isinstance(value, keras.KerasTensor)


def open_layer(layer: keras.Layer, args: Any, kwargs: dict[str, Any]) -> Opened:
    """The graph of a layer's `call` on symbolic tensors, at inference. The layer is not changed.

    Symbolic tensors are replaced by others of their shapes, with a batch size of `BATCH`. `CannotOpen`
    is raised if the call needs values, changes the layer's state, or leaves Keras.
    """
    if not layer.built:
        raise CannotOpen("it is not built")
    return open_call(layer, layer.call, args, at_inference(layer, kwargs))


def at_inference(op: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an operation's `call` for prediction, whatever arguments the model used."""
    kwargs = {key: value for key, value in kwargs.items() if key != "training"}
    return kwargs | ({"training": False} if getattr(op, "_call_has_training_arg", False) else {})


def open_model(model: keras.Model) -> Opened:
    """The graph of a model that defines its `call`."""
    shapes = getattr(model, "_build_shapes_dict", None)
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if getattr(model, "inputs", None):
        args = (tree.pack_sequence_as(model._inputs_struct, model.inputs),)
    elif not model.built or not shapes:
        raise InputError(
            f"Expected a model whose inputs are known, but {model.name!r} ({type(model).__name__}) was "
            "never called: call it on one batch first."
        )
    else:
        names = inspect.signature(model.call).parameters
        for name, shape in zip(names, shapes.values(), strict=False):
            kwargs[name] = tree.map_shape_structure(
                lambda s: keras.KerasTensor((None, *s[1:]), dtype=model.input_dtype), shape
            )
    try:
        return open_layer(model, args, kwargs)
    except CannotOpen as error:
        raise InputError(
            f"Expected a model whose layers can be traced, but {error}: rebuild it with "
            "keras.Model(inputs, outputs)."
        ) from error


def open_call(
    layer: keras.Layer | None, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]
) -> Opened:
    """The graph of a call of symbolic tensors: of a layer, or of a function that calls `keras.ops`."""
    inputs: list[keras.KerasTensor] = []

    def fresh(leaf: Any) -> Any:
        if not is_symbolic(leaf):
            return leaf
        shape = list(leaf.shape)
        if shape and shape[0] is None:  # in a model's own graph
            shape[0] = BATCH
        inputs.append(keras.Input(batch_shape=shape, dtype=leaf.dtype))
        return inputs[-1]

    with _unchanged(layer):
        arguments = args, kwargs = mapped(fresh, (args, kwargs))
        scope = _Recording()
        try:
            with scope, reading(autocast_of(layer)):
                if layer is not None:
                    args, kwargs = tree.map_structure(
                        lambda leaf: _converted(layer, leaf), arguments
                    )
                returned = function(*args, **kwargs)
        except Exception as error:
            hint = f"; {ONE_SIZE}" if any(None in t.shape for t in inputs) else ""
            why = first_line(error) if layer is None else why_call_failed(layer, error)
            raise CannotOpen(why + hint) from error
        if scope.state_mapping and layer is not None:
            paths = (v.path for v in layer.variables if id(v) in scope.state_mapping)
            raise CannotOpen(f"its call changes {next(paths, 'a variable')!r}, which is state")
        outputs = _tensors(returned)
        made = list(filter(is_symbolic, outputs))
        graph = Function(inputs, made) if made else None
    return Opened(graph, arguments, inputs, outputs, returned, scope.read)


def _converted(layer: keras.Layer, leaf: Any) -> Any:
    """Converts an argument as the layer's `__call__` does."""
    if not is_symbolic(leaf) or not layer._convert_input_args:
        return leaf
    return layer.dtype_policy.convert_input(leaf, layer.autocast, layer.input_dtype)


def autocast_of(layer: keras.Layer | None) -> str | None:
    """The dtype in which a layer reads its variables, if it is not their own."""
    if layer is None or not layer.autocast or layer.compute_dtype == layer.variable_dtype:
        return None
    return layer.compute_dtype


@contextlib.contextmanager
def reading(dtype: str | None) -> Iterator[None]:
    """Floating-point variables are read in a dtype; None: in their own."""
    if dtype is None:
        yield
        return
    with AutocastScope(dtype):
        yield


# Only one thread at a time may replace parts of Keras; a layer's call may open others.
_LOCK = threading.RLock()


@contextlib.contextmanager
def _unchanged(layer: keras.Layer | None) -> Iterator[None]:
    """Removes the traces of symbolic calls: nodes on the layers, losses, and numbers in names."""
    with _LOCK:
        names = copy.copy(global_state.get_global_attribute("object_name_uids"))
        layers = [] if layer is None else list(layer._flatten_layers())
        kept = [
            (each, name, len(getattr(each, name)))
            for each in layers
            for name in ("_inbound_nodes", "_outbound_nodes", "_losses")
        ]
        called = [(each, each._called) for each in layers]
        replacements = _replacements()
        replaced = [(owner, name, vars(owner).get(name)) for owner, name, _ in replacements]
        for owner, name, value in replacements:
            setattr(owner, name, value)
        try:
            with without_warnings():  # the model's first call has shown them
                yield
        finally:
            for owner, name, value in replaced:
                if value is None:  # inherited
                    delattr(owner, name)
                else:
                    setattr(owner, name, value)
            for each, name, length in kept:
                del getattr(each, name)[length:]
            for each, before in called:
                each._called = before
            global_state.set_global_attribute("object_name_uids", names)


def _replacements() -> list[tuple[Any, str, Any]]:
    """The parts of Keras that are replaced while a call is traced: owner, name, value."""
    recorders = [module for module in (layer_module, operation_module) if hasattr(module, "Node")]
    operators = [
        (owner, name, _operator(getattr(owner, name), operation))
        for owner in (Variable, *tensors.TENSORS)
        for name, operation in _OPERATORS.items()
    ]
    nodes = [(module, "Node", _Node) for module in recorders]
    calls = [(keras.Layer, "symbolic_call", _symbolic_call(keras.Layer.symbolic_call))]
    convert = "convert_to_tensor"
    modules = {id(m): m for m in (ops, own_ops)}.values()
    converters = [(m, convert, _converter(getattr(m, convert))) for m in modules]
    return [*nodes, *calls, *converters, *operators]


_OPERATORS = {
    "__add__": ops.add,
    "__sub__": ops.subtract,
    "__mul__": ops.multiply,
    "__truediv__": ops.divide,
    "__matmul__": ops.matmul,
    "__pow__": ops.power,
}


def _operator(original: Any, operation: Any) -> Any:
    """An operator of variables or tensors that also accepts symbolic tensors on its right."""

    def applied(variable: Any, other: Any) -> Any:
        return operation(variable, other) if is_symbolic(other) else original(variable, other)

    return applied


def _symbolic_call(original: Any) -> Any:
    """Keras' function, also for layers that compute their outputs' shapes without `training`.

    Where Keras cannot compute them, the layer's own call does. JAX fails if numbers are among the
    arguments, in tuples.
    """

    def called(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        known = inspect.signature(layer.compute_output_spec).parameters.values()
        if all(p.name != "training" and p.kind is not p.VAR_KEYWORD for p in known):
            kwargs.pop("training", None)
        try:
            return original(layer, *args, **kwargs)
        except Exception:
            return mapped(_without_history, layer.call(*args, **kwargs))

    return called


def _without_history(leaf: Any) -> Any:
    return keras.KerasTensor(leaf.shape, leaf.dtype) if is_symbolic(leaf) else leaf


def _converter(original: Any) -> Any:
    """Keras' function, also for symbolic tensors, which old releases do not accept."""

    def convert(x: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not is_symbolic(x):
            return original(x, dtype, *args, **kwargs)
        return ops.cast(x, dtype or x.dtype)

    return convert


class _Node(Node):
    """Keras' record of a call, also for layers that return None in addition to tensors."""

    def __init__(
        self, operation: Any, call_args: Any = None, call_kwargs: Any = None, outputs: Any = None
    ) -> None:
        super().__init__(operation, call_args, call_kwargs, _tensors(outputs))


def mapped(function: Callable[[Any], Any], structure: Any) -> Any:
    """A structure with each leaf changed, one after the other as `tree.flatten` has them.

    On PyTorch, `tree.map_structure` visits the values of a dict in another order.
    """
    return tree.pack_sequence_as(structure, [function(leaf) for leaf in tree.flatten(structure)])


def _tensors(structure: Any) -> list[Any]:
    return [leaf for leaf in tree.flatten(structure) if leaf is not None]
