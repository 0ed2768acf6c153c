"""What methods share that explain a vision transformer by its attention."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from rap_keras import tensors as ops
from rap_keras.analyzers.base import Maps
from rap_keras.analyzers.coarse import check_image_input, spread
from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.composites.composite import RuleTable
from rap_keras.inputs.target import Target
from rap_keras.network.attention import Attention, find_attention
from rap_keras.propagate import Record, backward, relevance_dtype

Values = Mapping[int, ops.Tensor]


class AttentionAnalyzer(PropagationAnalyzer):
    """A method that needs the gradient of a score by the attention weights of every block."""

    _has_layers = False

    def __init__(self, model: keras.Model, **options: Any) -> None:
        super().__init__(model, **options)
        check_image_input(self._graph, self.name)

    def _use_graph(self) -> None:
        self._attention = find_attention(self._graph)
        super()._use_graph()

    def _maps(self, inputs: list[ops.Tensor], target: Target) -> Maps:
        logits, records = self._propagation.forward(inputs)
        seen = self._seen(records, logits, target, inputs[0])
        return [image_of(self._attention, seen, inputs[0])], logits

    def _seen(
        self, records: Sequence[Record], logits: ops.Tensor, target: Target, x: ops.Tensor
    ) -> ops.Tensor:
        """The relevance of every token, `(batch, tokens)`, from the records of the forward pass."""
        raise NotImplementedError

    def _at_weights(
        self, table: RuleTable, records: Sequence[Record], start: ops.Tensor, x: ops.Tensor
    ) -> list[ops.Tensor]:
        """What propagates from the logits to the weights of each attention, in the shape of these."""
        first = self._after(next(iter(self._attention.weights.values())))
        part = slice(first, len(records))
        return weights_of(self._attention, self._back(table, records[part], part, start), x)

    def _after(self, slot: int) -> int:
        """The number of the node after the one that makes a slot."""
        return self._graph.nodes.index(self._graph.producers[slot]) + 1

    def _back(
        self,
        table: RuleTable,
        records: Sequence[Record],
        part: slice,
        start: ops.Tensor,
        slot: int | None = None,
    ) -> dict[int, ops.Tensor]:
        """What a part of the nodes propagates back from a slot, by default from the logits."""
        at = self._graph.output if slot is None else slot
        return backward(self._graph, table.rows[part], records, {}, {at: start})[0]


def weights_of(attention: Attention, values: Values, x: ops.Tensor) -> list[ops.Tensor]:
    """For each attention, the values at its weights, `(batch, heads, tokens, tokens)`."""
    batch, tokens = ops.shape(x)[0], attention.tokens
    result = []
    for name, slot in attention.weights.items():
        attention.check(name, values[slot].shape)
        weight = ops.cast(values[slot], relevance_dtype(x.dtype))
        result.append(ops.reshape(weight, [batch, -1, tokens, tokens]))
    return result


def seen_by_output(attention: Attention, matrix: ops.Tensor) -> ops.Tensor:
    """The row of the class token, or the mean of all rows if there is none, `(batch, tokens)`."""
    place = attention.class_token
    return ops.mean(matrix, 1) if place is None else matrix[:, place]


def image_of(attention: Attention, seen: ops.Tensor, x: ops.Tensor) -> ops.Tensor:
    """The patches of `(batch, tokens)`, resized to the images and divided among the channels."""
    rows, columns = attention.grid
    patches = seen[:, attention.first : attention.first + rows * columns]
    shape = [ops.shape(x)[0], rows, columns]
    return spread(ops.reshape(patches, shape), x, relevance_dtype(x.dtype))
