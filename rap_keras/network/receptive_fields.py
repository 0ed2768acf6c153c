"""The centres of the receptive fields of a feature map's cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rap_keras import tensors as ops
from rap_keras.errors import InputError
from rap_keras.network import layer_types
from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import is_a
from rap_keras.network.operations import KernelOperation

Size = tuple[Any, Any]  # height and width: integers, or tensors if the model takes any size


@dataclass(frozen=True)
class Axis:
    """The centres of cells along one axis, in pixels from the centre of the first pixel.

    Attributes:
        first: The centre of the first cell.
        step: The distance between centres.
    """

    first: Any = 0.0
    step: Any = 1.0

    def then(self, inner: Axis) -> Axis:
        """The centres of cells that `inner` places on these cells."""
        return Axis(self.first + self.step * inner.first, self.step * inner.step)


Axes = Sequence[Axis]  # of rows and of columns
_SAME: Axes = (Axis(), Axis())
_ELEMENT_BY_ELEMENT = (
    layer_types.ACTIVATION
    | layer_types.ELEMENTWISE
    | layer_types.BATCH_NORMALIZATION
    | layer_types.NORMALIZATION
    | layer_types.TONE
    | layer_types.SELECTION
    | layer_types.ADDITION
    | layer_types.SCALED_ADDITION
    | layer_types.MULTIPLICATION
    | layer_types.DIVISION
    | {"Dense", "Maximum", "Minimum"}
)


def centres(graph: Graph, slot: int, size_of: Callable[[int], Size]) -> Axes:
    """The centres of the receptive fields of a feature map's cells, for rows and for columns.

    They follow from the strides, kernel sizes, dilations and padding of the earlier layers. A layer
    that looks at the whole image, such as a gate, moves nothing. Where branches meet, the centre is the
    mean of theirs. A branch with unknown centres is ignored if another has known ones.

    Args:
        graph: The graph of a model with one image input.
        slot: The slot of the feature map, `(batch, rows, columns, channels)`.
        size_of: Height and width of each slot of such a shape.

    Raises:
        InputError: An earlier layer places cells in an unknown way.
    """
    known: dict[int, Axes] = dict.fromkeys(graph.inputs, _SAME)
    lost: dict[int, Node] = {}
    for node in graph.nodes:
        taken = [s for s in node.inputs if s not in graph.constants]
        before = [(s, known[s]) for s in taken if s in known and graph.shapes[s][1:3] != (1, 1)]
        cells = _cells(graph, node, before[0][0], size_of) if before else None
        for made in node.outputs:
            if cells is not None and len(graph.shapes[made]) == 4:
                known[made] = _mean_on([axes for _, axes in before], cells)
            elif before:
                lost[made] = node
            elif any(s in lost for s in taken):
                lost[made] = next(lost[s] for s in taken if s in lost)
        if slot in node.outputs:
            break
    if slot not in known:
        at = lost.get(slot)
        got = f"{type(_operation(at)).__name__} {at.name!r}" if at else "one that takes no image"
        raise InputError(
            'Expected known receptive fields before the layer for align="receptive_field", got '
            f'{got}: choose an earlier layer, or leave align="image".',
            "align",
        )
    return known[slot]


def _mean_on(several: Sequence[Axes], cells: Axes) -> Axes:
    """The mean of the centres of cells that are placed on those of several tensors."""
    found = []
    for *outer, inner in zip(*several, cells, strict=True):
        axes = [axis.then(inner) for axis in outer]
        first, step = sum(axis.first for axis in axes), sum(axis.step for axis in axes)
        found.append(Axis(first / len(axes), step / len(axes)))
    return found


def _operation(node: Node) -> Any:
    return node.layer.operation if isinstance(node.layer, KernelOperation) else node.layer


def _cells(graph: Graph, node: Node, slot: int, size_of: Callable[[int], Size]) -> Axes | None:
    """The positions of a node's cells relative to those of its input slot; None if unknown."""
    layer, made = _operation(node), node.outputs[0]
    shape, result = graph.shapes[slot], graph.shapes[made]
    if len(result) != 4 or getattr(layer, "data_format", None) == "channels_first":
        return None
    if is_a(layer, layer_types.CONCATENATION):
        return _SAME if layer.axis in (-1, 3) else None
    if is_a(layer, _ELEMENT_BY_ELEMENT) and shape[1:3] == result[1:3]:
        return _SAME
    sizes = list(zip(size_of(slot), size_of(made), strict=True))
    for types, place in _PLACED:
        if is_a(layer, types):
            return place(node, sizes)
    if is_a(layer, layer_types.ROUTING - layer_types.PADDING):
        return _probed(node, shape)
    return None


def _windows(node: Node, sizes: Sequence[Size]) -> Axes:
    """The positions of convolutions and pooling."""
    return [
        Axis((reach - _padding(node, n, m, reach, stride) * 2) / 2, float(stride))
        for (n, m), reach, stride in zip(sizes, *_settings(node), strict=True)
    ]


def _transposed(node: Node, sizes: Sequence[Size]) -> Axes:
    return [
        Axis((_padding(node, m, n, reach, stride) * 2 - reach) / (2 * stride), 1 / stride)
        for (n, m), reach, stride in zip(sizes, *_settings(node), strict=True)
    ]


def _padding(node: Node, n: Any, m: Any, reach: int, stride: int) -> Any:
    """The padding that precedes n cells that become m."""
    if _operation(node).padding != "same":
        return 0
    padded = (m - 1) * stride + reach + 1 - n
    if isinstance(padded, int):
        return max(padded, 0) // 2
    return ops.cast(ops.maximum(padded, 0) // 2, "float64")


def _settings(node: Node) -> tuple[list[int], list[int]]:
    """The reach of the kernel of a layer or an operation, and its strides."""
    layer = _operation(node)
    lengths = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if lengths is None:  # an operation, whose kernel is an argument
        lengths = tuple(node.layer.kernel.shape[:2])
    strides = layer.strides or lengths
    dilations = getattr(layer, "dilation_rate", 1)
    lengths, strides, dilations = (
        [n] * 2 if isinstance(n, int) else list(n) for n in (lengths, strides, dilations)
    )
    return [(k - 1) * d for k, d in zip(lengths, dilations, strict=True)], strides


def _resized(node: Node, sizes: Sequence[Size]) -> Axes | None:
    """The positions of cells that divide the same image evenly."""
    layer = _operation(node)
    if any(getattr(layer, f"{how}_to_aspect_ratio", False) for how in ("crop", "pad")):
        return None
    steps = [n / m for n, m in sizes]  # float64 also for tensors
    return [Axis((step - 1) / 2, step) for step in steps]


def _padded(node: Node, sizes: Sequence[Size]) -> Axes | None:
    layer = _operation(node)
    pads = layer.padding if hasattr(layer, "padding") else layer.pad_width[1:3]
    return [Axis(-float(before)) for before, _ in pads] if len(pads) == 2 else None


def _cropped(node: Node, sizes: Sequence[Size]) -> Axes:
    return [Axis(float(before)) for before, _ in _operation(node).cropping]


_PLACED: list[tuple[set[str], Callable[[Node, Sequence[Size]], Axes | None]]] = [
    (
        {
            *("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv", "DepthwiseConv"),
            *("MaxPooling2D", "AveragePooling2D", "MaxPool", "AveragePool"),
        },
        _windows,
    ),
    ({"Conv2DTranspose", "ConvTranspose"}, _transposed),
    (
        layer_types.RESAMPLING
        | {"AdaptiveMaxPooling2D", "AdaptiveAveragePooling2D"}
        | {"AdaptiveMaxPool", "AdaptiveAveragePool"},
        _resized,
    ),
    ({"ZeroPadding2D", "Pad"}, _padded),
    ({"Cropping2D"}, _cropped),
]


def _probed(node: Node, shape: Sequence[int | None]) -> Axes | None:
    """The positions of a node that only moves values, found by calling it."""
    if None in shape[1:] or len(node.inputs) != 1:
        return None
    axes = []
    for axis in (0, 1):
        ramp = np.arange(shape[1 + axis], dtype=np.float32).reshape((1, -1, 1, 1))  # type: ignore[arg-type]
        ramp = ramp if axis == 0 else ramp.transpose(0, 2, 1, 3)
        with ops.at_once():
            moved = ops.to_numpy(
                node.call([ops.broadcast_to(ramp, (1, *shape[1:]))], as_is=True)[0]
            )
        line = moved[0, :, :1, :1] if axis == 0 else moved[0, :1, :, :1]
        flat = line.reshape(-1)
        step = float(flat[1] - flat[0]) if len(flat) > 1 else 1.0
        found = Axis(float(flat[0]), step)
        even = np.abs(flat - found.first - step * np.arange(len(flat))).max() == 0
        if not even or step == 0 or not (moved[0] == line).all():
            return None
        axes.append(found)
    return axes
