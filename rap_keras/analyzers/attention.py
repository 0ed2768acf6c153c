"""Methods that explain a vision transformer by its attention."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from rap_keras import tensors as ops
from rap_keras.analyzers.base import Analyzer, Maps
from rap_keras.analyzers.coarse import check_image_input, spread
from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.composites.composite import Composite, RuleTable
from rap_keras.composites.transformer import TRANSFORMER_ATTRIBUTION
from rap_keras.inputs.contrast import Contrast
from rap_keras.inputs.target import Target
from rap_keras.network.attention import Attention, block_ends, find_attention
from rap_keras.propagate import Record, backward, compute, forward, relevance_dtype
from rap_keras.propagation import contrasted, only_selected, select, started, values_of
from rap_keras.support.options import choose

Values = Mapping[int, ops.Tensor]


class AttentionRolloutAnalyzer(Analyzer):
    """Attention rollout (Abnar and Zuidema, ACL 2020, arXiv 2005.00928).

    For each block, the attention weights W are averaged over the heads and mixed with the skip
    connection, A = (W + I) / 2. The matrices A of all blocks are multiplied. The map is the row of the
    class token (the first token that is not a patch), or the mean over all tokens if there is none. It
    is resized bilinearly to the image and divided among the channels. It is not negative and the same
    for every class: it shows where the model looks, not why it decides.

    Args:
        model: See `Analyzer`; with one input of images, channels last, and with attention from all
            tokens to all, with the same number of tokens in every block.
        **options: Options of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vit")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("attention.rollout", model).analyze(x).shape
        (1, 64, 64, 3)
    """

    def __init__(self, model: keras.Model, **options: Any) -> None:
        super().__init__(model, **options)
        self._attention = find_attention(self._graph)
        check_image_input(self._graph, self.name)

    def _maps(self, inputs: list[ops.Tensor], target: Target) -> Maps:
        (x,), found = inputs, self._attention
        logits, records = forward(self._graph, inputs)
        rolled = _rollout(weights_of(found, values_of(records), x))
        logits = ops.cast(logits, relevance_dtype(logits.dtype))
        return [image_of(found, seen_by_output(found, rolled), x)], logits


def _rollout(weights: Sequence[ops.Tensor]) -> ops.Tensor:
    """The share of each patch in each token, `(batch, tokens, tokens)`; weights have a heads axis."""
    result: ops.Tensor | None = None
    for weight in weights:
        mean = ops.mean(weight, 1)
        mixed = (mean + ops.eye(mean.shape[-1], dtype=mean.dtype)) / 2
        mixed /= ops.sum(mixed, -1, keepdims=True)
        result = mixed if result is None else mixed @ result
    assert result is not None  # `find_attention` gives at least one
    return result


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


class GenericAttentionAnalyzer(AttentionAnalyzer):
    """Generic attention-model explainability (Chefer, Gur and Wolf, ICCV 2021, arXiv 2103.15679).

    For each block, the attention weights A are multiplied by the gradient of the logit by them, cut at
    0 and averaged over the heads: B = mean_h max(dA * A, 0). Starting with the identity, R becomes
    R + B R. The map is the row of the class token in R, or the mean of all rows of
    R - I if there is none, which the paper does not cover. It is resized bilinearly to the image and
    divided among the channels. It is not negative. Only self-attention of one input is covered.

    Args:
        model: See `Analyzer`; with one input of images, channels last, and with attention from all
            tokens to all, with the same number of tokens in every block.
        **options: Options of `PropagationAnalyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vit")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("generic_attention", model).analyze(x).shape
        (1, 64, 64, 3)
    """

    def _seen(
        self, records: Sequence[Record], logits: ops.Tensor, target: Target, x: ops.Tensor
    ) -> ops.Tensor:
        start = started(logits, target, only_selected)
        gradients = self._at_weights(self._propagation.table, records, start, x)
        factors = self._factors(records, start, x)
        each = [ops.mean(ops.relu(g * f), 1) for g, f in zip(gradients, factors, strict=True)]
        result = each[0]  # (I + B_n) ... (I + B_1) - I, which R + B R gives block by block
        for matrix in each[1:]:
            result = result + matrix + matrix @ result
        return seen_by_output(self._attention, result)

    def _factors(
        self, records: Sequence[Record], start: ops.Tensor, x: ops.Tensor
    ) -> list[ops.Tensor]:
        """What the gradients of each attention are multiplied by."""
        return weights_of(self._attention, values_of(records), x)


class TransformerAttributionAnalyzer(GenericAttentionAnalyzer):
    """Transformer attribution (Chefer, Gur and Wolf, CVPR 2021, arXiv 2012.09838).

    For each block, the relevance R of the attention weights, by the paper's rules of LRP, is multiplied
    by the gradient of the logit by the weights, cut at 0 and averaged over the heads. With the identity
    added, A = I + mean_h max(dA * R, 0), the matrices of all blocks are multiplied.
    The map is the row of the class token, or the mean of all rows less the identity if there is none,
    which the paper does not cover. It is resized bilinearly to the image and divided among the
    channels. It is not negative.

    Args:
        model: See `Analyzer`; with one input of images, channels last, and with attention from all
            tokens to all, with the same number of tokens in every block.
        **options: Options of `PropagationAnalyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.
        UnknownLayerError: A layer has no rule.

    Example:
        >>> model = rap_keras.bundled.load("vit")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("transformer_attribution", model).analyze(x).shape
        (1, 64, 64, 3)
    """

    def _use_graph(self) -> None:
        super()._use_graph()
        self._of_relevance = Composite(TRANSFORMER_ATTRIBUTION).assign(self._graph)

    def _factors(
        self, records: Sequence[Record], start: ops.Tensor, x: ops.Tensor
    ) -> list[ops.Tensor]:
        return self._at_weights(self._of_relevance, records, start, x)


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
