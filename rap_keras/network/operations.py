"""Operations that act as layers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class KernelOperation:
    """A bilinear operation of a tensor and weights, such as `ops.matmul(x, self.w)`: a kernel layer.

    Attributes:
        name: The operation's name.
        kernel: The weights: a variable, or an array.
        apply: Maps an input and a kernel to the output.
        operation: The Keras operation.
        bias: The bias that is added directly after it, of a shape that broadcasts to it; None if there
            is none.
    """

    name: str
    kernel: Any
    apply: Callable[[Any, Any], Any]
    operation: Any
    bias: Any = None
