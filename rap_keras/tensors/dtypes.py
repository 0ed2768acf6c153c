"""Questions about dtypes, which may be names or those of any tensor library."""

import math
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np


def dtype_name(dtype: Any) -> str:
    """The name of a dtype, such as "float32"."""
    if isinstance(dtype, str):
        return dtype
    name = getattr(dtype, "name", None)
    return str(name) if isinstance(name, str) else _named(dtype)


def _named(dtype: Any) -> str:
    if isinstance(dtype, type):
        return np.dtype(dtype).name
    return str(dtype).rpartition(".")[2]  # torch.float32


def is_floating(dtype: Any) -> bool:
    """Whether its values are floating-point numbers."""
    return "float" in dtype_name(dtype)


def numpy_dtype(dtype: Any) -> np.dtype:
    """The dtype of arrays with the same values."""
    name = dtype_name(dtype)
    return np.dtype(getattr(ml_dtypes, name) if hasattr(ml_dtypes, name) else name)


def itemsize(dtype: Any) -> int:
    """The number of bytes of a value."""
    return numpy_dtype(dtype).itemsize


def finfo(dtype: Any) -> Any:
    """The limits of a floating-point dtype."""
    return ml_dtypes.finfo(numpy_dtype(dtype))


def highest(dtype: Any) -> float:
    """The largest value of a dtype."""
    if is_floating(dtype):
        return float(finfo(dtype).max)
    return 1.0 if dtype_name(dtype) == "bool" else float(np.iinfo(numpy_dtype(dtype)).max)


def lowest(dtype: Any) -> Any:
    """The smallest value of a dtype, in this dtype."""
    kind = numpy_dtype(dtype)
    return kind.type(finfo(dtype).min if is_floating(dtype) else np.iinfo(kind).min)


def elements(shape: Sequence[int | None]) -> int | None:
    """The number of elements of a tensor; None if a size is unknown."""
    sizes = list(shape)
    return None if None in sizes else math.prod(n for n in sizes if n is not None)
