"""Relevance of position embeddings, as in PA-LRP."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from rap_keras import tensors as ops
from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.composites.composite import Composite
from rap_keras.errors import InputError
from rap_keras.network.graph import Graph
from rap_keras.network.positions import Positions, find_positions
from rap_keras.propagate import relevance_dtype
from rap_keras.propagation import Steps
from rap_keras.rules import facts_of, name_of
from rap_keras.support.options import choose

POSITIONS = ("constant", "share", "alone")


class PositionAnalyzer(PropagationAnalyzer):
    """An analyzer that can give relevance to position embeddings that are added to tokens.

    Args:
        positions: What position embeddings get that are added to patches or tokens. "constant":
            nothing. "share": the share of a summand, by the rule of sums, which is added to the map at
            their position (PA-LRP, Bakish et al. 2025), see docs/rules.md. "alone": the same, and the
            map shows only what they get.
    """

    _found: Positions | None = None

    def __init__(
        self, model: keras.Model, composite: Composite, positions: str = "constant", **options: Any
    ) -> None:
        choose("positions", positions, POSITIONS)
        self.positions = positions
        super().__init__(model, composite, **options)

    def _prepared(self, graph: Graph) -> Graph:
        graph = super()._prepared(graph)
        if self.positions == "constant":
            return graph
        self._found = find_positions(graph)
        return dataclasses.replace(graph, positions=self._found.sums)

    def _use_graph(self) -> None:
        super()._use_graph()
        for node, rule in self._propagation.table.rows:
            if node.name in self._graph.positions and rule and not facts_of(rule, {"position"}):
                raise InputError(
                    "Expected sums by rap_keras.rules.routing.share_sum, for positions, got "
                    f'{name_of(rule)} at {node.name!r}: use it, or leave positions at "constant".',
                    "positions",
                )

    def _with_shares(
        self, relevance: Mapping[int, ops.Tensor], steps: Steps, inputs: list[ops.Tensor]
    ) -> Mapping[int, ops.Tensor]:
        if self._found is None:
            return relevance
        slot = self._found.slot
        if self.positions == "alone":
            relevance = {s: r for s, r in relevance.items() if s not in self._graph.inputs}
        shares = _shares(steps, self._found)
        if not shares:  # the part of the graph adds no position embedding
            return relevance
        x = inputs[self._graph.inputs.index(slot)]
        at_input = _at_input(ops.add_n(shares), x, self._found.grid)
        if slot in relevance:
            at_input = relevance[slot] + at_input
        return {**relevance, slot: at_input}


def _shares(steps: Steps, found: Positions) -> list[ops.Tensor]:
    """What each sum did not pass on, `(batch, positions)`."""
    shares = []
    for node, given, taken in steps:
        if node.name in found.sums:
            left = given[0]
            for part in taken:
                left = left - part
            first, count = found.sums[node.name]
            left = ops.sum(left, -1)[:, first : first + count]
            shares.append(ops.reshape(left, [ops.shape(left)[0], -1]))
    return shares


def _at_input(shares: ops.Tensor, x: ops.Tensor, grid: Sequence[int]) -> ops.Tensor:
    """The shares of positions, in equal parts over all elements of the input at each position."""
    dtype = relevance_dtype(x.dtype)
    shares = ops.cast(shares, dtype)
    if len(grid) == 1:
        if len(x.shape) == 2:
            return shares
        return shares[..., None] * ops.ones_like(x, dtype) / ops.cast(ops.shape(x)[2], dtype)
    rows, columns = grid
    down, across = (_parts(ops.shape(x)[k], n, dtype) for k, n in ((1, rows), (2, columns)))
    cells = ops.reshape(shares, [-1, rows, columns])
    image = ops.matmul(ops.matmul(down, cells), ops.transpose(across, [1, 0]))
    return image[..., None] * ops.ones_like(x, dtype) / ops.cast(ops.shape(x)[3], dtype)


def _parts(pixels: ops.Tensor, cells: int, dtype: str) -> ops.Tensor:
    """The share of each cell in each pixel, `(pixels, cells)`; the shares of a cell sum to 1."""
    places = ops.arange(pixels) * cells // pixels
    inside = ops.cast(ops.equal(places[:, None], ops.arange(cells)[None]), dtype)
    return inside / ops.sum(inside, 0, keepdims=True)
