"""The gradient as a rule: the transposed Jacobian of each layer."""

from typing import Any

import tensorflow as tf

from rap_keras.network import linear
from rap_keras.network.layer_types import RELUS, activation_name
from rap_keras.network.linear import Stage
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
    """The derivative of the selected neurons, by the chain rule; whole numbers have none."""
    if not any(x.dtype.is_floating for x in inputs):
        return [None for _ in inputs]
    return vjp(outputs, inputs, relevances, transposed)


def guided(
    layer: Any,
    inputs: Tensors,
    outputs: Tensors,
    relevances: Tensors,
    *,
    transposed: TensorMap | None = None,
) -> list[tf.Tensor]:
    """Guided backpropagation: what reaches a ReLU from behind is cut at 0, then the gradient."""
    if activation_name(layer) in RELUS:
        relevances = [tf.nn.relu(r) for r in relevances]
    return gradient(layer, inputs, outputs, relevances, transposed=transposed)


def deconvnet(
    layer: Any,
    inputs: Tensors,
    outputs: Tensors,
    relevances: Tensors,
    *,
    stages: list[Stage] | None = None,
    transposed: TensorMap | None = None,
) -> list[tf.Tensor]:
    """Deconvolution: what reaches a ReLU from behind is cut at 0, without the ReLU's own gradient."""
    if activation_name(layer) not in RELUS:
        return gradient(layer, inputs, outputs, relevances, transposed=transposed)
    (relevance,) = [tf.nn.relu(r) for r in relevances]
    if linear.is_linear(layer):
        for stage in reversed(stages or linear.stages(layer, inputs[0])):
            relevance = stage.back(relevance)
    return [relevance]
