"""The image classifiers of KerasHub, by the name or the folder of a preset."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.errors import InputError
from rap_keras.models.applications import IMAGENET_CLASSES, imagenet_classes
from rap_keras.models.loaded import RawModel
from rap_keras.models.names import HUB as PREFIX
from rap_keras.models.preprocessing import Preprocess
from rap_keras.support.text import first_line


def check_installed(spec: str) -> None:
    """Raises an error if KerasHub is not installed, without importing it."""
    if "keras_hub" not in sys.modules and importlib.util.find_spec("keras_hub") is None:
        raise _not_installed(spec, "No module named 'keras_hub'")


def _not_installed(spec: str, why: str) -> InputError:
    return InputError(f"{spec} needs KerasHub ({why}): run pip install 'keras-hub>=0.32'.")


def load_preset(spec: str, published: bool = True) -> RawModel:
    """Loads an image classifier of KerasHub, and downloads it if necessary.

    After `hub:` is the name of a preset (`hub:resnet_50_imagenet`), its handle at Kaggle or Hugging
    Face (`hub:hf://keras/resnet_50_imagenet`), or the folder of a saved preset. Weights that are not
    `published` are random.
    """
    preset = spec.removeprefix(PREFIX)
    try:
        import keras_hub
    except ImportError as error:
        raise _not_installed(spec, first_line(error)) from error
    known = preset in keras_hub.models.ImageClassifier.presets
    if not known and "://" not in preset and not Path(preset).is_dir():
        some = "resnet_50_imagenet, vit_base_patch16_224_imagenet"
        raise InputError(
            f"KerasHub has no image classifier {preset!r}: name one of its presets ({some}, ...) or "
            "the folder of a saved preset."
        )
    try:
        model = keras_hub.models.ImageClassifier.from_preset(preset, load_weights=published)
    except Exception as error:
        action = "loaded" if Path(preset).is_dir() else "downloaded and loaded"
        raise InputError(
            f"The preset {preset!r} cannot be {action} as an image classifier ({first_line(error)})."
        ) from error
    imagenet = published and _is_imagenet(preset, model)
    synsets, labels = imagenet_classes() if imagenet else (None, None)
    preprocess, size = _preprocessing(model)
    return RawModel(model, spec, preprocess, labels, size, synsets)


def _preprocessing(model: Any) -> tuple[Preprocess | None, tuple[int, int] | None]:
    """Returns a classifier's preprocessing, for images of any size, and its input size."""
    preprocessor = model.preprocessor
    if preprocessor is None:
        return None, None
    converter: Any = getattr(preprocessor, "image_converter", None)
    size = getattr(converter, "image_size", None)
    if size is not None:
        converter.image_size = None  # images are resized earlier, together with boxes and masks
        size = (int(size[0]), int(size[1]))

    def preprocess(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.array(preprocessor(images.astype(np.float32)), np.float32)

    return preprocess, size


def _is_imagenet(preset: str, model: Any) -> bool:
    """Whether a preset has ImageNet's 1000 classes. Presets do not name their classes."""
    name = preset.rstrip("/").rpartition("/")[2]
    classes = model.output_shape[-1] == IMAGENET_CLASSES
    return classes and ("imagenet" in name or "in1k" in name)
