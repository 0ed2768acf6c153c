"""DeepLIFT: differences from a reference, layer by layer."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rap_keras.analyzers.conservation import ConservationReport
from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.analyzers.references import ReferenceAnalyzer
from rap_keras.composites.deep_lift import deep_lift_composite
from rap_keras.errors import InputError
from rap_keras.inputs.bounds import boxes
from rap_keras.propagate import backward, forward, relevance_dtype


class DeepLIFTAnalyzer(ReferenceAnalyzer, PropagationAnalyzer):
    """DeepLIFT with the rescale rule (Shrikumar et al., ICML 2017, arXiv 1704.02685).

    The map sums to the difference of the logits of sample and reference where a network has linear
    layers, functions of each element, maxima and products of two tensors. Softmax inside of a network
    and normalization by a sample's own statistics pass the mean of their gradients at both ends, which
    is not exact; `convergence_delta` tells how far off.

    Args:
        model: See `Analyzer`; it takes any number of samples.
        reference_inputs: The reference: a number, or an array that broadcasts to a sample; a list of
            them for several inputs.
        **options: Those of `PropagationAnalyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is wrong.
    """

    def __init__(self, model: keras.Model, reference_inputs: Any = 0, **options: Any) -> None:
        super().__init__(model, deep_lift_composite(), **options)
        self._use_references(reference_inputs)
        if any(self._graph.shapes[slot][0] is not None for slot in self._graph.inputs):
            raise InputError(
                "Expected a model that takes any number of samples, so that references go beside them, "
                'got one of fixed batch size: build it without, or use "integrated_gradients".'
            )

    def analyze_layers(self, x: Any, neuron_selection: Any = None) -> dict[str, Any]:
        """Not of this method."""
        raise self._no_layers()

    def conservation(self, x: Any, neuron_selection: Any = None) -> ConservationReport:
        """Not of this method; see `convergence_delta`."""
        raise self._no_layers()

    def convergence_delta(self, x: Any, neuron_selection: Any = None) -> np.ndarray:
        """As `ReferenceAnalyzer.convergence_delta`; without contrast."""
        if self.contrast is not None:
            raise InputError(
                f"Expected no contrast, for the sum is compared to a logit, got {self.contrast!r}: make "
                "the analyzer without.",
                "contrast",
            )
        return super().convergence_delta(x, neuron_selection)

    def _start(self, logits: tf.Tensor, selected: tf.Tensor) -> tf.Tensor:
        return selected

    def _maps(self, inputs: list[tf.Tensor], index: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        references = [
            tf.broadcast_to(tf.cast(r, x.dtype), tf.shape(x))
            for r, x in zip(self._references, inputs, strict=True)
        ]
        pairs = [tf.concat(pair, 0) for pair in zip(inputs, references, strict=True)]
        both, records = forward(self._graph, pairs)
        logits = tf.split(tf.cast(both, relevance_dtype(both.dtype)), 2)[0]
        box = boxes(self._graph, pairs, self._bounds)

        def mapped(neurons: tf.Tensor) -> list[tf.Tensor]:
            start = tf.concat([self._started(logits, neurons)] * 2, 0)
            relevance, _ = backward(self._graph, self._table, records, box, start)
            result = []
            for multipliers, x, r in zip(
                self._at_inputs(relevance, pairs), inputs, references, strict=True
            ):
                at_sample, at_reference = tf.split(multipliers, 2)
                difference = tf.cast(x, multipliers.dtype) - tf.cast(r, multipliers.dtype)
                result.append((at_sample + at_reference) / 2 * difference)
            return result

        if index.dtype.is_bool or index.shape.rank == 1:
            return mapped(index), logits
        maps = [mapped(neuron) for neuron in tf.unstack(index, axis=1)]
        return [tf.stack(parts, 1) for parts in zip(*maps, strict=True)], logits
