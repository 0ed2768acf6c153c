"""Forward through a graph and back again, node by node, inside one TensorFlow graph."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from rap_keras.composites.composite import RuleTable
from rap_keras.errors import InputError
from rap_keras.inputs.bounds import Box
from rap_keras.network import linear
from rap_keras.network.graph import Graph, Node
from rap_keras.network.layer_types import MAX_POOLING, PADDING, ROUTING, is_a
from rap_keras.network.linear import Stage
from rap_keras.rules import Rule, name_of, required_facts, with_facts


@dataclass(frozen=True)
class Record:
    """The values of one node: new tensors, so that gradients involve only this node."""

    node: Node
    inputs: list[tf.Tensor]
    outputs: list[tf.Tensor]
    tape: tf.GradientTape
    stages: list[Stage] | None = None
    masks: Sequence[tf.Tensor] = ()
    padded: tf.Tensor | None = None

    def recompute(self, inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The node's outputs for other inputs, with the same masks, in the inputs' dtype."""
        return self.node.call(inputs, self.masks, as_is=True)

    def transposed(self, relevances: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The node's transposed Jacobian, in its dtype; relevances keep theirs."""
        if is_a(self.node.layer, ROUTING) and not any(x.dtype.is_floating for x in self.inputs):
            return self._routed([tf.cast(x, tf.float32) for x in self.inputs], relevances)
        floating = [x for x in self.inputs if x.dtype.is_floating]
        if not floating:
            raise InputError(
                f"Expected floating-point inputs to differentiate, but layer {self.node.name!r} "
                "takes integers: use a method that does not need its gradient."
            )
        values = [tf.cast(r, y.dtype) for r, y in zip(relevances, self.outputs, strict=True)]
        zero = tf.UnconnectedGradients.ZERO
        gradients = iter(self.tape.gradient(self.outputs, floating, values, zero))
        dtype = relevances[0].dtype
        return [
            tf.cast(tf.convert_to_tensor(next(gradients)), dtype)
            if x.dtype.is_floating
            else tf.zeros_like(x, dtype=dtype)
            for x in self.inputs
        ]

    def before_activation(self, relevances: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """From a kernel layer's output back to its last stage's z: through activation and bias."""
        assert self.stages is not None  # only called for kernel layers
        values = [tf.cast(r, y.dtype) for r, y in zip(relevances, self.outputs, strict=True)]
        zero = tf.UnconnectedGradients.ZERO
        return self.tape.gradient(self.outputs, [self.stages[-1].z], values, zero)

    def _routed(self, inputs: list[tf.Tensor], relevances: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Integers that are only moved, such as tokens ahead of an embedding."""
        with _tape(inputs) as tape:
            outputs = self.recompute(inputs)
        return tape.gradient(outputs, inputs, list(relevances), tf.UnconnectedGradients.ZERO)


def forward(graph: Graph, inputs: Sequence[tf.Tensor]) -> tuple[tf.Tensor, list[Record]]:
    """Computes the logits and keeps the inputs and outputs of every node."""
    values = dict(zip(graph.inputs, inputs, strict=True))
    records = []
    for node in graph.nodes:
        taken = [values[slot] for slot in node.inputs]
        given, record = compute(graph, node, taken, [values[slot] for slot in node.masks])
        records.append(dataclasses.replace(record, padded=_padded(graph, node, values)))
        values.update(zip(node.outputs, given, strict=True))
    return values[graph.output], records


def _padded(graph: Graph, node: Node, values: Mapping[int, tf.Tensor]) -> tf.Tensor | None:
    """Where the input of a max-pooling is padding, if padding is right before it."""
    if not is_a(node.layer, MAX_POOLING):
        return None
    before = graph.producers.get(node.inputs[0])
    if before is None or not is_a(before.layer, PADDING):
        return None
    x = values[before.inputs[0]]
    zeros, ones = (before.call([like(x)])[0] for like in (tf.zeros_like, tf.ones_like))
    return tf.equal(zeros, ones)


def compute(
    graph: Graph, node: Node, inputs: Sequence[tf.Tensor], masks: Sequence[tf.Tensor] = ()
) -> tuple[list[tf.Tensor], Record]:
    """One node's outputs, as the model computes them, and the record for going back through it."""
    taken = [tf.identity(x) for x in inputs]
    if linear.is_linear(node.layer):
        return _linear(graph, node, taken)
    return _called(node, taken, masks)


def _linear(graph: Graph, node: Node, taken: list[tf.Tensor]) -> tuple[list[Any], Record]:
    """Kernel layers are computed here, because rules need z, which a fused activation hides."""
    layer = node.layer

    def computed(dtype: Any) -> Record:
        x = tf.cast(taken[0], dtype)
        with _tape([x]) as tape:
            stages = linear.stages(layer, x, node.before, node.after)
            if node.negated:
                stages[-1] = linear.negated(stages[-1])
            if node.lowered:
                stages[-1] = linear.lowered(stages[-1], node.lowered)
            (to,), (at,) = graph.samples(node)
            if to or at:  # then there is one map
                stages = [dataclasses.replace(stages[0], samples=(to, at))]
            value = stages[-1].output
            activation = getattr(layer, "activation", None)
            if activation is not None and not graph.ends_before_activation(node):
                value = activation(value)
        return Record(node, [x], [value], tape, stages)

    record = computed(getattr(layer, "compute_dtype", taken[0].dtype))
    given = record.outputs
    return given, record if _is_wide(given) else computed(tf.float32)


def _called(
    node: Node, taken: list[tf.Tensor], masks: Sequence[tf.Tensor]
) -> tuple[list[Any], Record]:
    with _tape(taken) as tape:
        given = node.call(taken, masks)
    kinds = {t.dtype for t in [*taken, *given] if t.dtype.is_floating}
    if len(kinds) <= 1 and _is_wide(given):
        return given, Record(node, taken, given, tape, masks=masks)
    # Relevance needs one precision, that of the outputs, and more than half: compute again in it.
    wide = _widest([relevance_dtype(y.dtype) for y in given if y.dtype.is_floating])
    cast = [tf.cast(t, wide) if t.dtype.is_floating else t for t in taken]
    with _tape(cast) as tape:
        outputs = node.call(cast, masks, as_is=True)
    return given, Record(node, cast, outputs, tape, masks=masks)


def _widest(dtypes: Sequence[tf.DType]) -> tf.DType:
    return max(dtypes, key=lambda dtype: dtype.size, default=tf.float32)


def _summed(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The sum of the relevance from two consumers of a tensor, possibly in two precisions."""
    wide = _widest([a.dtype, b.dtype])
    return tf.cast(a, wide) + tf.cast(b, wide)


@contextlib.contextmanager
def _tape(inputs: Sequence[tf.Tensor]) -> Iterator[tf.GradientTape]:
    """Records one node. Going back then costs only this node; `tf.gradients` would search the graph."""
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        for x in inputs:
            if x.dtype.is_floating:
                tape.watch(x)
        yield tape


def _is_wide(tensors: Sequence[tf.Tensor]) -> bool:
    return not any(t.dtype.is_floating and t.dtype.size < 4 for t in tensors)


def _pushed(graph: Graph, box: Box, slot: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The box of the inputs, propagated through the layers up to a slot."""
    if slot not in box:
        node = graph.producers[slot]
        ends = [_pushed(graph, box, s) for s in node.inputs]
        lows, highs = (node.call(list(end)) for end in zip(*ends, strict=True))
        for out, low, high in zip(node.outputs, lows, highs, strict=True):
            box[out] = (tf.minimum(low, high), tf.maximum(low, high))
    return box[slot]


def backward(
    graph: Graph,
    table: RuleTable,
    records: Sequence[Record],
    box: Box,
    start: tf.Tensor,
) -> tuple[dict[int, tf.Tensor], list[tuple[Node, list[tf.Tensor], list[tf.Tensor]]]]:
    """Propagates relevance from the logits to the inputs, summed where a tensor has several consumers.

    Args:
        graph: The model.
        table: The rule of each node.
        records: The records of the forward pass.
        box: Bounds of the inputs; the bounds of other slots are added.
        start: Relevance of the logits.

    Returns:
        The relevance of each slot, and for each node, last first, the relevances at its outputs and
        inputs.

    Raises:
        InputError: A rule did not return one relevance per input.
    """
    relevance: dict[int, tf.Tensor] = {graph.output: start}
    steps = []
    for record, (node, rule) in zip(reversed(records), reversed(table.rows), strict=True):
        given = [
            relevance[slot] if slot in relevance else tf.zeros_like(y, dtype=start.dtype)
            for slot, y in zip(node.outputs, record.outputs, strict=True)
        ]
        assert rule is not None  # Composite.assign raises an error otherwise
        taken: Sequence[tf.Tensor | None] = [None] * len(node.inputs)
        if any(slot in relevance for slot in node.outputs):  # otherwise there is nothing to share
            taken = _shares(graph, record, rule, box, given)
        for slot, part in zip(node.inputs, taken, strict=True):
            if part is not None:
                relevance[slot] = _summed(relevance[slot], part) if slot in relevance else part
        steps.append((node, given, _filled(taken, record)))
    return relevance, steps


def share(
    graph: Graph, record: Record, rule: Rule, box: Box, relevances: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """One step back: the relevances at a node's inputs from those at its outputs, by a rule."""
    return _filled(_shares(graph, record, rule, box, relevances), record)


def _filled(shares: Sequence[tf.Tensor | None], record: Record) -> list[tf.Tensor]:
    """Zeros for inputs that get nothing."""
    return [
        tf.zeros_like(x, dtype=relevance_dtype(x.dtype)) if part is None else part
        for x, part in zip(record.inputs, shares, strict=True)
    ]


def _shares(
    graph: Graph, record: Record, rule: Rule, box: Box, relevances: Sequence[tf.Tensor]
) -> Sequence[tf.Tensor | None]:
    node = record.node
    facts = _facts(graph, record, box)
    missing = sorted(required_facts(rule) - facts.keys())
    if missing:
        raise InputError(_unknown_fact(rule, node, missing[0]))
    relevances = [
        tf.cast(r, relevance_dtype(y.dtype)) if y.dtype.is_floating else r
        for r, y in zip(relevances, record.outputs, strict=True)
    ]
    shares = with_facts(rule, facts)(node.layer, record.inputs, record.outputs, relevances)
    _check_returned(shares, node, record.inputs, rule)
    return shares


def _unknown_fact(rule: Rule, node: Node, fact: str) -> str:
    why = "it is not known there"
    if fact == "box":
        why = (
            "bounds are known only after monotone layers, for inputs with spatial axes or with the "
            "option bounds"
        )
    return (
        f"Expected rules to request known facts, but {name_of(rule)} requests {fact!r} at layer "
        f"{node.name!r}: {why}; use another rule for the layer, or give the argument a default value."
    )


def _check_returned(taken: Any, node: Node, inputs: Sequence[tf.Tensor], rule: Any) -> None:
    """Raises an error if a rule returned something invalid."""
    expected = [tuple(x.shape) for x in inputs]
    got = taken
    if isinstance(taken, list | tuple) and all(
        part is None or hasattr(part, "shape") for part in taken
    ):
        got = [None if part is None else tuple(part.shape) for part in taken]
        if len(got) == len(expected) and all(
            part is None or part.shape.is_compatible_with(x.shape)
            for part, x in zip(taken, inputs, strict=True)
        ):
            return
    raise InputError(
        f"Expected the rule {name_of(rule)} to return a list of relevances for layer {node.name!r}, "
        f"one per input (None for nothing), of shapes {expected}, got {got}."
    )


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
        "drops": lambda: graph.drops(node),
        "padded": lambda: record.padded,
        "samples": lambda: graph.samples(node),
        "weights": lambda: graph.weights(node),
    }
    if node.inputs and all(graph.has_box(slot) for slot in node.inputs):
        dtype = record.inputs[0].dtype
        facts["box"] = lambda: tuple(
            tf.cast(end, dtype) for end in _pushed(graph, box, node.inputs[0])
        )
    return facts


def relevance_dtype(dtype: Any) -> tf.DType:
    """The dtype of relevance for a model's dtype: at least single precision."""
    dtype = tf.as_dtype(dtype)
    return dtype if dtype.is_floating and dtype.size >= 4 else tf.float32
