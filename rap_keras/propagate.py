"""Forward through a graph and back again, node by node."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rap_keras import tensors as ops
from rap_keras.errors import InputError
from rap_keras.inputs.bounds import Box
from rap_keras.network import linear
from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import MAX_POOLING, PADDING, ROUTING, is_a
from rap_keras.network.linear import Stage
from rap_keras.network.positions import added_position
from rap_keras.rules import Rule, name_of, required_facts, with_facts

Back = Callable[[Sequence[ops.Tensor]], list[ops.Tensor]]


@dataclass(frozen=True)
class Record:
    """The values of one node, and the way back through it alone.

    Attributes:
        node: The node.
        inputs: Its inputs.
        outputs: Its outputs.
        back: From values of its outputs to the sums of their gradients by the floating inputs.
        stages: The maps of a kernel layer.
        after: The same as `back`, from the output of the last map to its z.
        masks: Its boolean inputs.
        padded: Where the input is padding; only for max-pooling.
    """

    node: Node
    inputs: list[ops.Tensor]
    outputs: list[ops.Tensor]
    back: Back
    stages: list[Stage] | None = None
    after: Back | None = None
    masks: Sequence[ops.Tensor] = ()
    padded: ops.Tensor | None = None

    def recompute(self, inputs: Sequence[ops.Tensor]) -> list[ops.Tensor]:
        """The node's outputs for other inputs, with the same masks, in the inputs' dtype."""
        return self.node.call(inputs, self.masks, as_is=True)

    def transposed(self, relevances: Sequence[ops.Tensor]) -> list[ops.Tensor]:
        """The node's transposed Jacobian, in its dtype; relevances keep theirs."""
        if not any(ops.is_floating(x.dtype) for x in self.inputs):
            return self._routed(relevances)
        dtype = relevances[0].dtype
        gradients = iter(self.back(self._in_its_dtype(relevances)))
        return [
            ops.cast(next(gradients), dtype)
            if ops.is_floating(x.dtype)
            else ops.zeros_like(x, dtype=dtype)
            for x in self.inputs
        ]

    def before_activation(self, relevances: Sequence[ops.Tensor]) -> list[ops.Tensor]:
        """From a kernel layer's output back to its last stage's z: through activation and bias."""
        assert self.after is not None  # only called for kernel layers
        return self.after(self._in_its_dtype(relevances))

    def _in_its_dtype(self, relevances: Sequence[ops.Tensor]) -> list[ops.Tensor]:
        return [ops.cast(r, y.dtype) for r, y in zip(relevances, self.outputs, strict=True)]

    def _routed(self, relevances: Sequence[ops.Tensor]) -> list[ops.Tensor]:
        """Integers that are only moved, such as tokens ahead of an embedding."""
        if not is_a(self.node.layer, ROUTING):
            raise InputError(
                f"Expected floating-point inputs to differentiate, but layer {self.node.name!r} "
                "takes integers: use a method that does not need its gradient."
            )
        _, back = ops.vjp(self.recompute, [ops.cast(x, "float32") for x in self.inputs])
        return back(list(relevances))


def forward(graph: Graph, inputs: Sequence[ops.Tensor]) -> tuple[ops.Tensor, list[Record]]:
    """Computes the logits and keeps the inputs and outputs of every node."""
    values = dict(zip(graph.inputs, inputs, strict=True))
    records = []
    for node in graph.nodes:
        taken = [values[slot] for slot in node.inputs]
        given, record = compute(graph, node, taken, [values[slot] for slot in node.masks])
        records.append(dataclasses.replace(record, padded=_padded(graph, node, values)))
        values.update(zip(node.outputs, given, strict=True))
    return values[graph.output], records


def logits_of(graph: Graph, inputs: Sequence[ops.Tensor]) -> ops.Tensor:
    """Computes the logits, without the way back."""
    with ops.only_values():
        return forward(graph, inputs)[0]


def _padded(graph: Graph, node: Node, values: Mapping[int, ops.Tensor]) -> ops.Tensor | None:
    """Where the input of a max-pooling is padding, if padding is right before it."""
    if not is_a(node.layer, MAX_POOLING):
        return None
    before = graph.producers.get(node.inputs[0])
    if before is None or not is_a(before.layer, PADDING):
        return None
    x = values[before.inputs[0]]
    zeros, ones = (before.call([like(x)])[0] for like in (ops.zeros_like, ops.ones_like))
    return ops.equal(zeros, ones)


def compute(
    graph: Graph, node: Node, inputs: Sequence[ops.Tensor], masks: Sequence[ops.Tensor] = ()
) -> tuple[list[ops.Tensor], Record]:
    """One node's outputs, as the model computes them, and the record for going back through it."""
    taken = [ops.identity(x) for x in inputs]
    if linear.is_linear(node.layer):
        return _linear(graph, node, taken)
    return _called(node, taken, masks)


def _linear(graph: Graph, node: Node, taken: list[ops.Tensor]) -> tuple[list[Any], Record]:
    """Kernel layers are computed here, because rules need z, which a fused activation hides."""
    layer = node.layer

    def computed(dtype: Any) -> Record:
        x = ops.cast(taken[0], dtype)
        stages = linear.stages(layer, x, node.before, node.after)
        if node.negated:
            stages[-1] = linear.negated(stages[-1])
        if node.lowered:
            stages[-1] = linear.lowered(stages[-1], node.lowered)
        (to,), (at,) = graph.samples(node)
        if to or at:  # then there is one map
            stages = [dataclasses.replace(stages[0], samples=(to, at))]
        activation = getattr(layer, "activation", None)
        if graph.ends_before_activation(node):
            activation = None

        def activated(values: list[ops.Tensor]) -> list[ops.Tensor]:
            value = dataclasses.replace(stages[-1], z=values[0]).output
            return [value if activation is None else activation(value)]

        outputs, after = ops.vjp(activated, [stages[-1].z])

        def back(values: Sequence[ops.Tensor]) -> list[ops.Tensor]:
            (value,) = after(values)
            for stage in reversed(stages):
                value = stage.back(value)
            return [value]

        return Record(node, [x], outputs, back, stages, after)

    record = computed(getattr(layer, "compute_dtype", taken[0].dtype))
    given = record.outputs
    return given, record if _is_wide(given) else computed("float32")


def _called(
    node: Node, taken: list[ops.Tensor], masks: Sequence[ops.Tensor]
) -> tuple[list[Any], Record]:
    given, back = _differentiable(lambda xs: node.call(xs, masks), taken)
    kinds = {ops.dtype_name(t.dtype) for t in [*taken, *given] if ops.is_floating(t.dtype)}
    if len(kinds) <= 1 and _is_wide(given):
        return given, Record(node, taken, given, back, masks=masks)
    # Relevance needs one precision, that of the outputs, and more than half: compute again in it.
    wide = _widest([relevance_dtype(y.dtype) for y in given if ops.is_floating(y.dtype)])
    cast = [ops.cast(t, wide) if ops.is_floating(t.dtype) else t for t in taken]
    outputs, back = _differentiable(lambda xs: node.call(xs, masks, as_is=True), cast)
    return given, Record(node, cast, outputs, back, masks=masks)


def _differentiable(
    function: Callable[[list[ops.Tensor]], list[ops.Tensor]], inputs: list[ops.Tensor]
) -> tuple[list[ops.Tensor], Back]:
    """The outputs of a function, and the way back to its floating-point inputs."""
    floating = [x for x in inputs if ops.is_floating(x.dtype)]
    if not floating:
        return function(inputs), lambda values: []

    def of_floating(values: list[ops.Tensor]) -> list[ops.Tensor]:
        given = iter(values)
        return function([next(given) if ops.is_floating(x.dtype) else x for x in inputs])

    return ops.vjp(of_floating, floating)


def _widest(dtypes: Sequence[str]) -> str:
    return max(dtypes, key=ops.itemsize, default="float32")


def _summed(a: ops.Tensor, b: ops.Tensor) -> ops.Tensor:
    """The sum of the relevance from two consumers of a tensor, possibly in two precisions."""
    wide = _widest([ops.dtype_name(a.dtype), ops.dtype_name(b.dtype)])
    return ops.cast(a, wide) + ops.cast(b, wide)


def _is_wide(tensors: Sequence[ops.Tensor]) -> bool:
    return not any(ops.is_floating(t.dtype) and ops.itemsize(t.dtype) < 4 for t in tensors)


def _pushed(graph: Graph, box: Box, slot: int) -> tuple[ops.Tensor, ops.Tensor]:
    """The box of the inputs, propagated through the layers up to a slot."""
    if slot not in box:
        node = graph.producers[slot]
        ends = [_pushed(graph, box, s) for s in node.inputs]
        lows, highs = (node.call(list(end)) for end in zip(*ends, strict=True))
        for out, low, high in zip(node.outputs, lows, highs, strict=True):
            box[out] = (ops.minimum(low, high), ops.maximum(low, high))
    return box[slot]


def backward(
    graph: Graph,
    rows: Sequence[tuple[Node, Rule | None]],
    records: Sequence[Record],
    box: Box,
    start: Mapping[int, ops.Tensor],
) -> tuple[dict[int, ops.Tensor], list[tuple[Node, list[ops.Tensor], list[ops.Tensor]]]]:
    """Propagates relevance back through nodes, summed where a tensor has several consumers.

    Args:
        graph: The model.
        rows: The nodes, in the order of computation, with their rules.
        records: Their records of the forward pass.
        box: Bounds of the inputs; the bounds of other slots are added.
        start: The relevance of one or more slots, such as the logits.

    Returns:
        The relevance of each slot, and for each node, last first, the relevances at its outputs and
        inputs.

    Raises:
        InputError: A rule did not return one relevance per input.
    """
    relevance, steps = dict(start), []
    dtype = next(iter(start.values())).dtype
    for record, (node, rule) in zip(reversed(records), reversed(rows), strict=True):
        given = [
            relevance[slot] if slot in relevance else ops.zeros_like(y, dtype=dtype)
            for slot, y in zip(node.outputs, record.outputs, strict=True)
        ]
        assert rule is not None  # Composite.assign raises an error otherwise
        taken: Sequence[ops.Tensor | None] = [None] * len(node.inputs)
        if any(slot in relevance for slot in node.outputs):  # otherwise there is nothing to share
            taken = _shares(graph, record, rule, box, given)
        for slot, part in zip(node.inputs, taken, strict=True):
            if part is not None:
                relevance[slot] = _summed(relevance[slot], part) if slot in relevance else part
        steps.append((node, given, _filled(taken, record)))
    return relevance, steps


def share(
    graph: Graph, record: Record, rule: Rule, box: Box, relevances: Sequence[ops.Tensor]
) -> list[ops.Tensor]:
    """One step back: the relevances at a node's inputs from those at its outputs, by a rule."""
    return _filled(_shares(graph, record, rule, box, relevances), record)


def _filled(shares: Sequence[ops.Tensor | None], record: Record) -> list[ops.Tensor]:
    """Zeros for inputs that get nothing."""
    return [
        ops.zeros_like(x, dtype=relevance_dtype(x.dtype)) if part is None else part
        for x, part in zip(record.inputs, shares, strict=True)
    ]


def _shares(
    graph: Graph, record: Record, rule: Rule, box: Box, relevances: Sequence[ops.Tensor]
) -> Sequence[ops.Tensor | None]:
    node = record.node
    facts = _facts(graph, record, box)
    missing = sorted(required_facts(rule) - facts.keys())
    if missing:
        raise InputError(_unknown_fact(rule, node, missing[0]))
    relevances = [
        ops.cast(r, relevance_dtype(y.dtype)) if ops.is_floating(y.dtype) else r
        for r, y in zip(relevances, record.outputs, strict=True)
    ]
    shares = with_facts(rule, facts)(node.layer, record.inputs, record.outputs, relevances)
    _check_returned(shares, node, record.inputs, rule)
    return shares


def _unknown_fact(rule: Rule, node: Node, fact: str) -> str:
    why = "it is not known there"
    if fact == "box":
        why = "bounds need monotone layers before it, and spatial axes or the option bounds"
    return (
        f"Expected rules to request known facts, but {name_of(rule)} requests {fact!r} at layer "
        f"{node.name!r}: {why}; use another rule for the layer, or give the argument a default value."
    )


def _check_returned(taken: Any, node: Node, inputs: Sequence[ops.Tensor], rule: Any) -> None:
    """Raises an error if a rule returned something invalid."""
    expected = [tuple(x.shape) for x in inputs]
    got = taken
    if isinstance(taken, list | tuple) and all(
        part is None or hasattr(part, "shape") for part in taken
    ):
        got = [None if part is None else tuple(part.shape) for part in taken]
        if len(got) == len(expected) and all(map(_fits, got, expected)):
            return
    raise InputError(
        f"Expected the rule {name_of(rule)} to return a list of relevances for layer {node.name!r}, "
        f"one per input (None for nothing), of shapes {expected}, got {got}."
    )


def _fits(shape: Sequence[int | None] | None, expected: Sequence[int | None]) -> bool:
    sizes = zip(shape or (), expected, strict=False)
    same = shape is None or len(shape) == len(expected)
    return same and all(n == m or None in (n, m) for n, m in sizes)


def _facts(graph: Graph, record: Record, box: Box) -> dict[str, Callable[[], Any]]:
    """The facts that a rule can request about one node; see `rap_keras.rules`."""
    node = record.node
    facts: dict[str, Callable[[], Any]] = {
        "name": lambda: node.name,
        "bottleneck": lambda: graph.bottlenecks.issuperset(node.outputs),
        "stages": lambda: record.stages,
        "before_activation": lambda: record.before_activation,
        "nonnegative": lambda: graph.nonnegative(node),
        "rectified": lambda: graph.rectified(node),
        "transposed": lambda: record.transposed,
        "recompute": lambda: record.recompute,
        "starts_constant": lambda: node.starts_constant,
        "left_out": lambda: graph.ends_before_activation(node),
        "gates": lambda: graph.gates(node),
        "statistics": lambda: graph.statistics(node),
        "position": lambda: added_position(graph, node, record.inputs, record.recompute),
        "drops": lambda: graph.drops(node),
        "padded": lambda: record.padded,
        "samples": lambda: graph.samples(node),
        "weights": lambda: graph.weights(node),
    }
    if node.inputs and all(graph.has_box(slot) for slot in node.inputs):
        dtype = record.inputs[0].dtype
        facts["box"] = lambda: tuple(
            ops.cast(end, dtype) for end in _pushed(graph, box, node.inputs[0])
        )
    return facts


def relevance_dtype(dtype: Any) -> str:
    """The dtype of relevance for a model's dtype: at least single precision."""
    wide = ops.is_floating(dtype) and ops.itemsize(dtype) >= 4
    return ops.dtype_name(dtype) if wide else "float32"
