"""Print how the options for BatchNormalization change maps of LRP, as a Markdown table.

Example: python benchmarks/batch_norm_policies.py --images 8 --seed 0

The bundled residual classifier on its test scenes, and ResNet-50 with random weights on noise. With
`--model FILE.py:function` and `--photographs FOLDER`, also a trained EfficientNet-Lite0 on photographs.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from rap_keras import bundled, create_analyzer
from rap_keras.datasets.cluttered_digits import cluttered_digits, preprocess
from rap_keras.models import load_model
from rap_keras.support.images import collect_images, read_image

METHODS = ["lrp.epsilon", "lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1", "lrp.sequential_preset_a"]
POLICIES = ["fold", "rule", "identity"]


def random_resnet50(count: int, seed: int) -> tuple[keras.Model, np.ndarray]:
    """ResNet-50 with scales, shifts and statistics unlike those of an untrained model."""
    keras.utils.set_random_seed(seed)
    model = keras.applications.ResNet50(weights=None, classifier_activation=None)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 224, 224, 3)).astype("float32")
    norms = [la for la in model.layers if isinstance(la, keras.layers.BatchNormalization)]
    for layer in norms:
        shape = layer.gamma.shape
        layer.gamma.assign(rng.uniform(0.5, 1.5, shape))
        layer.beta.assign(rng.normal(0, 0.2, shape))
        layer.momentum = 0.0
    model(x[:4], training=True)  # sets the statistics to those of the data; they are disturbed next
    for layer in norms:
        mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
        layer.moving_mean.assign(mean + rng.normal(0, 0.1, mean.shape) * np.sqrt(variance))
        layer.moving_variance.assign(variance * rng.uniform(0.7, 1.4, variance.shape))
    return model, x


def digits_residual(count: int, seed: int) -> tuple[keras.Model, np.ndarray]:
    """The bundled residual classifier on test scenes."""
    images = cluttered_digits(count, seed=seed, split="test").images
    return bundled.load("residual"), preprocess(images)


def efficientnet_lite0(
    model: str, folder: Path, count: int, seed: int
) -> tuple[keras.Model, np.ndarray]:
    """A trained EfficientNet-Lite0 on photographs."""
    paths = collect_images([folder / "**/*.*"])
    chosen = np.random.default_rng(seed).choice(len(paths), count, replace=False)
    pixels = np.stack([read_image(paths[k], (224, 224)) for k in chosen])
    loaded = load_model(model, preprocess="none", mean=127, std=128)
    return loaded.model, loaded.preprocess(pixels)


def rows(name: str, model: Any, x: np.ndarray) -> Iterator[str]:
    """One line for each method and policy."""
    logits = model.predict(x, verbose=0).max(1)
    for method in METHODS:
        folded = None
        for policy in POLICIES:
            analyzer = create_analyzer(method, model, batch_norm=policy, check_finite=False)
            maps = analyzer.analyze(x).astype("float64")
            if not np.isfinite(maps).all():
                yield f"| {name} | `{method}` | {policy} | not finite | | |"
                continue
            if folded is None:
                folded = maps
            flat, reference = (m.sum(-1).reshape(len(x), -1) for m in (maps, folded))
            same = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(flat, reference, strict=True)])
            sums = np.median(flat.sum(1) / logits)
            largest = np.median(abs(maps).max((1, 2, 3)) / abs(logits))
            yield f"| {name} | `{method}` | {policy} | {sums:.3g} | {same:.2f} | {largest:.2g} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="FILE.py:function, an EfficientNet-Lite0")
    parser.add_argument("--photographs", type=Path, help="a folder of photographs for it")
    args = parser.parse_args()
    print("| model | method | batch_norm | sum / logit | correlation to fold | max / logit |")
    print("|---|---|---|---|---|---|")
    for row in rows("residual, cluttered digits", *digits_residual(args.images, args.seed)):
        print(row, flush=True)
    if args.model and args.photographs:
        trained = efficientnet_lite0(args.model, args.photographs, args.images, args.seed)
        for row in rows("EfficientNet-Lite0, photographs", *trained):
            print(row, flush=True)
    for row in rows("ResNet-50, random", *random_resnet50(args.images, args.seed)):
        print(row, flush=True)


if __name__ == "__main__":
    main()
