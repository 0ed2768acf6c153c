"""Small networks that several tests explain."""

import keras
from keras import layers


def plain(dtype: str = "float32", head: str | None = None) -> keras.Model:
    """Convolutions with fused activations, pooling, two dense layers."""
    x = inputs = keras.Input((12, 12, 3), dtype=None if "mixed" in dtype else dtype)
    x = layers.Conv2D(6, 3, activation="relu", padding="same", dtype=dtype)(x)
    x = layers.MaxPooling2D(dtype=dtype)(x)
    x = layers.Conv2D(8, 3, activation="relu", dtype=dtype)(x)
    x = layers.Flatten(dtype=dtype)(x)
    x = layers.Dense(16, activation="relu", dtype=dtype)(x)
    return biased(keras.Model(inputs, layers.Dense(10, activation=head, dtype=dtype)(x)))


def residual(dtype: str = "float32") -> keras.Model:
    """BatchNormalization, Add, padding layers, signed inputs (swish) and global pooling."""
    x = inputs = keras.Input((12, 12, 3), dtype=None if "mixed" in dtype else dtype)
    x = layers.ZeroPadding2D(1, dtype=dtype)(x)
    x = layers.Conv2D(8, 3, use_bias=False, dtype=dtype)(x)
    x = layers.BatchNormalization(dtype=dtype)(x)
    x = skip = layers.Activation("swish", dtype=dtype)(x)
    x = layers.DepthwiseConv2D(3, padding="same", dtype=dtype)(x)
    x = layers.BatchNormalization(dtype=dtype)(x)
    x = layers.Conv2D(8, 1, dtype=dtype)(x)
    x = layers.Add(dtype=dtype)([x, skip])
    x = layers.ReLU(dtype=dtype)(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    return biased(keras.Model(inputs, layers.Dense(10, dtype=dtype)(x)))


def biased(model: keras.Model, seed: int = 0) -> keras.Model:
    """The model with random biases, means and variances, because zeros would hide errors."""
    generator = keras.random.SeedGenerator(seed)
    for variable in model.weights:
        if variable.name in ("bias", "beta", "moving_mean"):
            variable.assign(keras.random.normal(variable.shape, 0, 0.1, seed=generator))
        elif variable.name in ("gamma", "moving_variance"):
            variable.assign(keras.random.uniform(variable.shape, 0.5, 1.5, seed=generator))
    return model


def segmenting(classes: int = 4, head: str | None = None, size: int | None = 8) -> keras.Model:
    """A small U-Net: logits of every pixel, (size, size, classes)."""
    inputs = keras.Input((size, size, 3), name="image")
    fine = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = layers.MaxPooling2D()(fine)
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(4, 2, strides=2, activation="relu")(x)
    x = layers.Conv2D(classes, 1)(layers.Concatenate()([fine, x]))
    outputs = layers.Activation(head, name="classes")(x) if head else x
    return biased(keras.Model(inputs, outputs))
