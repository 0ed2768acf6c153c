"""Print how much each difference from iNNvestigate 2.1 changes the maps, as a Markdown table.

Example: python benchmarks/innvestigate_differences.py --seed 0

Each row is a method and a model in which only that difference matters. It compares the default with
`innvestigate_compat=True`. The change is max |default - compatible| / max |compatible|.
"""

import argparse
import os
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

from rap_keras import bundled, create_analyzer
from rap_keras.datasets.cluttered_digits import cluttered_digits, preprocess

COMPAT = {"innvestigate_compat": True}


def small(*chain: Any, skip: bool = False, seed: int = 0) -> keras.Model:
    """A chain of layers on 16 x 16 RGB images with 10 logits, with random biases."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((16, 16, 3))
    for layer in chain:
        x = layer(x)
    if skip:
        x = layers.Add()([x, layers.Conv2D(x.shape[-1], 3, padding="same", activation="relu")(x)])
    model = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
    return model


def convolution(size: int = 3, activation: str = "relu", **options: Any) -> layers.Layer:
    """A convolution to 8 channels."""
    return layers.Conv2D(8, size, padding="same", activation=activation, **options)


def cases(seed: int) -> Iterator[tuple[str, str, keras.Model, str, dict[str, Any], dict[str, Any]]]:
    """Difference, name of the model, model, method, default options, compatible options."""
    keras.utils.set_random_seed(
        seed
    )  # layers draw the seeds of their weights when they are created
    vgg, residual = bundled.load("vgg"), bundled.load("residual")
    for method in ("lrp.alpha_2_beta_1", "lrp.alpha_1_beta_0", "lrp.sequential_preset_a"):
        yield "bias in alpha-beta", "bundled vgg", vgg, method, {}, COMPAT
    swish = small(
        convolution(activation="swish"),
        layers.DepthwiseConv2D(3, activation="swish"),
        convolution(activation="swish"),
        seed=seed,
    )
    method = "lrp.alpha_1_beta_0_IB"
    yield "negative contributions only", "swish, depthwise", swish, method, {}, COMPAT
    for method in ("lrp.epsilon", "lrp.sequential_preset_a", "deep_taylor"):
        folded = {"batch_norm": "fold", **COMPAT}
        yield "BatchNormalization", "bundled residual", residual, method, folded, COMPAT
    method = "lrp.epsilon"
    rule = {"batch_norm": "rule", **COMPAT}
    yield "its weights alone", "bundled residual", residual, method, rule, COMPAT
    separable = small(
        layers.SeparableConv2D(8, 3, activation="relu"),
        layers.SeparableConv2D(8, 3, activation="relu"),
        seed=seed,
    )
    for method in ("lrp.alpha_1_beta_0_IB", "lrp.alpha_2_beta_1_IB"):
        yield "separable convolutions", "separable", separable, method, {}, COMPAT
    pooled = small(convolution(), layers.AveragePooling2D(2), convolution(), seed=seed)
    yield "average pooling", "average pooling", pooled, "deep_taylor", {}, COMPAT
    added = small(convolution(), skip=True, seed=seed)
    yield "Add", "one skip connection", added, "deep_taylor", {}, COMPAT
    padded = small(layers.ZeroPadding2D(2), convolution(), convolution(), seed=seed)
    flat = {"input_layer_rule": "Flat"}
    yield "input rules", "ZeroPadding2D first", padded, "lrp.z", flat, flat | COMPAT
    mine = {"seed": seed, "noise_scale": 0.1}
    wide = {"seed": seed, "noise_scale": 1.0}
    yield "noise", "bundled vgg", vgg, "smoothgrad", mine, wide


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    digits = preprocess(cluttered_digits(args.images, seed=args.seed, split="test").images)
    noise = np.random.default_rng(args.seed).normal(size=(args.images, 16, 16, 3))
    print("| difference | model | method | change | correlation |")
    print("|---|---|---|---|---|")
    for difference, name, model, method, default, compat in cases(args.seed):
        x = digits if "bundled" in name else noise.astype("float32")
        ours, theirs = (
            create_analyzer(method, model, **options).analyze(x).astype("float64")
            for options in (default, compat)
        )
        pairs = [(a.ravel(), b.ravel()) for a, b in zip(ours, theirs, strict=True) if np.ptp(b)]
        change = np.median([abs(a - b).max() / abs(b).max() for a, b in pairs])
        same = np.median([np.corrcoef(a, b)[0, 1] for a, b in pairs])
        cells = (difference, name, f"`{method}`", f"{change:.2g}", f"{same:.3f}")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
