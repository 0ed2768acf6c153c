"""A Keras 3 model at work."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.backends.keras3.trace import names_of_outputs, own_output, trace, without_head
from rap_keras.backends.network import Network, Run
from rap_keras.inputs.outputs import read_output
from rap_keras.propagate import forward


class Keras3Network(Network):
    """A Keras 3 model, traced once; its functions are TensorFlow's.

    Args:
        model: A functional or (built) Sequential Keras 3 model. It is not changed.
        output: Which output of several is meant, by name or number.

    Attributes:
        output: As it was told.
        position: Its number.

    Raises:
        InputError: The model cannot be followed, or has no such output.
    """

    def __init__(self, model: Any, output: str | int | None = None) -> None:
        self.position = read_output(output, names_of_outputs(model))
        self.output = output if output is None or isinstance(output, str) else int(output)
        self._whole = trace(model, keep_head=True, output=self.position)
        super().__init__(model, without_head(self._whole))

    def _build(self, function: Callable[..., Any], others: Sequence[tf.TensorSpec]) -> Run:
        signature = [tf.TensorSpec((None, *t.shape[1:]), t.dtype) for t in self.model.inputs]
        traced = tf.function(function, input_signature=[signature, *others], autograph=False)
        concrete = traced.get_concrete_function()

        def run(arrays: Sequence[np.ndarray], *given: np.ndarray) -> Any:
            result = concrete([tf.constant(a) for a in arrays], *map(tf.constant, given))
            return tf.nest.map_structure(lambda tensor: tensor.numpy(), result)

        return run

    def _outputs(self, sample: Sequence[np.ndarray]) -> tuple[Any, Any]:
        inputs = [tf.constant(a) for a in sample]
        outputs = tf.nest.flatten(own_output(self.model, inputs))
        return forward(self._whole, inputs)[0], outputs[self.position]


def open_output(model: Any, output: str | int | None = None) -> Keras3Network:
    """A model at work, up to one of its outputs.

    Args:
        model: A Keras 3 model, or one that is open already, which is returned as it is where that is the
            output that it was opened for.
        output: The output's name or number; None is the one that there is, or was opened.

    Raises:
        InputError: The model cannot be followed, or has no such output.
    """
    if not isinstance(model, Keras3Network):
        return Keras3Network(model, output)
    if output is None or read_output(output, names_of_outputs(model.model)) == model.position:
        return model
    return Keras3Network(model.model, output)
