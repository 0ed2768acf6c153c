"""The gradient as a rule: the transposed Jacobian of each layer."""

from collections.abc import Sequence
from typing import Any

from rap_keras import tensors as ops
from rap_keras.network.layer_types import RELUS, activation_name
from rap_keras.network.linear import Stage
from rap_keras.rules import Shares, TensorMap, Tensors, layer_rule


@layer_rule
def gradient(inputs: Tensors, relevances: Tensors, transposed: TensorMap) -> Shares:
    """The derivative of the selected neurons, by the chain rule; integers have none."""
    if not any(ops.is_floating(x.dtype) for x in inputs):
        return [None for _ in inputs]
    return transposed(relevances)


@layer_rule
def guided(layer: Any, inputs: Tensors, relevances: Tensors, transposed: TensorMap) -> Shares:
    """Guided backpropagation: relevance at the output of a ReLU is cut at 0, then the gradient."""
    if activation_name(layer) in RELUS:
        relevances = [ops.relu(r) for r in relevances]
    return gradient(layer, inputs, [], relevances, transposed=transposed)


@layer_rule
def deconvnet(
    layer: Any,
    inputs: Tensors,
    relevances: Tensors,
    transposed: TensorMap,
    *,
    stages: Sequence[Stage] | None = None,
) -> Shares:
    """Deconvolution: relevance at the output of a ReLU is cut at 0; its gradient is not used."""
    if activation_name(layer) not in RELUS:
        return gradient(layer, inputs, [], relevances, transposed=transposed)
    (relevance,) = [ops.relu(r) for r in relevances]
    for stage in reversed(stages or ()):
        relevance = stage.back(relevance)
    return [relevance]
