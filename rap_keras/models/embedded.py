"""The two small classifiers that ship with the package, ready without download or training.

They are built here and get their weights from arrays, for no model file is read by every Keras.
"""

from importlib import resources
from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import layers

from rap_keras.datasets.cluttered_digits import SIZE
from rap_keras.errors import InputError

Name = Literal["vgg", "residual"]


def load(name: Name) -> keras.Model:
    """Load a classifier of `rap_keras.datasets.cluttered_digits` scenes.

    Args:
        name: `"vgg"` for plain convolutions, pooling and dense layers, or `"residual"` for
            residual blocks with batch normalisation and global average pooling.

    Returns:
        An uncompiled model, of whatever Keras is installed, from scenes scaled by
        `rap_keras.datasets.preprocess`, of shape `(n, 64, 64, 3)`, to 10 logits (no softmax).

    Raises:
        InputError: If there is no embedded model of that name.
    """
    if name not in get_args(Name):
        raise InputError(f"Expected one of {get_args(Name)}, got {name!r}; pass one of them.")
    model = build_vgg() if name == "vgg" else build_residual()
    asset = resources.files("rap_keras") / "assets" / f"{model.name}.npz"
    with resources.as_file(asset) as path, np.load(path) as file:
        for layer in model.layers:
            layer.set_weights([file[_key(layer, k)] for k in range(len(layer.weights))])
    return model


def arrays(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights of a model as `load` reads them from a file."""
    return {
        _key(layer, k): array
        for layer in model.layers
        for k, array in enumerate(layer.get_weights())
    }


def _key(layer: Any, k: int) -> str:
    return f"{layer.name}/{k}"


def build_vgg(normalised: bool = False) -> keras.Model:
    """A plain stack of convolutions and poolings, read out by dense layers.

    Args:
        normalised: The convolutions but the first (the largest, where it would cost most) are followed
            by batch normalisation, for training.

    Returns:
        The model with random weights.
    """
    inputs = keras.Input((SIZE, SIZE, 3), name="image")
    x = inputs
    for block, filters in enumerate([(16,), (32,), (48, 48), (64, 64)], start=1):
        for k, width in enumerate(filters, start=1):
            name = f"block{block}_conv{k}"
            if normalised and x is not inputs:
                x = layers.Conv2D(width, 3, padding="same", name=name)(x)
                x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
            else:
                x = layers.Conv2D(width, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(64, activation="relu", name="fc1")(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x), name="cluttered_digits_vgg")


def build_residual() -> keras.Model:
    """Residual blocks with batch normalisation, read out by global average pooling.

    Returns:
        The model with random weights.
    """

    def conv(x: Any, name: str, width: int, size: int, stride: int = 1) -> Any:
        x = layers.Conv2D(
            width, size, strides=stride, padding="same", use_bias=False, name=f"{name}_conv"
        )(x)
        return layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)

    inputs = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.ReLU(name="stem_relu")(conv(inputs, "stem", 16, 3, stride=2))
    for block, (width, stride) in enumerate([(16, 1), (32, 2), (64, 2)], start=1):
        name = f"block{block}"
        # A block that changes shape needs a projection for its skip to fit.
        skip = x if stride == 1 else conv(x, f"{name}_skip", width, 1, stride)
        x = layers.ReLU(name=f"{name}_relu1")(conv(x, f"{name}_1", width, 3, stride))
        x = layers.Add(name=f"{name}_add")([conv(x, f"{name}_2", width, 3), skip])
        x = layers.ReLU(name=f"{name}_relu2")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x), name="cluttered_digits_residual")
