"""The tensor library of Keras' backend: the only package that names a framework.

Rules, graphs and analyzers compute with `from rap_keras import tensors as ops`. Functions with the name
of one in `keras.ops` mean the same; the others are described in `tensors.keras_ops`, `tensors.jax` and
`tensors.torch`, and are TensorFlow's own or in `tensors.tensorflow`. Keras 2 always uses TensorFlow.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from rap_keras.tensors.choice import backend_name
from rap_keras.tensors.dtypes import (
    dtype_name,
    elements,
    finfo,
    highest,
    is_floating,
    itemsize,
    lowest,
    numpy_dtype,
)
from rap_keras.tensors.values import only_values, or_values

Tensor: TypeAlias = Any
DType: TypeAlias = Any

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


def _operations() -> dict[str, Any]:
    found = vars(importlib.import_module(f"{__name__}.{backend_name()}"))
    return {
        name: value
        for name, value in found.items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }


globals().update(_operations())
vjp = or_values(globals()["vjp"], globals()["convert_to_tensor"])
