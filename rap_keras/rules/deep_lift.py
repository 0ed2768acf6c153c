"""DeepLIFT as a rule: multipliers of differences from a reference.

The tensors hold the samples first and as many references behind them, on the axis of the samples. What
comes back for a sample is the mean of its two halves.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.network.layer_types import ACTIVATION, WINNER, activation_name, is_a
from rap_keras.network.linear import Stage
from rap_keras.rules import Samples, TensorMap, Tensors
from rap_keras.rules.arithmetic import divide, vjp

_MIXING = ("softmax", "log_softmax")  # activations that are not element by element


def rescale(
    layer: Any,
    inputs: Tensors,
    outputs: Tensors,
    relevances: Tensors,
    *,
    samples: Samples,
    stages: list[Stage] | None = None,
    before_activation: TensorMap | None = None,
    transposed: TensorMap | None = None,
) -> list[tf.Tensor]:
    """The rescale rule (Shrikumar et al., ICML 2017, arXiv 1704.02685, eq. 3 and section 3.5.2).

    Linear maps: their transposed map. Functions of each element: the difference of the outputs over that
    of the inputs. Maxima: the difference goes to the winner among the samples where it is positive, to
    the winner among the references where it is negative (the other way round for minima). All else: the
    mean of the gradients at both ends, which is exact for products of two tensors.
    """
    (of_input, *_), (axis, *_) = samples
    both = [_mean(r, axis) for r in relevances]
    function = activation_name(layer)
    if stages and function is None:
        return [_back(stages, both[0])]
    if stages and before_activation and function not in _MIXING:
        z = stages[-1].output
        (slope,) = before_activation(both)
        return [_back(stages, _quotient(z, outputs[0], both[0], slope, axis))]
    if is_a(layer, ACTIVATION) and len(inputs) == 1 and function not in _MIXING:
        (slope,) = vjp(outputs, inputs, both, transposed)
        return [_quotient(inputs[0], outputs[0], both[0], slope, axis)]
    if is_a(layer, WINNER):
        return _to_winners(layer, inputs, outputs, both[0], transposed, (of_input, axis))
    return vjp(outputs, inputs, both, transposed)


def differences(pairs: tf.Tensor, axis: int = 0) -> tf.Tensor:
    """Samples less their references, for both halves."""
    sample, reference = tf.split(pairs, 2, axis)
    return tf.concat([sample - reference] * 2, axis)


def _mean(pairs: tf.Tensor, axis: int) -> tf.Tensor:
    sample, reference = tf.split(pairs, 2, axis)
    return tf.concat([(sample + reference) / 2] * 2, axis)


def _back(stages: list[Stage], relevance: tf.Tensor) -> tf.Tensor:
    for stage in reversed(stages):
        relevance = tf.cast(stage.back(tf.cast(relevance, stage.z.dtype)), relevance.dtype)
    return relevance


def _quotient(
    x: tf.Tensor, y: tf.Tensor, multiplier: tf.Tensor, slope: tf.Tensor, axis: int
) -> tf.Tensor:
    """The multiplier times dy / dx; the slope, times the multiplier, where dx is but rounding."""
    dtype = multiplier.dtype
    dx, dy = (tf.cast(differences(t, axis), dtype) for t in (x, y))
    sample, reference = tf.split(abs(tf.cast(x, dtype)), 2, axis)
    size = tf.concat([tf.maximum(sample, reference)] * 2, axis)
    small = abs(dx) <= 100 * float(np.finfo(x.dtype.as_numpy_dtype).eps) * size
    return tf.where(small, tf.cast(slope, dtype), multiplier * divide(dy, dx))


def _to_winners(
    layer: Any,
    inputs: Tensors,
    outputs: Tensors,
    multiplier: tf.Tensor,
    transposed: TensorMap | None,
    axes: tuple[int, int],
) -> list[tf.Tensor]:
    of_input, axis = axes
    dy = tf.split(tf.cast(differences(outputs[0], axis), multiplier.dtype), 2, axis)[0]
    least = is_a(layer, {"Min", "Amin", "Minimum"})
    parts = [tf.minimum(dy, 0), tf.maximum(dy, 0)] if least else [tf.nn.relu(dy), -tf.nn.relu(-dy)]
    given = vjp(outputs, inputs, [multiplier * tf.concat(parts, axis)], transposed)
    result = []
    for part, x in zip(given, inputs, strict=True):
        halves = tf.split(part, 2, of_input)
        whole = tf.concat([halves[0] + halves[1]] * 2, of_input)
        result.append(divide(whole, tf.cast(differences(x, of_input), whole.dtype)))
    return result
