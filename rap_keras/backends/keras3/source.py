"""The graph to trace for a Keras 3 model: its own, or that of its call."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree
from keras.src.models.functional import Functional

from rap_keras import tensors as ops
from rap_keras.backends.keras3.calls import untouched
from rap_keras.backends.keras3.opening import (
    Context,
    at_inference,
    autocast_of,
    is_symbolic,
    mapped,
    open_model,
)
from rap_keras.errors import InputError
from rap_keras.network.layer_types import is_library_class


@dataclass(frozen=True)
class Source:
    """The graph to trace for a model."""

    model: Any
    function: Any  # its own graph, or that of its call
    arguments: tuple[Any, dict[str, Any]]  # of the model's call, with the symbolic inputs
    structure: Any  # in which the model returns its outputs
    input_names: list[str]
    context: Context
    read: Sequence[Any] = ()  # as in `Opened`

    @classmethod
    def of(cls, model: Any) -> "Source":
        """The graph to trace for a model."""
        function = as_function(model)
        if function is not None:
            arguments: Any = ((function._inputs_struct,), {})
            names = names_of_inputs(function)
            return cls(model, function, arguments, function._outputs_struct, names, Context())
        if not isinstance(model, keras.Model) or isinstance(model, keras.Sequential):
            raise InputError(_not_traceable(model))
        opened = open_model(model)
        if opened.function is None or len(opened.outputs) != len(opened.function.outputs):
            raise InputError(
                f"Expected a model whose outputs depend on its inputs, but {model.name!r} returns "
                "constants."
            )
        function, arguments = opened.function, opened.arguments
        names, context = _names_in(arguments), Context(True, autocast_of(model))
        return cls(model, function, arguments, opened.returned, names, context, opened.read)

    @property
    def inputs(self) -> list[keras.KerasTensor]:
        """The symbolic inputs."""
        return self.function.inputs

    @property
    def outputs(self) -> list[keras.KerasTensor]:
        """The symbolic outputs."""
        return self.function.outputs

    @property
    def output_names(self) -> list[str]:
        """The keys of the dict of outputs, or the names of the last layers, numbered if equal."""
        if isinstance(self.structure, dict) and len(self.structure) == len(self.outputs):
            return tree.flatten({key: key for key in self.structure})
        names, count = [], Counter[str]()
        for tensor in self.outputs:
            name = tensor._keras_history.operation.name
            names.append(f"{name}:{count[name]}" if count[name] else name)
            count[name] += 1
        return names

    def own_output(self, inputs: Sequence[Any]) -> list[Any]:
        """The model's own outputs for inputs, as a flat list, at inference."""
        values = iter(inputs)
        args, kwargs = mapped(
            lambda leaf: next(values) if is_symbolic(leaf) else leaf, self.arguments
        )
        with untouched(self.model):
            return tree.flatten(self.model(*args, **at_inference(self.model, kwargs)))


def specs(tensors: Sequence[keras.KerasTensor]) -> list[ops.Spec]:
    """Shapes, with any number of samples, and dtypes."""
    return [ops.Spec([None, *t.shape[1:]] if len(t.shape) else [], t.dtype) for t in tensors]


def as_function(op: Any) -> Functional | None:
    """The functional model of a layer that is a model, or None."""
    if isinstance(op, keras.Sequential):
        op = op._functional if type(op).call is keras.Sequential.call else None
    if isinstance(op, Functional) and type(op).call is Functional.call:
        return op
    return None


def names_of_inputs(function: Functional) -> list[str]:
    """Names of a model's inputs: the keys of its dict of inputs, or the names of the input layers."""
    if isinstance(function._inputs_struct, dict):
        return tree.flatten({key: key for key in function._inputs_struct})
    return [t._keras_history.operation.name for t in function.inputs]


def _names_in(arguments: tuple[Any, dict[str, Any]]) -> list[str]:
    """Names of the tensors in a call's arguments: their keys, numbered if several have the same key."""
    args, kwargs = arguments
    names: list[str] = []
    positional = {f"input_{place}": value for place, value in enumerate(args)}
    for key, value in (positional | kwargs).items():
        inner = value if isinstance(value, dict) else {key: value}
        for name, part in inner.items():
            leaves = list(filter(is_symbolic, tree.flatten(part)))
            names += [name if len(leaves) == 1 else f"{name}_{k}" for k in range(len(leaves))]
    return names


def _not_traceable(model: Any) -> str:
    if isinstance(model, keras.Sequential) and not model.built:
        return (
            f"Expected a built model, got the unbuilt Sequential {model.name!r}: "
            "call model.build(input_shape) first."
        )
    kind = f"{type(model).__module__}.{type(model).__name__}"
    hint = ""
    if isinstance(model, str):
        hint = ": load the model, or pass its name to rap_keras.explain"
    if is_library_class(type(model)) or any(is_library_class(c) for c in type(model).__mro__):
        hint = ": rebuild the Keras 2 model with Keras 3"
    return f"Expected a Keras 3 model, got {kind}{hint}."
