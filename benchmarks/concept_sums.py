"""Measure whether the maps of all channels of a layer sum to the whole map.

    python benchmarks/concept_sums.py

For each bundled model, layer and method: the largest difference between the sum of the maps of all
channels and the whole map, as a share of the sum of |relevance| of the sample, over 4 scenes.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from rap_keras import bundled, create_analyzer
from rap_keras.datasets import cluttered_digits, preprocess

LAYERS = {
    "vgg": ("block2_conv1", "block3_conv2", "block4_pool"),
    "residual": ("block2_relu2", "block3_relu2"),
    "vit": ("block2_add2", "block4_add2"),
}
METHODS = ("rap", "lrp.epsilon_plus", "lrp.alpha_2_beta_1", "rap:variant=released")


def main() -> None:
    """Print a row for each model and layer."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(LAYERS), choices=list(LAYERS))
    models = parser.parse_args().models
    x = preprocess(cluttered_digits(4).images)
    print("| model, layer | " + " | ".join(METHODS) + " |")
    print("|---" * (len(METHODS) + 1) + "|")
    for name in models:
        model = bundled.load(name)
        cells: dict[str, list[str]] = {layer: [] for layer in LAYERS[name]}
        for method in METHODS:
            base, _, variant = method.partition(":variant=")
            options = {"variant": variant} if variant else {}
            analyzer = create_analyzer(base, model, **options)
            whole = analyzer.analyze(x).astype(np.float64)
            size = abs(whole).sum((1, 2, 3))
            for layer, cell in cells.items():
                count = analyzer.concepts(x, layer).relevance.shape[1]
                summed = np.zeros_like(whole)
                for k in range(0, count, 16):
                    numbers = range(k, min(k + 16, count))
                    maps = analyzer.analyze(x, concepts={layer: numbers})
                    summed += maps.sum(1, dtype=np.float64)
                cell.append(f"{(abs(summed - whole).max((1, 2, 3)) / size).max():.0e}")
        for layer, cell in cells.items():
            print(f"| {name}, {layer} | " + " | ".join(cell) + " |", flush=True)


if __name__ == "__main__":
    main()
