"""Whether logits can be explained although other layers follow the final softmax or sigmoid."""

import numpy as np

from rap_keras import tensors as ops
from rap_keras.network import layer_types
from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import HEADS, activation_name, is_a

# Elementwise functions that never decrease.
_RISING = {
    *("Clip", "Log", "Log1p", "Exp", "Expm1", "Tanh", "Softplus", "HardTanh", "Erf"),
    *("Relu", "Relu6", "ReLU", "Round", "Floor", "Ceil", "Trunc"),
}
_RISING_ACTIVATIONS = {"relu", "relu6", "exponential", "tanh", "softplus"}
# Functions that increase if no element is negative.
_RISING_FROM_ZERO = {"Sqrt", "Square"}
# Moves elements, and applies the identity or the same function to all of them.
MOVING = (
    layer_types.ROUTING
    | layer_types.RESAMPLING
    | layer_types.ELEMENTWISE
    - {"LayerNorm", "RMSNorm", "Normalize", "BatchNorm", "Normalization", "Rescaling"}
)
_PROBABILITIES = {*HEADS, "hard_sigmoid", "log_sigmoid", "sparsemax"}
_PASSING = (
    layer_types.ACTIVATION
    | layer_types.ELEMENTWISE
    | layer_types.ROUTING
    | layer_types.AVERAGING
    | layer_types.WINNER
    | layer_types.CONCATENATION
    | layer_types.SELECTION
    | layer_types.ADDITION
    | layer_types.MULTIPLICATION
    | layer_types.DIVISION
    | _RISING
    | {"Stack"}
)


def is_increasing(graph: Graph, node: Node) -> bool:
    """Whether a node applies the same increasing function to every element.

    The largest element, and the causes of a larger element, are then the same before and after it.
    """
    if len(node.inputs) != 1 or graph.shapes[node.inputs[0]] != graph.shapes[node.outputs[0]]:
        return False
    layer = node.layer
    named = is_a(layer, {"Activation"}) and activation_name(layer) in _RISING_ACTIVATIONS
    if named or is_a(layer, _RISING):
        return True
    if is_a(layer, _RISING_FROM_ZERO):
        return graph.nonnegative(node)
    if is_a(layer, {"Rescaling"}):
        return np.size(layer.scale) == np.size(layer.offset) == 1 and np.max(layer.scale) > 0
    if is_a(layer, {"Power"}):
        return graph.nonnegative(node) and not node.starts_constant and _scalar(graph, node) > 0
    if layer_types.is_layer(layer):
        return False
    if is_a(layer, {"Add", "Maximum", "Minimum"}) or (
        is_a(layer, {"Subtract"}) and not node.starts_constant
    ):
        return not np.isnan(_scalar(graph, node))
    if is_a(layer, {"Multiply"}) or (
        is_a(layer, layer_types.DIVISION) and not node.starts_constant
    ):
        return _scalar(graph, node) > 0
    return False


def _scalar(graph: Graph, node: Node) -> float:
    """The number that an operation takes in addition to its tensor; NaN if it is no single number."""
    shape = graph.shapes[node.inputs[0]]
    given = ops.Spec([1 if n is None else n for n in shape])
    others = [part for part in node.call.operands([given]) if part is not given]
    if len(others) != 1 or others[0] is None or np.size(others[0]) != 1:
        return float("nan")
    return float(np.reshape(others[0], ()))


def explained_probabilities(graph: Graph, output: int) -> str | None:
    """The name of the softmax or sigmoid whose probabilities the output combines, if any.

    For example by averages, sums or maxima. None if the output is that softmax itself.
    """
    last = graph.producers.get(output)
    if last is None or activation_name(last.layer) in HEADS:
        return None
    return _made_of(graph, output)


def _made_of(graph: Graph, slot: int) -> str | None:
    node = graph.producers.get(slot)
    if node is None or graph.ends_before_activation(node):
        return None
    if activation_name(node.layer) in _PROBABILITIES:
        return node.name
    if _shares(graph, node):
        return node.name
    parts = [s for s in node.inputs if s not in graph.constants]
    if not parts or not is_a(node.layer, _PASSING):
        return None
    names = [_made_of(graph, s) for s in parts]
    return names[0] if all(names) else None


def _shares(graph: Graph, node: Node) -> bool:
    """Whether a node divides values by their sum, as in a softmax that is written with operations."""
    if not is_a(node.layer, layer_types.DIVISION) or len(node.inputs) != 2:
        return False
    values, total = node.inputs
    adding = graph.producers.get(total)
    return adding is not None and is_a(adding.layer, {"Sum"}) and list(adding.inputs) == [values]
