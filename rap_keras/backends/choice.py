"""Which backend takes a model."""

from collections.abc import Sequence
from typing import Any

from rap_keras.backends.network import Network
from rap_keras.backends.version import has_keras3
from rap_keras.errors import InputError


def open_network(model: Any, output: str | int | None = None) -> Network:
    """A model at work on its backend.

    Args:
        model: A model of Keras 3, built, or of Keras 2 as iNNvestigate takes it; or a network that is
            open already, which is returned as it is.
        output: Which output of several is meant, by name or number.

    Returns:
        The network: the model's graph, what reads its inputs, and what compiles functions of them.

    Raises:
        InputError: The model cannot be followed.
    """
    if isinstance(model, Network):
        return model
    # Each backend imports a Keras that the other's environment may lack.
    if is_keras3(model):
        from rap_keras.backends.keras3.network import Keras3Network

        return Keras3Network(model, output)
    from rap_keras.backends.keras2.network import Keras2Network

    return Keras2Network(model, output)


def names_of_outputs(model: Any) -> list[str]:
    """What a model's outputs are called."""
    if is_keras3(model):
        from rap_keras.backends.keras3.source import Source

        return Source.of(model).output_names
    return list(model.output_names)


def ends_of(model: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """Shapes and dtypes of a model's inputs and of its outputs, also of one that defines its own call.

    Raises:
        InputError: The model cannot be followed.
    """
    if is_keras3(model):
        from rap_keras.backends.keras3.source import Source, specs

        source = Source.of(model)
        return specs(source.inputs), specs(source.outputs)
    try:
        inputs, outputs = model.inputs, model.outputs
    except (AttributeError, ValueError):  # of what is no model, and of an unbuilt one
        inputs = outputs = None
    if not inputs or not outputs:
        raise InputError(f"Expected a built Keras model, got {type(model).__name__}.")
    return inputs, outputs


def is_keras3(model: Any) -> bool:
    """Whether the native backend is to take the model; it tells what is wrong with other things."""
    is_tf_keras = any(cls.__module__.startswith("tf_keras.") for cls in type(model).__mro__)
    return has_keras3() and not is_tf_keras
