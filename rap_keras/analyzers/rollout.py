"""Attention rollout: which patches the tokens of a model attend to, over all blocks."""

from collections.abc import Sequence
from typing import Any

import keras

from rap_keras import tensors as ops
from rap_keras.analyzers.attention import image_of, seen_by_output, weights_of
from rap_keras.analyzers.base import Analyzer, Maps
from rap_keras.analyzers.coarse import check_image_input
from rap_keras.inputs.target import Target
from rap_keras.network.attention import find_attention
from rap_keras.propagate import forward, relevance_dtype
from rap_keras.propagation import values_of


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
