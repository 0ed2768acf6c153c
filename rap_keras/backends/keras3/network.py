"""A Keras 3 model at work."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.backends.keras3.trace import own_output, trace, without_head
from rap_keras.backends.network import Network, Run
from rap_keras.network.layer_types import SIZED, is_a
from rap_keras.propagate import forward


class Keras3Network(Network):
    """A Keras 3 model, traced once; its functions are TensorFlow's.

    Args:
        model: A functional or (built) Sequential Keras 3 model with one output. It is not changed.

    Raises:
        InputError: The model cannot be followed.
    """

    def __init__(self, model: Any) -> None:
        self._whole = trace(model, keep_head=True)
        super().__init__(model, without_head(self._whole))

    def _build(self, function: Callable[..., Any], others: Sequence[tf.TensorSpec]) -> Run:
        signature = [tf.TensorSpec((None, *t.shape[1:]), t.dtype) for t in self.model.inputs]
        if self._needs_sizes():  # compiled for each size of the images
            call: Callable[..., Any] = tf.function(function, autograph=False)
        else:
            traced = tf.function(function, input_signature=[signature, *others], autograph=False)
            call = traced.get_concrete_function()

        def run(arrays: Sequence[np.ndarray], *given: np.ndarray) -> Any:
            result = call([tf.constant(a) for a in arrays], *map(tf.constant, given))
            return tf.nest.map_structure(lambda tensor: tensor.numpy(), result)

        return run

    def _needs_sizes(self) -> bool:
        return any(
            is_a(node.layer, SIZED) and None in self.graph.shapes[node.inputs[0]][1:]
            for node in self.graph.nodes
        )

    def _logits_of(self, sample: Sequence[np.ndarray]) -> Any:
        return forward(self.graph, [tf.constant(a) for a in sample])[0]

    def _outputs(self, sample: Sequence[np.ndarray]) -> tuple[Any, Any]:
        inputs = [tf.constant(a) for a in sample]
        (expected,) = tf.nest.flatten(own_output(self.model, inputs))
        return forward(self._whole, inputs)[0], expected
