"""Which networks of keras.applications RAP explains, as a Markdown table.

    python benchmarks/applications.py [NAME ...]

Random weights (seed 0), the network's default size and preprocessing, the start at its logits. The
images: the photograph "china.jpg" that scikit-learn brings; and the same with borders, once black before
the preprocessing and once 0 after it, of which the worse one counts. The error is |sum R - logit|
relative to sum |R|, in single precision: the largest of any layer, and of the whole.
"""

import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

import rap_keras

NAMES = [
    "VGG16",
    "VGG19",
    "ResNet50",
    "ResNet101",
    "ResNet152",
    "ResNet50V2",
    "ResNet101V2",
    "ResNet152V2",
    "InceptionV3",
    "InceptionResNetV2",
    "Xception",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "DenseNet121",
    "NASNetMobile",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "ConvNeXtTiny",
    "ConvNeXtSmall",
    "ConvNeXtBase",
    "ConvNeXtLarge",
    "ConvNeXtXLarge",
]
COLUMNS = [
    *("RAP", "nodes", "px"),
    *("photograph: worst layer", "whole", "borders: worst layer", "whole"),
    *("first map, s", "second, s"),
]


def pictures(size: int, preprocess: Callable[[Any], Any]) -> NDArray[np.float32]:
    """A photograph; with black borders; with borders that are 0 for the network: (3, size, size, 3)."""
    photograph = Image.fromarray(load_sample_image("china.jpg"))
    images = np.stack([np.asarray(ImageOps.fit(photograph, (size, size)))] * 3)
    border = size // 4
    images[1, :border] = images[1, -border:] = 0
    x = np.array(preprocess(images), np.float32)
    x[2, :border] = x[2, -border:] = 0
    return x


def measured(
    model: keras.Model, x: NDArray[np.float32], selection: Any = None, **options: Any
) -> list[str]:
    """The columns for a model and its `pictures`, for its largest logit or for a selected one."""
    start = time.perf_counter()
    try:
        analyzer = rap_keras.create_analyzer("rap", model, **options)
        analyzer.analyze(x[:1], selection)
    except rap_keras.InputError as error:
        return [f"refused: {_why(error)}", "", f"{x.shape[1]}", *[""] * 6]
    first = time.perf_counter() - start
    analyzer.analyze(x[1:2], selection)
    second = time.perf_counter() - start - first
    errors = []
    for image in x:
        report = analyzer.conservation(image[None], selection)
        worst = max(float(layer.error.max()) for layer in report.layers)
        errors.append((worst, float(report.model.error.max())))
    borders = np.max(errors[1:], axis=0)
    numbers = [f"{error:.0e}" for error in (*errors[0], *borders)]
    nodes = str(len(analyzer.rules()))
    return ["explained", nodes, f"{x.shape[1]}", *numbers, f"{first:.1f}", f"{second:.1f}"]


def _why(error: Exception) -> str:
    """The reason of a refusal, without the table of rules, what to do, and this machine's folders."""
    first, *others = str(error).splitlines()
    closed = [line for line in others if "cannot be opened" in line][:1]
    told = ". ".join([first.partition("; to give one")[0].removeprefix("Expected "), *closed])
    return re.sub(r"/\S*/", "", told).replace("|", "\\|").rstrip(".")


def print_table(title: str, names: list[str], explained: Callable[[str], list[str]]) -> None:
    """Prints a row of every network as it is measured."""
    print(f"| {' | '.join([title, *COLUMNS])} |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name in names:
        keras.utils.set_random_seed(0)
        print(f"| {' | '.join([name, *explained(name)])} |", flush=True)
        keras.utils.clear_session()


def explained(name: str) -> list[str]:
    """The columns of one network."""
    loaded = rap_keras.models.load_model(name, weights="none")
    assert loaded.input_size is not None
    return measured(loaded.model, pictures(loaded.input_size[0], loaded.preprocess))


if __name__ == "__main__":
    print_table("network", sys.argv[1:] or NAMES, explained)
