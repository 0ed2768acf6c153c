"""The small networks that ship with the package, ready without download or training.

They are built in code and get their weights from arrays, because no model file is read by every Keras.
"""

from collections.abc import Callable
from importlib import resources
from typing import Any

import keras
import numpy as np

from rap_keras.models.architectures import (
    build_convnext,
    build_residual,
    build_segmentation,
    build_vgg,
    build_vit,
)
from rap_keras.models.names import BundledName as Name
from rap_keras.models.names import check_bundled

_BUILDERS: dict[Name, Callable[[], keras.Model]] = {
    "vgg": build_vgg,
    "residual": build_residual,
    "convnext": build_convnext,
    "vit": build_vit,
    "segmentation": build_segmentation,
}


def load(name: Name) -> keras.Model:
    """Load a network for `rap_keras.datasets.cluttered_digits` scenes.

    Args:
        name: A classifier, `"vgg"` (plain convolutions, pooling and dense layers), `"residual"`
            (residual blocks with batch normalisation and global average pooling), `"convnext"` (blocks
            of depthwise convolutions and layer normalisation) or `"vit"` (a vision transformer, of
            Keras 3); or `"segmentation"` (a U-Net).

    Returns:
        An uncompiled model, of whatever Keras is installed, from scenes scaled by
        `rap_keras.datasets.preprocess`, of shape `(n, 64, 64, 3)`, to 10 logits (no softmax); of the
        segmentation network to 11 for each pixel, `(n, 64, 64, 11)`, background first.

    Raises:
        InputError: If there is no bundled model of that name, or it needs another Keras.

    Example:
        >>> rap_keras.bundled.load("vgg").output_shape
        (None, 10)
    """
    check_bundled(name)
    model = _BUILDERS[name]()
    asset = resources.files("rap_keras") / "assets" / f"{model.name}.npz"
    with resources.as_file(asset) as path, np.load(path) as file:
        for layer in model.layers:
            layer.set_weights([file[_key(layer, k)] for k in range(len(layer.weights))])
    return model


def labels(name: Name) -> tuple[str, ...]:
    """The names of the classes of a network."""
    digits = tuple(str(digit) for digit in range(10))
    return ("background", *digits) if name == "segmentation" else digits


def arrays(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights of a model as `load` reads them from a file."""
    return {
        _key(layer, k): array
        for layer in model.layers
        for k, array in enumerate(layer.get_weights())
    }


def _key(layer: Any, k: int) -> str:
    return f"{layer.name}/{k}"
