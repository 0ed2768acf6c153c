"""The gradient as a rule: the transposed Jacobian of each layer."""

from typing import Any

import tensorflow as tf

from rap_keras.rules import TensorMap, Tensors
from rap_keras.rules.arithmetic import vjp


def gradient(
    layer: Any,
    inputs: Tensors,
    outputs: Tensors,
    relevances: Tensors,
    *,
    transposed: TensorMap | None = None,
) -> list[tf.Tensor]:
    """The derivative of the selected neurons, by the chain rule."""
    return transposed(relevances) if transposed else vjp(outputs, inputs, relevances)
