"""A computation as one layer of Keras 2."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow.keras.layers as klayers

from rap_keras.backends.keras2.graphs import valid_name


class Step(klayers.Layer):
    """A computation as one layer; otherwise Keras would make a layer of every operation."""

    def __init__(self, compute: Callable[[list[tf.Tensor]], Any], name: str) -> None:
        super().__init__(name=valid_name(f"relevance/{name}"), autocast=False)
        self._compute = compute

    @tf.autograph.experimental.do_not_convert
    def call(self, tensors: Any) -> Any:  # noqa: D102
        return self._compute(tf.nest.flatten(tensors))
