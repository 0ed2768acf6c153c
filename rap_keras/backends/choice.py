"""Which backend takes a model."""

from typing import Any


def is_keras3(model: Any) -> bool:
    """Whether the native backend is to take the model; it tells what is wrong with other things."""
    import keras

    is_tf_keras = any(cls.__module__.startswith("tf_keras.") for cls in type(model).__mro__)
    return keras.__version__.startswith("3.") and not is_tf_keras
