"""LeGrad: the gradients of a score of each block by its attention weights."""

from collections.abc import Sequence
from typing import Any

import keras

from rap_keras import tensors as ops
from rap_keras.analyzers.attention import AttentionAnalyzer, Values, weights_of
from rap_keras.inputs.contrast import Contrast
from rap_keras.inputs.target import Target
from rap_keras.network.attention import block_ends
from rap_keras.propagate import Record, compute
from rap_keras.propagation import contrasted, select, values_of
from rap_keras.support.options import choose


class LeGradAnalyzer(AttentionAnalyzer):
    """LeGrad (Bousselham et al., ICCV 2025, arXiv 2404.03214).

    For each block l, the layers after the last block are applied to the tokens after block l. The logit
    s of the class that they give is the score of the block. Its gradient by the block's attention
    weights (heads, queries, keys) is cut at 0 and averaged over heads and queries. The map is the mean
    over the blocks, resized bilinearly to the image and divided among the channels. It is not negative,
    and not rescaled to [0, 1] as in the paper.

    Args:
        model: See `Analyzer`; with one input of images, channels last, and with attention from all
            tokens to all, with the same number of tokens in every block.
        tokens: Which tokens give the score of a block. "mean": the mean of all tokens, as in the paper;
            it takes the place of each token. "output": those that the model uses, which are the class
            token or, with global pooling, all tokens.
        **options: Options of `PropagationAnalyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vit")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("legrad", model, tokens="output").analyze(x).shape
        (1, 64, 64, 3)
    """

    def __init__(self, model: keras.Model, tokens: str = "mean", **options: Any) -> None:
        choose("tokens", tokens, ("mean", "output"))
        self.tokens = tokens
        super().__init__(model, **options)

    def _use_graph(self) -> None:
        super()._use_graph()
        self._ends = block_ends(self._graph, self._attention, self.name)

    def _seen(
        self, records: Sequence[Record], logits: ops.Tensor, target: Target, x: ops.Tensor
    ) -> ops.Tensor:
        table, values = self._propagation.table, values_of(records)
        selected = select(logits, target)
        found = {}
        for slot, end in zip(self._attention.weights.values(), self._ends, strict=True):
            slope = self._slope(records, values, values[end], selected, target.contrast)
            block = slice(self._after(slot), self._after(end))
            found[slot] = self._back(table, records[block], block, slope, end)[slot]
        gradients = weights_of(self._attention, found, x)
        return ops.add_n([ops.mean(ops.relu(g), [1, 2]) for g in gradients]) / len(gradients)

    def _slope(
        self,
        records: Sequence[Record],
        values: Values,
        tokens: ops.Tensor,
        selected: ops.Tensor,
        contrast: Contrast,
    ) -> ops.Tensor:
        """The gradient of the score of a block by the tokens after it."""
        end = self._ends[-1]
        rest = slice(self._after(end), len(records))
        mean = self.tokens == "mean"
        ones = ops.ones_like(tokens)
        changed = {end: ops.mean(tokens, 1, keepdims=True) * ones if mean else tokens}
        after = []
        for record in records[rest]:
            node = record.node
            if not changed.keys().isdisjoint(node.inputs):
                taken = [changed[s] if s in changed else values[s] for s in node.inputs]
                given, record = compute(self._graph, node, taken, record.masks)
                changed |= dict(zip(node.outputs, given, strict=True))
            after.append(record)
        score = ops.cast(changed[self._graph.output], selected.dtype)
        start = contrasted(selected, score, selected, contrast)
        slope = self._back(self._propagation.table, after, rest, start)[end]
        return ops.mean(slope, 1, keepdims=True) * ones if mean else slope
