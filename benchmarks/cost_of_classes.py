"""Print the cost of maps of several classes, which share the forward pass, relative to one map.

Example: python benchmarks/cost_of_classes.py --models vgg16 resnet50 --classes 5 --repeats 5

RAP, random weights, 224 px, batch 1, one process and one thread; medians of interleaved repeats.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import rap_keras

MODELS = {
    "vgg16": keras.applications.VGG16,
    "resnet50": keras.applications.ResNet50,
    "mobilenetv2": keras.applications.MobileNetV2,
}


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=["vgg16", "resnet50"], choices=MODELS)
    parser.add_argument("--classes", type=int, default=5, help="how many share a forward pass")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 224, 224, 3)).astype(np.float32)
    top = rap_keras.TopK(arguments.classes)
    print(f"| model | one class | {arguments.classes} classes | ratio (range) |\n|---|---|---|---|")
    for name in arguments.models:
        keras.utils.set_random_seed(0)
        model = MODELS[name](weights=None, classifier_activation=None)
        analyzer = rap_keras.create_analyzer("rap", model)
        calls = {1: lambda a=analyzer: a.analyze(x)}
        calls[arguments.classes] = lambda a=analyzer: a.analyze(x, target=top)
        seconds: dict[int, list[float]] = {count: [] for count in calls}
        for repeat in range(arguments.repeats + 1):
            for count, call in calls.items():
                begun = time.perf_counter()
                call()
                if repeat:  # the first call traces
                    seconds[count].append(time.perf_counter() - begun)
        single, many = (statistics.median(seconds[count]) for count in calls)
        ratios = [b / a for a, b in zip(*seconds.values(), strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"| {name} | {single:.2f} s | {many:.2f} s | {many / single:.2f} ({spread}) |")


if __name__ == "__main__":
    main()
