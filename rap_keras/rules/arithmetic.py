"""Small operations that several rules share."""

from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.linear import Stage


def negligible(b: tf.Tensor) -> tf.Tensor:
    """Where b is 0, or so near 0 that a quotient by it could overflow."""
    return tf.abs(b) < np.finfo(b.dtype.as_numpy_dtype).tiny * 2**23


def divide(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """a / b, and 0 where b is negligible."""
    zero = negligible(b)
    return tf.where(zero, tf.zeros_like(a), a / tf.where(zero, tf.ones_like(b), b))


def vjp(outputs: Any, inputs: list[tf.Tensor], relevances: Any) -> list[tf.Tensor]:
    """The transposed map of a layer, in the layer's dtype; relevances keep theirs."""
    dtype = relevances[0].dtype
    values = [tf.cast(r, y.dtype) for r, y in zip(relevances, outputs, strict=True)]
    gradients = tf.gradients(outputs, inputs, values, unconnected_gradients="zero")
    return [tf.cast(tf.convert_to_tensor(g), dtype) for g in gradients]


def transposed(z: tf.Tensor, x: tf.Tensor, s: tf.Tensor) -> tf.Tensor:
    """The transposed map of z = f(x), applied to s."""
    return tf.gradients(z, x, s)[0]


def total(x: tf.Tensor) -> tf.Tensor:
    """The sum of each sample, shape (batch,)."""
    return tf.reduce_sum(x, list(range(1, x.shape.rank)))


def per_sample(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Values of shape (batch,), shaped to multiply or subtract from `like`."""
    return tf.reshape(values, [-1] + [1] * (like.shape.rank - 1))


class Contributions:
    """The positive contributions of a stage: P_j = sum_i max(x_i w_ij, 0), and the way back.

    For x >= 0 they are x w+. Otherwise they come from (x+, w+) and (x-, w-).

    Attributes:
        sum: P, the shape of the stage's output.
    """

    def __init__(self, stage: Stage, nonnegative: bool) -> None:
        x, kernel = stage.x, stage.kernel
        parts = [(tf.identity(x) if nonnegative else tf.nn.relu(x), tf.nn.relu(kernel))]
        if not nonnegative:
            parts.append((tf.nn.relu(-x), tf.nn.relu(-kernel)))
        self._inputs = [part for part, _ in parts]
        self.sum = tf.add_n([stage.apply(part, part_kernel) for part, part_kernel in parts])

    def back(self, s: tf.Tensor) -> tf.Tensor:
        """sum_j max(x_i w_ij, 0) s_j, the shape of the stage's input."""
        gradients = tf.gradients(self.sum, self._inputs, s)
        return tf.add_n([x * g for x, g in zip(self._inputs, gradients, strict=True)])
