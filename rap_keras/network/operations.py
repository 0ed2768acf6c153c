"""Operations that work as layers do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class KernelOperation:
    """A bilinear operation of a tensor and of weights, as `ops.matmul(x, self.w)`: a kernel layer.

    Attributes:
        name: The operation's name.
        kernel: The weights: a variable, or an array.
        apply: Maps an input and a kernel to the output.
        operation: The operation of Keras that it is.
        bias: What is added to that at once, of a shape that broadcasts to it; None where nothing is.
    """

    name: str
    kernel: Any
    apply: Callable[[Any, Any], Any]
    operation: Any
    bias: Any = None
