"""Train the two classifiers that ship with rap_keras, on cluttered digits.

Example: python scripts/train_embedded.py --model all --out rap_keras/assets
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from keras import layers

from rap_keras.datasets.cluttered_digits import Scenes, cluttered_digits, preprocess
from rap_keras.models.embedded import arrays, build_residual, build_vgg

BATCH = 32
TRAIN_SCENES = 12_000
UNSEEN_SEED = 12345


def fold(normalised: keras.Model) -> keras.Model:
    """The plain model that computes the same as a trained `build_vgg(normalised=True)`."""
    weights = []
    for layer in normalised.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            scale = gamma / np.sqrt(variance + layer.epsilon)
            kernel, bias = weights[-2:]
            weights[-2:] = [kernel * scale, (bias - mean) * scale + beta]
        else:
            weights += layer.get_weights()
    plain = build_vgg()
    plain.set_weights(weights)
    return plain


def batches(scenes: Scenes, seed: int, fade_steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shuffled training batches without end, each scene in other colours every time.

    The scenes fade in over the first `fade_steps` batches, from white digits on black: with all
    the clutter from the start, training stays at chance.
    """
    rng = np.random.default_rng(seed)
    step = 0
    while True:
        order = rng.permutation(len(scenes.images))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            images = scenes.images[chosen][..., rng.permutation(3)]
            share = min(1.0, step / fade_steps)
            if share < 1:
                plain = 255 * scenes.masks[chosen][..., None]
                images = (share * images + (1 - share) * plain).astype(np.uint8)
            yield preprocess(images), scenes.labels[chosen]
            step += 1


def accuracy(model: keras.Model, n: int = 1000) -> float:
    """The share of unseen scenes that the model names correctly."""
    scenes = cluttered_digits(n, seed=UNSEEN_SEED, split="test")
    logits = model.predict(preprocess(scenes.images), batch_size=100, verbose=0)
    return float(np.mean(logits.argmax(axis=1) == scenes.labels))


def train(name: str, scenes: Scenes, seed: int, epochs: int) -> keras.Model:
    """Train one classifier."""
    keras.utils.set_random_seed(seed)
    model = build_vgg(normalised=True) if name == "vgg" else build_residual()
    steps = len(scenes.images) // BATCH
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, epochs * steps - 200, warmup_target=2e-3, warmup_steps=200
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # Compiling makes these small models slower on a CPU.
    )
    model.fit(
        batches(scenes, seed, fade_steps=epochs * steps // 3),
        steps_per_epoch=steps,
        epochs=epochs,
        shuffle=False,
        verbose=2,
    )
    if name == "vgg":
        return fold(model)
    return model


def main() -> None:
    """Train, report the accuracy on unseen scenes, and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=["vgg", "residual", "all"], default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("rap_keras/assets"), help="a folder")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    scenes = cluttered_digits(TRAIN_SCENES, seed=args.seed, split="train")
    for name in ["vgg", "residual"] if args.model == "all" else [args.model]:
        started = time.perf_counter()
        model = train(name, scenes, args.seed, args.epochs)
        minutes = (time.perf_counter() - started) / 60
        path = args.out / f"{model.name}.npz"
        np.savez_compressed(path, **arrays(model))
        print(
            f"{name}: {accuracy(model):.1%} of 1000 unseen scenes, {model.count_params():,} "
            f"parameters, {path.stat().st_size / 1e3:.0f} kB, {minutes:.1f} min"
        )


if __name__ == "__main__":
    main()
