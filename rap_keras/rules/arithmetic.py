"""Small operations that several rules share."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from rap_keras.linear import Stage, pullback


def tiny(dtype: tf.DType) -> float:
    """Sums of contributions up to this are taken for 0, so that no quotient by one overflows."""
    return float(np.finfo(dtype.as_numpy_dtype).tiny) * 2**40


def above_tiny(b: tf.Tensor) -> tf.Tensor:
    """b >= 0 with what is up to tiny made 0. Larger values stay as they are, to the last bit or so."""
    return tf.nn.relu(b - tiny(b.dtype))


def divide(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """a / b, and 0 where |b| is tiny."""
    zero = tf.abs(b) <= tiny(b.dtype)
    return tf.where(zero, tf.zeros_like(a), a / tf.where(zero, tf.ones_like(b), b))


def vjp(
    outputs: Sequence[tf.Tensor], inputs: Sequence[tf.Tensor], relevances: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """The transposed map of a layer, in the layer's dtype; relevances keep theirs."""
    values = [tf.cast(r, y.dtype) for r, y in zip(relevances, outputs, strict=True)]
    gradients = tf.gradients(list(outputs), list(inputs), values, unconnected_gradients="zero")
    return [tf.cast(tf.convert_to_tensor(g), relevances[0].dtype) for g in gradients]


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
        self._stage = stage
        parts = [(stage.x, tf.nn.relu(stage.kernel))]
        if not nonnegative:
            parts = [
                (tf.nn.relu(stage.x), parts[0][1]),
                (tf.nn.relu(-stage.x), tf.nn.relu(-stage.kernel)),
            ]
        self._maps = [(x, *pullback(stage.with_kernel(kernel), x)) for x, kernel in parts]
        sums = [z for _, z, _ in self._maps]
        self.sum = sums[0] if nonnegative else tf.add_n(sums)

    def back(self, s: tf.Tensor, s_all: tf.Tensor) -> tf.Tensor:
        """sum_j max(x_i w_ij, 0) s_j - x_i w_ij s_all_j, the shape of the stage's input."""
        gradients = [(x, back(s)) for x, _, back in self._maps]
        of_all = self._stage.back(s_all)
        if len(gradients) == 1:
            return self._stage.x * (gradients[0][1] - of_all)
        positive, negative = (x * g for x, g in gradients)
        return positive + negative - self._stage.x * of_all
