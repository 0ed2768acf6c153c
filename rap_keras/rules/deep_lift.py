"""DeepLIFT as a rule: multipliers of differences from a reference.

The batch contains the samples first and then the same number of references. The result for a sample is
the mean of its two halves.
"""

from collections.abc import Sequence
from typing import Any

from rap_keras import tensors as ops
from rap_keras.network import layer_types
from rap_keras.network.layer_types import ACTIVATION, WINNER, activation_name, is_a
from rap_keras.network.linear import Stage
from rap_keras.rules import Samples, Shares, TensorMap, Tensors, layer_rule
from rap_keras.rules.arithmetic import divide
from rap_keras.rules.differences import (
    between,
    differences,
    is_rounding,
    mean_of,
    of_normalization,
    of_quotient,
    of_scaling,
    of_softmax,
)

_SOFTMAXES = ("softmax", "log_softmax")
# Linear in each tensor: the mean of the gradients at both ends is exact for one or two tensors.
_MULTILINEAR = (
    layer_types.ADDITION
    | layer_types.SCALED_ADDITION
    | layer_types.MULTIPLICATION
    | layer_types.CONTRACTION
    | layer_types.DIVISION
    | layer_types.CONCATENATION
    | {"Stack"}
)
_LINEAR = (
    layer_types.ROUTING
    | layer_types.AVERAGING
    | layer_types.BATCH_NORMALIZATION
    | (layer_types.ELEMENTWISE - {"LayerNorm", "RMSNorm", "Normalize"})
)


@layer_rule
def rescale(
    layer: Any,
    inputs: Tensors,
    outputs: Tensors,
    relevances: Tensors,
    samples: Samples,
    recompute: TensorMap,
    transposed: TensorMap,
    before_activation: TensorMap,
    *,
    stages: Sequence[Stage] | None = None,
    starts_constant: bool = False,
    left_out: bool = False,
    gates: Sequence[bool] = (),
    weights: Sequence[bool] = (),
) -> Shares:
    """The rescale rule (Shrikumar et al., ICML 2017, arXiv 1704.02685, eq. 3 and section 3.5.2).

    - Linear maps: their transposed map.
    - Functions of each element: the difference of the outputs divided by that of the inputs.
    - Maxima: a positive difference goes to the winner among the samples, a negative one to the winner
      among the references (the other way round for minima).
    - Products of two tensors: the mean of the gradients at both ends.
    - Softmax, normalization by a sample's own statistics, quotients: the rules of `differences`, which
      are exact and bounded.
    - All others: the mean gradient between sample and reference, with the smallest change that keeps
      each sample's sum.
    """
    if not any(ops.is_floating(x.dtype) for x in inputs):
        return [None for _ in inputs]
    _, (axis, *_) = samples
    both = [mean_of(r, axis) for r in relevances]
    function = activation_name(layer)
    one = len(inputs) == 1
    if stages and (function is None or left_out):
        return [_back(stages, both[0])]
    if stages:
        z = stages[-1].output
        return [_back(stages, _activation(layer, z, outputs[0], both[0], before_activation, axis))]
    if is_a(layer, ACTIVATION) and one and function != "sparsemax":
        return [_activation(layer, inputs[0], outputs[0], both[0], transposed, axis)]
    if is_a(layer, WINNER):
        return _to_winners(layer, inputs, outputs, both[0], transposed, samples)
    if is_a(layer, layer_types.DIVISION) and len(inputs) == 2:
        return of_quotient(inputs, outputs, both[0], axis)
    if starts_constant and is_a(layer, layer_types.DIVISION) and _same_shapes(inputs, outputs):
        (slope,) = transposed(both)
        return [_quotient(inputs[0], outputs[0], both[0], slope, axis)]
    scales = [gate and not weight for gate, weight in zip(gates, weights, strict=True)]
    if is_a(layer, layer_types.MULTIPLICATION) and len(inputs) == 2 and sum(scales) == 1:
        return of_scaling(layer, inputs, outputs, both[0], scales.index(True), axis)
    epsilon = _epsilon(layer)
    if epsilon is not None and axis == 0:
        return [of_normalization(layer, inputs[0], both[0], epsilon)]
    linear = (one and is_a(layer, _LINEAR)) or (len(inputs) < 3 and is_a(layer, _MULTILINEAR))
    if linear and not (starts_constant and is_a(layer, layer_types.DIVISION)):
        return transposed(both)
    # In addition to values, a layer may return their positions, as top_k does.
    values = [k for k, y in enumerate(outputs) if ops.is_floating(y.dtype)]
    if not values or not all(ops.is_floating(x.dtype) for x in inputs):
        return transposed(both)
    each = is_a(layer, layer_types.SELECTION) and _same_shapes(inputs, outputs)
    outputs, both, at = ([part[k] for k in values] for part in (outputs, both, samples[1]))

    def made(xs: Tensors) -> list[ops.Tensor]:
        found = recompute(xs)
        return [found[k] for k in values]

    return between(made, inputs, outputs, both, samples[0], at, each=each)


def _same_shapes(inputs: Tensors, outputs: Tensors) -> bool:
    return all(x.shape == outputs[0].shape for x in inputs)


def _epsilon(layer: Any) -> float | None:
    """The epsilon of a normalization that `of_normalization` supports."""
    if is_a(layer, {"UnitNormalization"}):
        return 1e-12
    if is_a(layer, {"Normalize"}):
        known = layer.order == 2
        return (1e-7 if layer.epsilon is None else layer.epsilon) if known else None
    known = is_a(layer, layer_types.NORMALIZATION) and not getattr(layer, "rms_scaling", False)
    return layer.epsilon if known else None


def _back(stages: Sequence[Stage], relevance: ops.Tensor) -> ops.Tensor:
    for stage in reversed(stages):
        relevance = ops.cast(stage.back(ops.cast(relevance, stage.z.dtype)), relevance.dtype)
    return relevance


def _activation(
    layer: Any, x: ops.Tensor, y: ops.Tensor, multiplier: ops.Tensor, back: TensorMap, axis: int
) -> ops.Tensor:
    """Back through an activation: a layer, or the activation at the end of one."""
    function = activation_name(layer)
    if function in _SOFTMAXES:
        axes = getattr(layer, "axis", -1)
        axes = axes if isinstance(axes, int | None) else list(axes)
        x, y = (ops.cast(t, multiplier.dtype) for t in (x, y))
        return of_softmax(x, y, multiplier, axes, axis, function == "log_softmax")
    (slope,) = back([multiplier])
    return _quotient(x, y, multiplier, slope, axis)


def _quotient(
    x: ops.Tensor, y: ops.Tensor, multiplier: ops.Tensor, slope: ops.Tensor, axis: int
) -> ops.Tensor:
    """The multiplier times dy / dx, or the slope times the multiplier if dx is only rounding."""
    dtype = multiplier.dtype
    dx, dy = (ops.cast(differences(t, axis), dtype) for t in (x, y))
    small = is_rounding(x, dx, axis)
    slope = ops.where(ops.isfinite(slope), ops.cast(slope, dtype), ops.zeros_like(multiplier))
    return ops.where(small, slope, multiplier * divide(dy, dx))


def _to_winners(
    layer: Any,
    inputs: Tensors,
    outputs: Tensors,
    multiplier: ops.Tensor,
    transposed: TensorMap,
    samples: Samples,
) -> list[ops.Tensor]:
    (of_input, *_), (axis, *_) = samples
    dy = ops.split(ops.cast(differences(outputs[0], axis), multiplier.dtype), 2, axis)[0]
    least = is_a(layer, {"Min", "Amin", "Minimum"})
    parts = [ops.minimum(dy, 0), ops.maximum(dy, 0)] if least else [ops.relu(dy), -ops.relu(-dy)]
    given = transposed([multiplier * ops.concatenate(parts, axis)])
    result = []
    for part, x in zip(given, inputs, strict=True):
        halves = ops.split(part, 2, of_input)
        whole = ops.concatenate([halves[0] + halves[1]] * 2, of_input)
        result.append(divide(whole, ops.cast(differences(x, of_input), whole.dtype)))
    return result
