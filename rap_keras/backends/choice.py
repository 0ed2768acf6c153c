"""Chooses the backend of a model."""

from collections.abc import Sequence
from typing import Any

from rap_keras.backends.network import Network
from rap_keras.backends.version import has_keras3
from rap_keras.errors import InputError


def open_network(model: Any, output: str | int | None = None) -> Network:
    """Opens a model with its backend. An opened model is returned unchanged."""
    if isinstance(model, Network):
        return model
    # Each backend imports a Keras that the other's environment may lack.
    if is_keras3(model):
        from rap_keras.backends.keras3.network import Keras3Network

        return Keras3Network(model, output)
    from rap_keras.backends.keras2.network import Keras2Network

    return Keras2Network(model, output)


def names_of_outputs(model: Any) -> list[str]:
    """The names of a model's outputs."""
    if is_keras3(model):
        from rap_keras.backends.keras3.source import Source

        return Source.of(model).output_names
    return list(model.output_names)


def ends_of(model: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """Shapes and dtypes of a model's inputs and outputs, also for a model that defines its `call`."""
    if is_keras3(model):
        from rap_keras.backends.keras3.source import Source, specs

        source = Source.of(model)
        return specs(source.inputs), specs(source.outputs)
    try:
        inputs, outputs = model.inputs, model.outputs
    except (AttributeError, ValueError):  # not a model, or not built
        inputs = outputs = None
    if not inputs or not outputs:
        raise InputError(f"Expected a built Keras model, got {type(model).__name__}.")
    return inputs, outputs


def is_keras3(model: Any) -> bool:
    """Whether the native backend should open the model; it also reports objects that are no models."""
    is_tf_keras = any(cls.__module__.startswith("tf_keras.") for cls in type(model).__mro__)
    return has_keras3() and not is_tf_keras
