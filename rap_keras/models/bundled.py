"""The small models that are bundled with the package. They need no download and no training.

They are built in code, with weights from arrays, because no model file works in every version of Keras.
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

DELETION = "-deletion"
"""The end of the name of a model that was fine-tuned on scenes without a patch."""
STEP = 1 / 128
"""The unit of the stored differences of a fine-tuned model, which are rounded to save space."""

_BUILDERS: dict[str, Callable[[], keras.Model]] = {
    "vgg": build_vgg,
    "residual": build_residual,
    "convnext": build_convnext,
    "vit": build_vit,
    "segmentation": build_segmentation,
}


def load(name: Name) -> keras.Model:
    """Loads a model for scenes of `rap_keras.datasets.cluttered_digits`.

    Args:
        name: A classifier: `"vgg"` (plain convolutions, pooling and dense layers), `"residual"`
            (residual blocks with batch normalisation and global average pooling), `"convnext"` (blocks
            of depthwise convolutions and layer normalisation) or `"vit"` (a vision transformer, which
            needs Keras 3). `"vgg-deletion"` and `"residual-deletion"` are the first two, fine-tuned on
            scenes of which half lack a patch: use them for the benchmark's metric `single_deletion`. Or
            `"segmentation"` (a U-Net).

    Returns:
        An uncompiled model. Its input is a batch of scenes `(n, 64, 64, 3)`, scaled by
        `rap_keras.datasets.preprocess`. Its output is 10 logits (no softmax), or for the segmentation
        model 11 logits per pixel, `(n, 64, 64, 11)`, the background first.

    Raises:
        InputError: There is no bundled model with this name, or it needs another version of Keras.

    Example:
        >>> rap_keras.bundled.load("vgg").output_shape
        (None, 10)
    """
    check_bundled(name)
    base = name.removesuffix(DELETION)
    model = _BUILDERS[base]()
    weights = {key: unpacked(stored) for key, stored in _read(base).items()}
    if name != base:
        weights = changed(weights, **_read(name))
    for layer in model.layers:
        layer.set_weights([weights[_key(layer, k)] for k in range(len(layer.weights))])
    return model


def changed(
    weights: dict[str, np.ndarray], where: np.ndarray, steps: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns the weights of a fine-tuned model, from those of the model that it was made from.

    `where` has a bit for each number, 1 where they differ, and `steps` the differences in units of
    `STEP`.
    """
    sizes = [array.size for array in weights.values()]
    changes = np.zeros(sum(sizes), np.float32)
    changes[np.unpackbits(where, count=len(changes)) == 1] = steps * np.float32(STEP)
    parts = np.split(changes, np.cumsum(sizes)[:-1])
    return {
        key: array + part.reshape(array.shape)
        for (key, array), part in zip(weights.items(), parts, strict=True)
    }


def asset(name: str) -> str:
    """Returns the file of a model's weights; for a fine-tuned model, of their changes."""
    return f"cluttered_digits_{name.replace('-', '_')}.npz"


def _read(name: str) -> dict[str, np.ndarray]:
    folder = resources.files("rap_keras") / "assets"
    with resources.as_file(folder / asset(name)) as path, np.load(path) as file:
        return dict(file)


def labels(name: Name) -> tuple[str, ...]:
    """Returns the names of a model's classes."""
    digits = tuple(str(digit) for digit in range(10))
    return ("background", *digits) if name == "segmentation" else digits


def arrays(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the weights of a model by the names that they have in its file."""
    return {
        _key(layer, k): array
        for layer in model.layers
        for k, array in enumerate(layer.get_weights())
    }


def packed(array: np.ndarray) -> np.ndarray:
    """Returns the bytes of an array of floats: the first byte of each number, then the second, ...

    In this order they compress better than the numbers do.
    """
    little = array.astype(array.dtype.newbyteorder("<"))
    return np.moveaxis(little[..., np.newaxis].view(np.uint8), -1, 0)


def unpacked(stored: np.ndarray) -> np.ndarray:
    """Returns the array of floats that `packed` turned into bytes."""
    return np.stack(list(stored), -1).view(f"<f{len(stored)}")[..., 0]


def _key(layer: Any, k: int) -> str:
    return f"{layer.name}/{k}"
