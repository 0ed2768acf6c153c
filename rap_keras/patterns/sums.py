"""The sums over a batch that patterns are estimated from; used by both backends."""

from collections.abc import Sequence
from typing import Any

from rap_keras import tensors as ops
from rap_keras.network import kernels, linear
from rap_keras.network.folding import fold
from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import (
    ACTIVATION,
    ADDITION,
    BATCH_NORMALIZATION,
    ELEMENTWISE,
    activation_name,
    is_a,
)
from rap_keras.network.linear import Stage, pullback
from rap_keras.patterns.cases import CASES
from rap_keras.propagate import Record, forward
from rap_keras.rules.pattern import stage_names

Sums = dict[str, dict[str, Any]]


def _decision(graph: Graph, node: Node) -> int | None:
    """The slot whose sign shows whether a neuron is active: the input of the next activation.

    Between them there may be BatchNormalization, layers that are the identity at inference, and sums of
    tensors of one shape. If no activation follows the sums, they are ignored. None means the node's own
    output before its fused activation.
    """
    if activation_name(node.layer) is not None:
        return None
    decision = slot = node.outputs[0]
    summed = False
    while len(users := graph.consumers.get(slot, [])) == 1:
        (user,) = users
        if is_a(user.layer, ADDITION):
            summed = True
        elif activation_name(user.layer) is not None and is_a(user.layer, ACTIVATION):
            return slot
        elif not (
            is_a(user.layer, BATCH_NORMALIZATION | ELEMENTWISE) or is_a(user.layer, {"Activation"})
        ):
            break
        if graph.shapes[user.outputs[0]] != graph.shapes[slot]:
            break
        slot = user.outputs[0]
        decision = decision if summed else slot
    return decision


def batch_sums(
    graph: Graph, inputs: Sequence[ops.Tensor], cases: Sequence[str]
) -> dict[str, dict[str, ops.Tensor]]:
    """The sums of each kernel layer over one batch, a tensor per input.

    The keys are the names of the layers' maps, then "count", "y", "yy", "x" and "xy", each with
    ".case". Values are float64. x and x y are summed only over the given cases.
    """
    _, records = forward(graph, inputs)
    makers = {slot: record for record in records for slot in record.node.outputs}
    normalized = {node.name for node in fold(graph).nodes if node.before is not None}
    result = {}
    for record in records:
        node = record.node
        if record.stages is None:
            continue
        slot = _decision(graph, node)
        decision = record.stages[-1].output
        if slot is not None:
            decision = makers[slot].outputs[makers[slot].node.outputs.index(slot)]
        stages = record.stages
        if node.name in normalized:
            stages = _without_shift(record, makers[node.inputs[0]])
        with ops.wide():
            result.update(_layer_sums(node, stages, decision, cases))
    return result


def _without_shift(record: Record, normalization: Record) -> list[Stage]:
    """The stages of a layer with g x as its input, if the input is normalized, g x + c.

    E+[x y] - E+[x] E[y] depends on the origin of x. g x has the origin of the layer that both fold
    into.
    """
    (shift,) = normalization.recompute([ops.zeros_like(normalization.inputs[0])])
    (x,) = record.inputs
    return linear.stages(record.node.layer, x - ops.cast(shift, x.dtype))


def _layer_sums(
    node: Node, stages: Sequence[Stage], decision: ops.Tensor, cases: Sequence[str]
) -> dict[str, dict[str, ops.Tensor]]:
    """The sums of each stage of a kernel layer; the decision's sign shows the active neurons."""
    layer = node.layer
    # No activation follows the first of two maps: like a separate layer, only its sign decides.
    signs = [stage.output for stage in stages[:-1]] + [decision]
    names = stage_names(node.name, len(stages))
    axes = kernels.type_of(layer).neurons
    channels = kernels.channel_axis(layer, len(stages[-1].z.shape))
    stages = [_widened(stage) for stage in stages]
    return {
        name: _stage_sums(stage, sign > 0, channels, own_axes, cases)
        for name, stage, sign, own_axes in zip(names, stages, signs, axes, strict=True)
    }


def _widened(stage: Stage) -> Stage:
    """A map with one case per sample, in float64, so that only its input has the model's precision.

    Such a map has few cases. The rounding of y, which differs with the processor and the batch size,
    would cost digits of E+[y^2] - E+[y] E[y] if a neuron is rarely active. Maps at many positions have
    many cases and most of the cost, which would be three times as high.
    """
    if len(stage.x.shape) > 2:
        return stage
    x, kernel = ops.cast(stage.x, "float64"), ops.cast(stage.kernel, "float64")
    z, back = pullback(lambda values: stage.apply(values, kernel), x)
    return Stage(stage.apply, kernel, x, z, back)


def _stage_sums(
    stage: Stage,
    active: ops.Tensor,
    channels: int,
    neuron_axes: Sequence[int],
    cases: Sequence[str],
) -> dict[str, ops.Tensor]:
    """Sums of 1, y, y y, x and x y over the samples and positions of one linear map."""
    y = stage.z
    rank = len(y.shape)
    others = [axis for axis in range(rank) if axis != channels]
    shape = [1] * len(stage.kernel.shape)
    for axis in neuron_axes:
        shape[axis] = stage.kernel.shape[axis]
    # sum over patches of x s^T, of the kernel's shape: the gradient of the kernel.
    _, correlation = pullback(lambda kernel: stage.apply(stage.x, kernel), stage.kernel)

    def summed(values: ops.Tensor) -> ops.Tensor:
        return ops.sum(ops.cast(values, "float64"), others)

    result = {}
    for case, chosen in zip(CASES, (active, ops.logical_not(active)), strict=True):
        mask = ops.cast(chosen, y.dtype)
        count, y_sum = summed(mask), summed(mask * y)
        wide = ops.cast(y, "float64")
        sums = {"count": count, "y": y_sum, "yy": summed(ops.cast(mask, "float64") * wide * wide)}
        sums = {key: ops.reshape(value, shape) for key, value in sums.items()}
        if case in cases:
            # y minus its mean: the covariance subtracts it anyway, and it would cost half of the digits.
            mean = ops.cast(y_sum / ops.maximum(count, 1), y.dtype)
            centred = y - ops.reshape(mean, [-1] + [1] * (rank - 1 - channels))
            x = ops.cast(correlation(mask), "float64")
            sums["x"] = x
            xy = ops.cast(correlation(mask * centred), "float64")
            sums["xy"] = xy + ops.reshape(ops.cast(mean, "float64"), shape) * x
        result.update({f"{key}.{case}": value for key, value in sums.items()})
    return result
