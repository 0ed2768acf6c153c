"""The two small classifiers that ship with the package, ready without download or training."""

from importlib import resources
from typing import Literal, get_args

import keras

from rap_keras.errors import InputError

Name = Literal["vgg", "residual"]


def load(name: Name) -> keras.Model:
    """Load a classifier of `rap_keras.datasets.cluttered_digits` scenes.

    Args:
        name: `"vgg"` for plain convolutions, pooling and dense layers, or `"residual"` for
            residual blocks with batch normalisation and global average pooling.

    Returns:
        An uncompiled model from scenes scaled by `rap_keras.datasets.preprocess`, of shape
        `(n, 64, 64, 3)`, to 10 logits (no softmax).

    Raises:
        InputError: If there is no embedded model of that name.
    """
    if name not in get_args(Name):
        raise InputError(f"Expected one of {get_args(Name)}, got {name!r}; pass one of them.")
    asset = resources.files("rap_keras") / "assets" / f"cluttered_digits_{name}.keras"
    with resources.as_file(asset) as path:
        return keras.models.load_model(path, compile=False)
