"""The centres and sizes of the receptive fields of a feature map's cells."""

from __future__ import annotations

import functools
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

Size = Sequence[Any]  # of each axis: integers, or tensors if the model takes any size


@dataclass(frozen=True)
class Axis:
    """The centres of cells along one axis, in pixels from the centre of the first pixel.

    Attributes:
        first: The centre of the first cell.
        step: The distance between centres.
        size: The number of pixels that a cell sees.
    """

    first: Any = 0.0
    step: Any = 1.0
    size: Any = 1.0

    def then(self, inner: Axis) -> Axis:
        """The centres of cells that `inner` places on these cells."""
        size = self.size + abs(self.step) * (inner.size - 1)
        return Axis(self.first + self.step * inner.first, self.step * inner.step, size)


Axes = Sequence[Axis]  # of the axes of positions, such as rows and columns
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


def centres(
    graph: Graph, slot: int, size_of: Callable[[int], Size], image: int | None = None
) -> Axes:
    """The centres and sizes of the receptive fields of a feature map's cells, along each axis.

    They follow from the strides, kernel sizes, dilations and padding of the earlier layers. A layer
    that looks at the whole image, such as a gate, moves nothing. Where branches meet, the centre is the
    mean of theirs, and the size the largest. A branch with unknown centres is ignored if another has
    known ones.

    Args:
        graph: The graph of a model.
        slot: The slot of the feature map, such as `(batch, rows, columns, channels)`.
        size_of: The sizes of the axes of positions of each slot of such a rank.
        image: The slot of the input. None: the only input.

    Raises:
        InputError: An earlier layer places cells in an unknown way.
    """
    image = graph.inputs[0] if image is None else image
    rank = len(graph.shapes[image])
    known: dict[int, Axes] = {image: _same(rank)}
    lost: dict[int, Node] = {}
    for node in graph.nodes:
        taken = [s for s in node.inputs if s not in graph.constants]
        before = [(s, known[s]) for s in taken if s in known and not _is_one_cell(graph.shapes[s])]
        cells = _cells(graph, node, before[0][0], size_of) if before else None
        for made in node.outputs:
            if cells is not None and len(graph.shapes[made]) == rank:
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


def _same(rank: int) -> Axes:
    """The positions of cells that stay where they are."""
    return [Axis()] * (rank - 2)


def _is_one_cell(shape: Sequence[int | None]) -> bool:
    return set(shape[1:-1]) == {1}


def _mean_on(several: Sequence[Axes], cells: Axes) -> Axes:
    """The mean of the centres of cells on those of several tensors, and the largest size."""
    found = []
    for *outer, inner in zip(*several, cells, strict=True):
        axes = [axis.then(inner) for axis in outer]
        first, step = sum(axis.first for axis in axes), sum(axis.step for axis in axes)
        size = functools.reduce(_larger, (axis.size for axis in axes))
        found.append(Axis(first / len(axes), step / len(axes), size))
    return found


def _larger(a: Any, b: Any) -> Any:
    numbers = isinstance(a, int | float) and isinstance(b, int | float)
    return max(a, b) if numbers else ops.maximum(a, b)


def _operation(node: Node) -> Any:
    return node.layer.operation if isinstance(node.layer, KernelOperation) else node.layer


def _cells(graph: Graph, node: Node, slot: int, size_of: Callable[[int], Size]) -> Axes | None:
    """The positions of a node's cells relative to those of its input slot; None if unknown."""
    layer, made = _operation(node), node.outputs[0]
    shape, result = graph.shapes[slot], graph.shapes[made]
    rank = len(shape)
    if len(result) != rank or getattr(layer, "data_format", None) == "channels_first":
        return None
    if is_a(layer, layer_types.CONCATENATION):
        return _same(rank) if layer.axis in (-1, rank - 1) else None
    if is_a(layer, _ELEMENT_BY_ELEMENT) and shape[1:-1] == result[1:-1]:
        return _same(rank)
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
        Axis((reach - _padding(node, n, m, reach, stride) * 2) / 2, float(stride), reach + 1.0)
        for (n, m), reach, stride in zip(sizes, *_settings(node, len(sizes)), strict=True)
    ]


def _transposed(node: Node, sizes: Sequence[Size]) -> Axes:
    return [
        Axis(
            (_padding(node, m, n, reach, stride) * 2 - reach) / (2 * stride),
            1 / stride,
            reach // stride + 1.0,
        )
        for (n, m), reach, stride in zip(sizes, *_settings(node, len(sizes)), strict=True)
    ]


def _padding(node: Node, n: Any, m: Any, reach: int, stride: int) -> Any:
    """The padding that precedes n cells that become m."""
    padding = _operation(node).padding
    if padding != "same":
        return reach if padding == "causal" else 0
    padded = (m - 1) * stride + reach + 1 - n
    if isinstance(padded, int):
        return max(padded, 0) // 2
    return ops.cast(ops.maximum(padded, 0) // 2, "float64")


def _settings(node: Node, axes: int) -> tuple[list[int], list[int]]:
    """The reach of the kernel of a layer or an operation, and its strides."""
    layer = _operation(node)
    lengths = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if lengths is None:  # an operation, whose kernel is an argument
        lengths = tuple(node.layer.kernel.shape[:-2])
    strides = layer.strides or lengths
    dilations = getattr(layer, "dilation_rate", 1)
    lengths, strides, dilations = (
        [n] * axes if isinstance(n, int) else list(n) for n in (lengths, strides, dilations)
    )
    return [(k - 1) * d for k, d in zip(lengths, dilations, strict=True)], strides


def _resized(node: Node, sizes: Sequence[Size]) -> Axes | None:
    """The positions of cells that divide the same image evenly."""
    layer = _operation(node)
    if any(getattr(layer, f"{how}_to_aspect_ratio", False) for how in ("crop", "pad")):
        return None
    steps = [n / m for n, m in sizes]  # float64 also for tensors
    return [Axis((step - 1) / 2, step, _larger(step + 1, 2.0)) for step in steps]


def _padded(node: Node, sizes: Sequence[Size]) -> Axes | None:
    layer = _operation(node)
    pads = layer.padding if hasattr(layer, "padding") else layer.pad_width[1:-1]
    pairs = _pairs(pads)
    return [Axis(-float(before)) for before, _ in pairs] if len(pairs) == len(sizes) else None


def _cropped(node: Node, sizes: Sequence[Size]) -> Axes:
    return [Axis(float(before)) for before, _ in _pairs(_operation(node).cropping)]


def _pairs(given: Any) -> list[Any]:
    """The two numbers of each axis. Layers of series have only one pair."""
    return [given] if isinstance(given[0], int) else list(given)


def _numbered(name: str) -> set[str]:
    return {f"{name}{rank}D" for rank in (1, 2, 3)}


_PLACED: list[tuple[set[str], Callable[[Node, Sequence[Size]], Axes | None]]] = [
    (
        layer_types.CONVOLUTION
        | layer_types.DEPTHWISE
        | layer_types.SEPARABLE
        | {"Conv", "DepthwiseConv", "MaxPool", "AveragePool"}
        | _numbered("MaxPooling")
        | _numbered("AveragePooling"),
        _windows,
    ),
    (layer_types.TRANSPOSED | {"ConvTranspose"}, _transposed),
    (
        layer_types.RESAMPLING
        | _numbered("AdaptiveMaxPooling")
        | _numbered("AdaptiveAveragePooling")
        | {"AdaptiveMaxPool", "AdaptiveAveragePool"},
        _resized,
    ),
    (_numbered("ZeroPadding") | {"Pad"}, _padded),
    (_numbered("Cropping"), _cropped),
]


def _probed(node: Node, shape: Sequence[int | None]) -> Axes | None:
    """The positions of a node that only moves values, found by calling it."""
    if None in shape[1:] or len(node.inputs) != 1:
        return None
    axes = []
    for axis in range(1, len(shape) - 1):
        ramp = np.arange(shape[axis] or 1, dtype=np.float32)
        ramp = ramp.reshape([-1 if k == axis else 1 for k in range(len(shape))])
        with ops.at_once():
            moved = ops.to_numpy(
                node.call([ops.broadcast_to(ramp, (1, *shape[1:]))], as_is=True)[0]
            )
        lines = np.moveaxis(moved, axis, 0).reshape(moved.shape[axis], -1)
        flat = lines[:, 0]
        step = float(flat[1] - flat[0]) if len(flat) > 1 else 1.0
        found = Axis(float(flat[0]), step)
        even = np.abs(flat - found.first - step * np.arange(len(flat))).max() == 0
        if not even or step == 0 or not (lines == flat[:, None]).all():
            return None
        axes.append(found)
    return axes
