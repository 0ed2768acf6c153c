"""Print the sum of relevance over the logit for methods on large models, as a Markdown table.

Example: python benchmarks/application_sums.py --seed 0
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from rap_keras import create_analyzer
from rap_keras.analyzers.registry import METHODS

MODELS = ["ResNet50", "EfficientNetB0", "DenseNet121"]
PRESETS = [method.name for method in METHODS if method.preset]
OPTIONS = {"lrp.alpha_beta": {"alpha": 1.5}}


def sums(name: str, methods: list[str], size: int, seed: int) -> dict[str, list[str]]:
    """Method => the sum of relevance over the logit of two images."""
    keras.utils.set_random_seed(seed)
    application = getattr(keras.applications, name)
    model = application(weights=None, classifier_activation=None, input_shape=(size, size, 3))
    x = np.random.default_rng(seed).uniform(-1, 1, (2, size, size, 3)).astype("float32")
    logits = model.predict(x, verbose=0).max(1)
    cells = {}
    for method in methods:
        analyzer = create_analyzer(method, model, check_finite=False, **OPTIONS.get(method, {}))
        maps = analyzer.analyze(x)
        ratios = maps.sum((1, 2, 3), dtype="float64") / logits
        finite = np.isfinite(maps).all((1, 2, 3))
        cells[method] = [
            f"{ratio:.3g}" if fine else "not finite"
            for ratio, fine in zip(ratios, finite, strict=True)
        ]
    return cells


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--methods", nargs="+", default=["guided_backprop", "deconvnet", *PRESETS])
    parser.add_argument("--size", type=int, default=96, help="height and width of the images")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    columns = [sums(name, args.methods, args.size, args.seed) for name in args.models]
    for image, title in enumerate(("first image", "second image")):
        print(f"| {title} | {' | '.join(args.models)} |")
        print("|---" * (1 + len(columns)) + "|")
        for method in args.methods:
            print(f"| `{method}` | {' | '.join(column[method][image] for column in columns)} |")
        print()


if __name__ == "__main__":
    main()
