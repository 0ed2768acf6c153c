"""Print which models of keras.applications RAP explains, as a Markdown table.

    python benchmarks/applications.py [NAME ...]

Random weights (seed 0), the default size and preprocessing of the model. Relevance starts at the logits.
The images are the photograph "china.jpg" of scikit-learn and the same with borders, once black before
the preprocessing and once 0 after it; the larger error of both counts. The error is |sum R - logit|
relative to sum |R|, in single precision: the largest of any layer, and that of the whole model.
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
    *("nodes", "px"),
    *("photograph, worst layer", "photograph, model", "borders, worst layer", "borders, model"),
    *("first map, s", "second, s"),
]


def photographs(size: int, preprocess: Callable[[Any], Any]) -> NDArray[np.float32]:
    """A photograph, with black borders, and with borders of 0 for the model: (3, size, size, 3)."""
    photograph = Image.fromarray(load_sample_image("china.jpg"))
    images = np.stack([np.asarray(ImageOps.fit(photograph, (size, size)))] * 3)
    border = size // 4
    images[1, :border] = images[1, -border:] = 0
    x = np.array(preprocess(images), np.float32)
    x[2, :border] = x[2, -border:] = 0
    return x


def measured(
    model: keras.Model, x: NDArray[np.float32], selection: Any = None, **options: Any
) -> tuple[list[str], str]:
    """The columns for a model and its `photographs`, and why it is rejected ("" if it is not).

    The largest logit is explained, or a selected one.
    """
    start = time.perf_counter()
    try:
        analyzer = rap_keras.create_analyzer("rap", model, **options)
        analyzer.analyze(x[:1], selection)
    except rap_keras.InputError as error:
        return ["rejected", f"{x.shape[1]}", *[""] * 6], _why(error)
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
    seconds = [f"{first:.1f}", f"{second:.1f}"]
    return [nodes, f"{x.shape[1]}", *numbers, *seconds], ""


def _why(error: Exception) -> str:
    """The reason of a rejection, without the table of rules, the advice and the folders of files."""
    first, *others = str(error).splitlines()
    closed = [line for line in others if "cannot be opened" in line][:1]
    reason = ". ".join([first.partition("; ")[0], *closed])
    return reason[0].lower() + re.sub(r"/\S*/", "", reason[1:]).rstrip(".")


def print_table(
    title: str, names: list[str], explained: Callable[[str], tuple[list[str], str]]
) -> None:
    """Print a row for each model as it is measured, then the reasons of rejections."""
    print(f"| {' | '.join([title, *COLUMNS])} |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    reasons = {}
    for name in names:
        keras.utils.set_random_seed(0)
        columns, reasons[name] = explained(name)
        print(f"| {' | '.join([name, *columns])} |", flush=True)
        keras.utils.clear_session()
    print()
    for name, reason in reasons.items():
        if reason:
            print(f"- {name} is rejected: {reason}.")


def explained(name: str) -> tuple[list[str], str]:
    """The columns of one model, and why it is rejected."""
    loaded = rap_keras.models.load_model(name, weights="none")
    assert loaded.input_size is not None
    return measured(loaded.model, photographs(loaded.input_size[0], loaded.preprocess))


if __name__ == "__main__":
    print_table("model", sys.argv[1:] or NAMES, explained)
