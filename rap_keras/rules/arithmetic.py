"""Small operations that several rules share."""

import numpy as np
import tensorflow as tf

from rap_keras.network.linear import Stage, pullback

Box = tuple[tf.Tensor, tf.Tensor]  # the lowest and the highest value of each element


def tiny(dtype: tf.DType) -> float:
    """Sums of contributions up to this are taken for 0, so that no quotient by one overflows."""
    return float(np.finfo(dtype.as_numpy_dtype).tiny) * 2**40


def above_tiny(b: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
    """b + bias >= 0 with what is up to tiny made 0. Larger values stay, to the last bit or so."""
    less = tf.constant(-tiny(b.dtype), b.dtype)
    if b.shape[-1] is None or (bias is not None and bias.shape.rank != 1):
        return tf.nn.relu((b if bias is None else b + bias) + less)
    # As bias and ReLU, which TensorFlow fuses with the map that made b.
    less = tf.fill([b.shape[-1]], less)
    return tf.nn.relu(tf.nn.bias_add(b, less if bias is None else bias + less))


def divide(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """a / b, and 0 where |b| is tiny."""
    # Not by tf.where, which takes several times as long.
    limit = tf.constant(tiny(b.dtype), b.dtype)
    return tf.math.divide_no_nan(a, b - tf.minimum(tf.maximum(b, -limit), limit))


def total(x: tf.Tensor, samples: int = 0) -> tf.Tensor:
    """The sum of each sample, shape (batch,); `samples` is their axis."""
    return tf.reduce_sum(x, [axis for axis in range(x.shape.rank) if axis != samples])


def with_rest(
    share: tf.Tensor, stage: Stage, relevance: tf.Tensor, without: tf.Tensor
) -> tf.Tensor:
    """Adds the relevance of neurons without contributions, in equal parts over what each sees.

    A neuron has no contributions where its weights or all its inputs are 0, and the equations then
    divide 0 by 0. Equal parts are the limit of shares by |z_ij| + c for c -> 0.

    Args:
        share: What the others have given, the shape of the stage's input.
        stage: The map.
        relevance: The relevance at its output.
        without: Where there are no contributions; boolean, the shape of the output.

    Returns:
        The sum.
    """

    def shared() -> tf.Tensor:
        rest = tf.where(without, relevance, tf.zeros_like(relevance))
        alike = stage.with_kernel(tf.ones_like(stage.kernel))
        seen, back = pullback(alike, tf.ones_like(stage.x))
        parts = back(tf.math.divide_no_nan(rest, seen))
        # Where transposed convolutions leave gaps, neurons see nothing at all.
        to, at = stage.samples
        unseen = (total(rest, at) - total(parts, to)) / total(tf.ones_like(parts), to)
        return share + parts + per_sample(unseen, parts, to)

    return tf.cond(tf.reduce_any(without), shared, lambda: share)


def per_sample(values: tf.Tensor, like: tf.Tensor, samples: int = 0) -> tf.Tensor:
    """Values of shape (batch,), shaped to multiply or subtract from `like`."""
    return tf.reshape(values, [-1 if axis == samples else 1 for axis in range(like.shape.rank)])


class Contributions:
    """The positive contributions of a stage, z+_ij = max(x_i w_ij, 0), and the way back.

    For x >= 0 they are x w+. Otherwise they come from (x+, w+) and (x-, w-).

    Attributes:
        doubled: 2 A_j = 2 sum_i z+_ij, the shape of the stage's output.
        absolute: A_j + B_j = 2 A_j - z_j: B is never computed, which saves a map.
    """

    def __init__(self, stage: Stage, nonnegative: bool) -> None:
        self._stage = stage
        self._nonnegative = nonnegative
        parts = [(stage.x, stage.kernel)]
        if not nonnegative:
            parts = [(tf.nn.relu(stage.x), stage.kernel), (tf.nn.relu(-stage.x), -stage.kernel)]
        # Copies of the kernel are made only where it is smaller than what it makes.
        self._large = _is_larger(stage.kernel, stage.z)
        self._maps = []
        for x, kernel in parts:
            positive = tf.nn.relu(kernel)
            doubled = positive if self._large else positive + positive
            self._maps.append((x, *pullback(stage.with_kernel(doubled), x)))
        sums = [z for _, z, _ in self._maps]
        total = sums[0] if nonnegative else tf.add_n(sums)
        self.doubled = above_tiny(total + total if self._large else total)
        self.absolute = above_tiny(self.doubled - stage.z)

    def back(self, u: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        """sum_j 2 z+_ij u_j + |z-_ij| v_j, the shape of the stage's input."""
        stage = self._stage
        if self._nonnegative and not self._large:
            negative = tf.nn.relu(stage.kernel) - stage.kernel
            _, back_negative = pullback(stage.with_kernel(negative), stage.x)
            return stage.x * (self._maps[0][2](u) + back_negative(v))
        # |z-| = z+ - z: a map less for signed x, and no copy of a large kernel.
        # Not u + u + v, which TensorFlow adds in an order that depends on the moment.
        u = 2.0 * u + v if self._large else u + 0.5 * v
        shared = [x * back(u) for x, _, back in self._maps]
        return tf.add_n(shared) - stage.x * stage.back(v)


def _is_larger(kernel: tf.Tensor, z: tf.Tensor) -> bool:
    sizes, elements = z.shape[1:], kernel.shape.num_elements()
    # Weights that are made of the samples have as many elements as there are samples.
    return sizes.is_fully_defined() and elements is not None and elements > sizes.num_elements()


def in_box(stage: Stage, relevance: tf.Tensor, box: Box, even: bool = True) -> tf.Tensor:
    """RAP's eq. 10, z^B; with `even`, neurons without contributions share in equal parts."""
    low, high = box
    above, below = stage.x - low, stage.x - high
    z_above, back_above = pullback(stage.with_kernel(tf.nn.relu(stage.kernel)), above)
    z_below, back_below = pullback(stage.with_kernel(-tf.nn.relu(-stage.kernel)), below)
    summed = above_tiny(z_above + z_below)
    s = tf.math.divide_no_nan(relevance, summed)
    shared = above * back_above(s) + below * back_below(s)
    return with_rest(shared, stage, relevance, summed <= 0) if even else shared
