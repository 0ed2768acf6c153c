"""Tensors that are passed as inputs or targets."""

from typing import Any


def readable(value: Any) -> Any:
    """The value, or its array if it is a tensor of PyTorch: on a GPU, or with a gradient.

    Tensors in lists and tuples become arrays, too.
    """
    if isinstance(value, list | tuple):
        parts = map(readable, value)
        return tuple(parts) if isinstance(value, tuple) else list(parts)
    if not hasattr(value, "detach"):
        return value
    from rap_keras import tensors as ops  # here, because it loads Keras

    return ops.to_numpy(value) if ops.is_tensor(value) else value
