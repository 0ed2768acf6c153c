"""Small operations that several rules share."""

from collections.abc import Sequence
from typing import Any

from rap_keras import tensors as ops
from rap_keras.network.layer_types import is_layer
from rap_keras.network.linear import Stage, back_of, pullback

Box = tuple[ops.Tensor, ops.Tensor]  # the lowest and the highest value of each element


def tiny(dtype: ops.DType) -> float:
    """Sums of contributions up to this value count as 0, so that quotients by them do not overflow."""
    return float(ops.finfo(dtype).tiny) * 2**40


def above_tiny(b: ops.Tensor, bias: ops.Tensor | None = None) -> ops.Tensor:
    """b + bias >= 0, with values up to `tiny` set to 0. Larger values are kept, except for rounding.

    b is used up: its memory may be overwritten.
    """
    less = ops.constant(-tiny(b.dtype), b.dtype)
    if b.shape[-1] is None or (bias is not None and len(bias.shape) != 1):
        return ops.relu((b if bias is None else b + bias) + less)
    # Written as bias and ReLU, which TensorFlow fuses with the map that made b.
    less = ops.full([b.shape[-1]], less)
    return ops.bias_relu(b, less if bias is None else bias + less)


def divide(a: ops.Tensor, b: ops.Tensor) -> ops.Tensor:
    """a / b, and 0 where |b| is tiny."""
    # Several times faster than ops.where.
    limit = ops.constant(tiny(b.dtype), b.dtype)
    return ops.divide_no_nan(a, b - ops.minimum(ops.maximum(b, -limit), limit))


def total(x: ops.Tensor, samples: int = 0) -> ops.Tensor:
    """The sum over each sample, shape (batch,); `samples` is the batch axis."""
    return ops.sum(x, [axis for axis in range(len(x.shape)) if axis != samples])


def with_rest(
    share: ops.Tensor, stage: Stage, relevance: ops.Tensor, without: ops.Tensor
) -> ops.Tensor:
    """Adds the relevance of neurons without contributions, in equal parts over the inputs of each.

    A neuron has no contributions if its weights or all its inputs are 0. The equations then divide 0 by
    0. Equal parts are the limit of shares by |z_ij| + c for c -> 0.

    Args:
        share: The shares of the other neurons, in the shape of the stage's input.
        stage: The map.
        relevance: The relevance at its output.
        without: Where there are no contributions; boolean, in the shape of the output.

    Returns:
        The sum.
    """

    def shared() -> ops.Tensor:
        rest = ops.where(without, relevance, ops.zeros_like(relevance))
        ones = stage.with_kernel(ops.ones_like(stage.kernel))
        seen, back = pullback(ones, ops.ones_like(stage.x))
        parts = back(ops.divide_no_nan(rest, seen))
        # In the gaps of transposed convolutions, neurons see no inputs.
        to, at = stage.samples
        unseen = (total(rest, at) - total(parts, to)) / total(ops.ones_like(parts), to)
        return share + parts + per_sample(unseen, parts, to)

    return ops.cond(ops.any(without), shared, lambda: share)


def per_sample(values: ops.Tensor, like: ops.Tensor, samples: int = 0) -> ops.Tensor:
    """Values of shape (batch,), reshaped to broadcast to `like`."""
    return ops.reshape(values, [-1 if axis == samples else 1 for axis in range(len(like.shape))])


class Contributions:
    """The positive contributions of a stage, z+_ij = max(x_i w_ij, 0), and the way back through them.

    For x >= 0 they are x w+. Otherwise they come from (x+, w+) and (x-, w-).

    Attributes:
        doubled: 2 A_j = 2 sum_i z+_ij, in the shape of the stage's output.
        absolute: A_j + B_j = 2 A_j - z_j. B is never computed, which saves a map.
    """

    def __init__(self, stage: Stage, nonnegative: bool) -> None:
        self._stage = stage
        self._nonnegative = nonnegative
        parts = [(stage.x, stage.kernel)]
        if not nonnegative:
            parts = [(ops.relu(stage.x), stage.kernel), (ops.relu(-stage.x), -stage.kernel)]
        # The kernel is copied only if it is smaller than its output.
        self._large = _is_larger(stage.kernel, stage.z)
        self._maps = []
        for x, kernel in parts:
            positive = ops.relu(kernel)
            doubled = positive if self._large else positive + positive
            self._maps.append((x, *pullback(stage.with_kernel(doubled), x)))
        sums = [z for _, z, _ in self._maps]
        total = sums[0] if nonnegative else ops.add_n(sums)
        self.doubled = above_tiny(total + total if self._large else total)
        self.absolute = above_tiny(self.doubled - stage.z)

    def back(self, u: ops.Tensor, v: ops.Tensor) -> ops.Tensor:
        """sum_j 2 z+_ij u_j + |z-_ij| v_j, the shape of the stage's input."""
        stage = self._stage
        if self._nonnegative and not self._large:
            negative = ops.relu(stage.kernel) - stage.kernel
            back_negative = back_of(stage.with_kernel(negative), stage.x)
            return stage.x * (self._maps[0][2](u) + back_negative(v))
        # |z-| = z+ - z saves a map for signed x, and a copy of a large kernel.
        # Not u + u + v: the order in which TensorFlow adds three terms can vary.
        u = 2.0 * u + v if self._large else u + 0.5 * v
        shared = [x * back(u) for x, _, back in self._maps]
        return ops.add_n(shared) - stage.x * stage.back(v)


def _is_larger(kernel: ops.Tensor, z: ops.Tensor) -> bool:
    outputs, elements = ops.elements(z.shape[1:]), ops.elements(kernel.shape)
    # Weights that are computed from the samples grow with the batch size.
    return outputs is not None and elements is not None and elements > outputs


def in_box(stage: Stage, relevance: ops.Tensor, box: Box, even: bool = True) -> ops.Tensor:
    """RAP's eq. 10, z^B; with `even`, neurons without contributions share in equal parts."""
    low, high = box
    above, below = stage.x - low, stage.x - high
    z_above, back_above = pullback(stage.with_kernel(ops.relu(stage.kernel)), above)
    z_below, back_below = pullback(stage.with_kernel(-ops.relu(-stage.kernel)), below)
    summed = above_tiny(z_above + z_below)
    s = ops.divide_no_nan(relevance, summed)
    shared = above * back_above(s) + below * back_below(s)
    return with_rest(shared, stage, relevance, summed <= 0) if even else shared


def aligned(layer: Any, inputs: Sequence[ops.Tensor]) -> list[ops.Tensor]:
    """The inputs of a merging layer in one rank: Keras' layers insert missing axes after the batch."""
    rank = max(len(x.shape) for x in inputs)
    if not is_layer(layer):
        return list(inputs)  # an operation aligns its inputs on the right, as TensorFlow does
    wide = list(inputs)
    for k, x in enumerate(inputs):
        for _ in range(rank - len(x.shape)):
            wide[k] = ops.expand_dims(wide[k], 1)
    return wide


def narrowed(
    relevances: Sequence[ops.Tensor], wide: Sequence[ops.Tensor], inputs: Sequence[ops.Tensor]
) -> list[ops.Tensor]:
    """The relevance of broadcast inputs, summed to the inputs' own shapes."""
    result = []
    for relevance, aligned, x in zip(relevances, wide, inputs, strict=True):
        part = reduced(relevance, aligned)
        result.append(part if aligned is x else ops.reshape(part, ops.shape(x)))
    return result


def reduced(relevance: ops.Tensor, like: ops.Tensor) -> ops.Tensor:
    """Relevance summed over the axes along which a tensor was broadcast, in that tensor's shape."""
    extra = len(relevance.shape) - len(like.shape)
    if extra:
        relevance = ops.sum(relevance, list(range(extra)))
    if (None not in relevance.shape) or relevance.shape[1:] == like.shape[1:]:
        axes = [i for i, n in enumerate(like.shape) if n == 1 and relevance.shape[i] != 1]
        return ops.sum(relevance, axes, keepdims=True) if axes else relevance
    return ops.reduced(relevance, like)
