"""Layers of the bundled models that Keras does not have. Importing this module registers them."""

from typing import Any

import keras
from keras import layers


@keras.saving.register_keras_serializable("rap_keras")
class ClassToken(layers.Layer):
    """Puts a learned token in front of a sequence: `(n, t, width)` to `(n, 1 + t, width)`."""

    def build(self, input_shape: Any) -> None:
        """Creates the token."""
        self.token = self.add_weight(
            shape=(1, 1, input_shape[-1]), initializer="zeros", name="token"
        )

    def call(self, inputs: Any) -> Any:
        """The sequence with the token at position 0."""
        from keras import ops

        shape = (ops.shape(inputs)[0], 1, inputs.shape[-1])
        return ops.concatenate([ops.broadcast_to(self.token, shape), inputs], axis=1)


@keras.saving.register_keras_serializable("rap_keras")
class PositionEmbedding(layers.Layer):
    """Adds a learned vector to each position of a sequence, `(n, t, width)`."""

    def build(self, input_shape: Any) -> None:
        """Creates the vectors."""
        self.positions = self.add_weight(
            shape=tuple(input_shape[1:]),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="positions",
        )

    def call(self, inputs: Any) -> Any:
        """The sequence with its positions."""
        return inputs + self.positions


@keras.saving.register_keras_serializable("rap_keras")
class LayerScale(layers.Layer):
    """Multiplies each channel by a learned number, which starts small (Touvron et al. 2021)."""

    def build(self, input_shape: Any) -> None:
        """Creates the numbers."""
        self.gamma = self.add_weight(
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(0.1),
            name="gamma",
        )

    def call(self, inputs: Any) -> Any:
        """The scaled channels."""
        return inputs * self.gamma
