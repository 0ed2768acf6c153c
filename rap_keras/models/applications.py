"""The ImageNet classifiers of `keras.applications`."""

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rap_keras.support.keras_backend import import_keras

IMAGENET_CLASSES = 1000

_DEFAULT_SIZE = 224
_OTHER_SIZES = {
    **dict.fromkeys(("inceptionresnetv2", "inceptionv3", "xception"), 299),
    "nasnetlarge": 331,
    **{f"efficientnetb{k}": n for k, n in enumerate((240, 260, 300, 380, 456, 528, 600), start=1)},
    **{f"efficientnetv2b{k}": n for k, n in enumerate((240, 260, 300), start=1)},
    "efficientnetv2s": 384,
    "efficientnetv2m": 480,
    "efficientnetv2l": 480,
}


@dataclass(frozen=True)
class Application:
    """An ImageNet classifier of `keras.applications`."""

    build: Callable[..., Any]
    preprocess_input: Callable[..., Any]
    default_size: int


@functools.cache
def applications() -> dict[str, Application]:
    """Returns the classifiers of `keras.applications` by their names in lower case.

    Example:
        >>> rap_keras.models.applications()["vgg16"].default_size
        224
    """
    table = {}
    for name, build in vars(import_keras().applications).items():
        # Only models begin with a capital letter.
        if name[0].isupper():
            module = sys.modules[build.__module__]
            size = _OTHER_SIZES.get(name.lower(), _DEFAULT_SIZE)
            table[name.lower()] = Application(build, module.preprocess_input, size)
    return table


def imagenet_classes() -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Returns WordNet's ids and the names of ImageNet's classes, or None for both."""
    from keras.applications.imagenet_utils import decode_predictions

    try:
        best = decode_predictions(np.eye(IMAGENET_CLASSES, dtype=np.float32), top=1)
    except Exception:  # the list of names is another download, which maps do not need
        return None, None
    return tuple(synset for ((synset, _, _),) in best), tuple(name for ((_, name, _),) in best)
