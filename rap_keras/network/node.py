"""One call of a layer or operation, and the tensors that it takes and makes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int | None, ...]


class Call:
    """Repeats a model's call of a layer, at inference, with other tensors."""

    def __call__(
        self, inputs: Sequence[Any], masks: Sequence[Any] = (), as_is: bool = False
    ) -> list[Any]:
        """The flat outputs. `as_is` keeps the inputs' dtype and ignores the layer's dtype policy."""
        raise NotImplementedError

    def first_argument(self, inputs: Sequence[Any]) -> Any:
        """The inputs in the structure of the layer's first argument."""
        return inputs[0] if inputs else None

    def operands(self, inputs: Sequence[Any]) -> list[Any]:
        """The inputs and the constants that an operation takes, in order."""
        return list(inputs)

    def constants(self) -> list[Any]:
        """The arrays, tensors and variables among the arguments, without the inputs."""
        return []


@dataclass(frozen=True)
class Node:
    """One call of one layer.

    Attributes:
        layer: The Keras layer or operation.
        name: A unique name in the graph: the layer's name, preceded by the names of the models around
            it ("block/conv") and followed by the number of the call if there are several ("conv:1").
        inputs: Slots of the tensors that it takes, in the order of its arguments.
        masks: Slots of the boolean tensors that it takes. They get no relevance.
        outputs: Slots of the tensors that it returns.
        call: Computes the outputs.
        before: A BatchNormalization layer of the input that is folded into the kernel, if any.
        after: A BatchNormalization layer of the output that is folded into the kernel, if any.
        starts_constant: Whether a constant precedes the tensors, as in `1 / x`.
        closed: Why a layer without a rule could not be opened, if so.
        negated: Whether the kernel and the bias of a kernel layer are negated.
        lowered: A number to subtract from the bias of a kernel layer.
    """

    layer: Any
    name: str
    inputs: tuple[int, ...]
    masks: tuple[int, ...]
    outputs: tuple[int, ...]
    call: Call = field(repr=False)
    starts_constant: bool = False
    before: Any = None
    after: Any = None
    closed: str = ""
    negated: bool = False
    lowered: float = 0.0


def batch_axis(shape: Shape) -> int | None:
    """The batch axis: the first axis of unknown size, or else the first; None for a single number."""
    unknown = (axis for axis, size in enumerate(shape) if size is None)
    return next(unknown, 0 if len(shape) else None)


def nodes_to(slot: int, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes that lead to a slot, in their order."""
    wanted, found = {slot}, []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.outputs):
            found.append(node)
            wanted.update(node.inputs + node.masks)
    return tuple(reversed(found))
