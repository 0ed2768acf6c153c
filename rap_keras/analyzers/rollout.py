"""Attention rollout: where the tokens of a network look, block by block."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from rap_keras.analyzers.base import Analyzer
from rap_keras.analyzers.coarse import read_image_shape, spread
from rap_keras.inputs.target import Target
from rap_keras.network.attention import find_attention
from rap_keras.propagate import forward, relevance_dtype


class AttentionRolloutAnalyzer(Analyzer):
    """Attention rollout (Abnar and Zuidema, ACL 2020, arXiv 2005.00928).

    The weights of each block, averaged over its heads, and the skip around it, A = (W + I) / 2, are
    multiplied through the blocks. What the class token (the first that is no patch) has of each patch
    is the map, or the mean over all tokens where there is none; it is resized to the image, bilinear,
    and divided among the channels. It is not negative, and the same for every neuron: what is explained
    is where the network looks, not why it decides.

    Args:
        model: See `Analyzer`; one input of images, channels last, and attention of all tokens to all,
            of the same number in every block.
        **options: Those of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is wrong.
    """

    def __init__(self, model: keras.Model, **options: Any) -> None:
        super().__init__(model, **options)
        self._attention = find_attention(self._graph)
        read_image_shape(self._graph, self.name)

    def _maps(self, inputs: list[tf.Tensor], target: Target) -> tuple[list[tf.Tensor], tf.Tensor]:
        (x,), found = inputs, self._attention
        logits, records = forward(self._graph, inputs)
        values = {
            slot: value
            for record in records
            for slot, value in zip(record.node.outputs, record.outputs, strict=True)
        }
        dtype = relevance_dtype(x.dtype)
        batch, tokens = tf.shape(x)[0], found.tokens
        weights = []
        for name, slot in found.weights.items():
            found.check(name, values[slot].shape)
            weight = tf.cast(values[slot], dtype)
            weights.append(tf.reshape(weight, [batch, -1, tokens, tokens]))
        rolled = _rollout(weights)
        place = found.class_token
        seen = tf.reduce_mean(rolled, 1) if place is None else rolled[:, place]
        rows, columns = found.grid
        patches = seen[:, found.first : found.first + rows * columns]
        image = spread(tf.reshape(patches, [batch, rows, columns]), x, dtype)
        logits = tf.cast(logits, relevance_dtype(logits.dtype))
        return [image], logits


def _rollout(weights: Sequence[tf.Tensor]) -> tf.Tensor:
    """What each token has of each patch, `(batch, tokens, tokens)`, of weights with an axis of heads."""
    result: tf.Tensor | None = None
    for weight in weights:
        mean = tf.reduce_mean(weight, 1)
        mixed = (mean + tf.eye(mean.shape[-1], dtype=mean.dtype)) / 2
        mixed /= tf.reduce_sum(mixed, -1, keepdims=True)
        result = mixed if result is None else mixed @ result
    assert result is not None  # `find_attention` gives at least one
    return result
