"""Print the cost of LeRF curves relative to their forward passes, in one process.

    python benchmarks/cost_of_perturbation.py [--model mobilenetv2] [--images 100] [--steps 40]
        [--batch-size 32]

Random weights and images, seed 0. For each image in turn, the same batches go through the model without
and with the rest of the curve.
"""

import argparse
import math
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from rap_keras.evaluation import perturbation_curve
from rap_keras.models.loading import load_model


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="mobilenetv2", help="an application of Keras")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    loaded = load_model(options.model, weights="none")
    rng = np.random.default_rng(0)
    batches = math.ceil((options.steps + 1) / options.batch_size)
    size = math.ceil((options.steps + 1) / batches)
    seconds = {"forward passes": 0.0, "curve": 0.0}
    for image in range(-1, options.images):  # the first warms up
        x = rng.normal(size=(*loaded.input_size, 3)).astype(np.float32)
        heatmap = rng.normal(size=loaded.input_size)
        batch = np.stack([x] * size)
        start = time.perf_counter()
        for _ in range(batches):
            loaded.logits(batch)
        middle = time.perf_counter()
        perturbation_curve(
            loaded.logits, x, heatmap, 0, steps=options.steps, batch_size=options.batch_size
        )
        end = time.perf_counter()
        if image >= 0:
            seconds["forward passes"] += middle - start
            seconds["curve"] += end - middle
    ratio = seconds["curve"] / seconds["forward passes"]
    print(f"{options.model}: {options.images} images, {options.steps} steps, batches of {size}")
    for name, value in seconds.items():
        print(f"{name:15} {value:8.2f} s")
    print(f"{'ratio':15} {ratio:8.3f}")


if __name__ == "__main__":
    main()
