"""Which networks of keras.applications RAP explains, as a Markdown table.

    python benchmarks/applications.py [NAME ...]

Random weights, seed 0, the network's default size, one Gaussian image. The error is |sum R - logit|
relative to sum |R|: the largest of any layer, and of the whole, in single precision.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import rap_keras
from rap_keras.backends.keras3.trace import trace
from rap_keras.network.graph import Graph

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
]


def row(name: str) -> str:
    """Explains one network, or tells which layers are refused."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None)
    graph: Graph = trace(model)
    try:
        analyzer = rap_keras.create_analyzer("rap", model)
    except rap_keras.UnknownLayerError as error:
        kinds = str(error).split(" of type ")[1].split(";")[0]
        return f"| {name} | {len(graph.nodes)} | refused: no rule for {kinds} | | |"
    shape = (1, *(n or 224 for n in model.input_shape[1:3]), 3)
    report = analyzer.conservation(np.random.default_rng(0).normal(size=shape).astype("float32"))
    worst = max(float(r.error.max()) for r in report.layers)
    whole = float(report.model.error.max())
    cells = (name, len(graph.nodes), "explained", f"{shape[1]} px", f"{worst:.0e}", f"{whole:.0e}")
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    print("| network | nodes | RAP | input | error, worst layer | error, whole |")
    print("|---|---|---|---|---|---|")
    for chosen in sys.argv[1:] or NAMES:
        print(row(chosen), flush=True)
        keras.utils.clear_session()
