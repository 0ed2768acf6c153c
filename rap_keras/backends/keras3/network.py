"""A Keras 3 model at work."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.backends.keras3.source import Source, specs
from rap_keras.backends.keras3.trace import trace, without_head
from rap_keras.backends.network import Network, Run
from rap_keras.propagate import forward


class Keras3Network(Network):
    """A Keras 3 model, traced once; its functions are TensorFlow's.

    Args:
        model: A functional, (built) Sequential or subclassed Keras 3 model with one output. It is not
            changed.
        kept: Classes of layers that stay whole where they could be opened, for they have rules.

    Raises:
        InputError: The model cannot be followed.
    """

    def __init__(self, model: Any, kept: Collection[type] = ()) -> None:
        self._source = Source.of(model)
        self._whole = trace(self._source, keep_head=True, kept=kept)
        self.kept = frozenset(kept)
        super().__init__(model, without_head(self._whole))

    @property
    def inputs(self) -> list[tf.TensorSpec]:
        """Shapes and dtypes of the inputs."""
        return specs(self._source.inputs)

    @property
    def outputs(self) -> list[tf.TensorSpec]:
        """Shapes and dtypes of the model's own outputs."""
        return specs(self._source.outputs)

    def _build(self, function: Callable[..., Any], others: Sequence[tf.TensorSpec]) -> Run:
        traced = tf.function(function, input_signature=[self.inputs, *others], autograph=False)
        concrete = traced.get_concrete_function()

        def run(arrays: Sequence[np.ndarray], *given: np.ndarray) -> Any:
            result = concrete([tf.constant(a) for a in arrays], *map(tf.constant, given))
            return tf.nest.map_structure(lambda tensor: tensor.numpy(), result)

        return run

    def _outputs(self, sample: Sequence[np.ndarray]) -> tuple[Any, Any]:
        inputs = [tf.constant(a) for a in sample]
        (expected,) = self._source.own_output(inputs)
        return forward(self._whole, inputs)[0], expected
