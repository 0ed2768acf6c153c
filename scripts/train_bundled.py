"""Train the bundled models of rap_keras on cluttered digits.

Examples:
    python scripts/train_bundled.py --model all --out rap_keras/assets
    python scripts/train_bundled.py --model vgg-deletion --out rap_keras/assets
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from rap_keras.datasets.cluttered_digits import Scenes, cluttered_digits, preprocess
from rap_keras.datasets.drawing import SIZE
from rap_keras.evaluation import cell_mask
from rap_keras.models.architectures import (
    build_convnext,
    build_residual,
    build_segmentation,
    build_vgg,
    build_vit,
)
from rap_keras.models.bundled import DELETION, STEP, arrays, asset, changed, load, packed

UNSEEN_SEED = 12345
CELLS = [(row, column) for row in range(4) for column in range(4)]
PATCHES = np.stack([cell_mask((SIZE, SIZE), cell, (4, 4)) for cell in CELLS])[..., np.newaxis]


@dataclass(frozen=True)
class Recipe:
    """How a model is trained: AdamW, with a warm-up and a cosine decay to 0."""

    build: Callable[[], keras.Model]
    scenes: int = 12_000
    epochs: int = 12
    batch: int = 32
    rate: float = 2e-3
    decay: float = 1e-3
    smoothing: float = 0.0  # Of the labels.
    segments: bool = False  # A class for each pixel, not for the scene.
    bits: int = 24  # Significant bits of the stored weights.
    deletes: bool = False  # Fine-tune a trained model on scenes without a patch.
    coarse: int = 1  # The unit of the stored differences from that model, in steps.
    least: float = 0.0  # Smaller differences are stored as 0.
    kept: tuple[str, ...] = ()  # Arrays that stay as they were.


LONG: dict[str, Any] = {
    **{"scenes": 40_000, "epochs": 20, "batch": 64, "rate": 1e-3, "decay": 0.05},
    **{"smoothing": 0.1, "bits": 8},
}
RECIPES = {
    "vgg": Recipe(lambda: build_vgg(normalised=True)),
    "residual": Recipe(build_residual),
    "convnext": Recipe(build_convnext, **LONG),
    "vit": Recipe(build_vit, **LONG),
    "segmentation": Recipe(build_segmentation, epochs=10, segments=True, bits=8),
}
for name, given in {
    "vgg": {"epochs": 4, "rate": 5e-4, "coarse": 2, "least": 0.6 / 64, "kept": ("fc1/0",)},
    "residual": {"epochs": 3, "rate": 2e-4, "least": 0.8 / 128},
}.items():
    RECIPES[name + DELETION] = replace(
        RECIPES[name], build=partial(load, name), deletes=True, **given
    )


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


def targets(scenes: Scenes, recipe: Recipe) -> np.ndarray:
    """The digit of each scene, or of each pixel (0 is the background, 1 to 10 the digits)."""
    if not recipe.segments:
        return scenes.labels
    return (scenes.masks * (1 + scenes.labels[:, None, None])).astype(np.uint8)


def batches(
    scenes: Scenes, recipe: Recipe, seed: int, fade_steps: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless shuffled training batches; a scene has different colours each time.

    The scenes fade in over the first `fade_steps` batches, from white digits on black: with all
    the clutter from the start, training stays at chance.
    """
    rng = np.random.default_rng(seed)
    wanted = targets(scenes, recipe)
    step = 0
    while True:
        order = rng.permutation(len(scenes.images))
        for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
            chosen = order[start : start + recipe.batch]
            images = scenes.images[chosen][..., rng.permutation(3)]
            if step < fade_steps:
                share = step / fade_steps
                plain = 255 * scenes.masks[chosen][..., None]
                images = (share * images + (1 - share) * plain).astype(np.uint8)
            x = preprocess(images)
            if recipe.deletes:  # In half of the scenes, as in Hesse et al. (arXiv 2407.11910).
                removed = PATCHES[rng.integers(len(PATCHES), size=len(x))]
                x = np.where(removed & (rng.random((len(x), 1, 1, 1)) < 0.5), 0, x)
            yield x, wanted[chosen]
            step += 1


def cross_entropy(recipe: Recipe) -> Callable[[Any, Any], Any]:
    """The loss: cross-entropy, with smoothed labels if the recipe says so."""
    if recipe.smoothing == 0:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    smoothed = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=recipe.smoothing
    )
    return lambda y, logits: smoothed(keras.ops.one_hot(keras.ops.reshape(y, (-1,)), 10), logits)


def accuracy(model: keras.Model, recipe: Recipe, deletes: bool = False, n: int = 1000) -> str:
    """The share of unseen scenes that are named correctly, or the mean IoU of their pixels.

    If `deletes`, the mean over scenes without each of the 16 patches.

    The IoU of a class is over the pixels of all scenes together; the mean is over the background and
    the ten digits.
    """
    scenes = cluttered_digits(n, seed=UNSEEN_SEED, split="test")
    x, wanted = preprocess(scenes.images), targets(scenes, recipe)

    def found(x: np.ndarray) -> np.ndarray:
        return model.predict(x, batch_size=100, verbose=0).argmax(axis=-1)

    if deletes:
        right = [np.mean(found(np.where(patch, 0, x)) == wanted) for patch in PATCHES]
        return f"{np.mean(right):.1%} of {n} unseen scenes without a patch"
    if not recipe.segments:
        return f"{np.mean(found(x) == wanted):.1%} of {n} unseen scenes"
    classes = np.arange(11)[:, None, None, None]
    named = found(x)
    both = np.sum((named == classes) & (wanted == classes), axis=(1, 2, 3))
    either = np.sum((named == classes) | (wanted == classes), axis=(1, 2, 3))
    return f"mean IoU {np.mean(both / either):.3f} on {n} unseen scenes"


def accuracies(model: keras.Model, recipe: Recipe) -> str:
    """The accuracy, and if the recipe deletes patches also that without a patch."""
    return ", ".join(accuracy(model, recipe, d) for d in sorted({False, recipe.deletes}))


def rounded(array: np.ndarray, bits: int) -> np.ndarray:
    """Weights as stored. With few significant bits they are in half precision, which compresses well."""
    if bits > 11:
        return array
    fraction, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.round(np.ldexp(fraction, bits)), exponent - bits).astype(np.float16)


def changes(
    weights: dict[str, np.ndarray], before: dict[str, np.ndarray], recipe: Recipe
) -> dict[str, np.ndarray]:
    """The differences of fine-tuned weights, as stored: rounded coarsely, so that the file is small."""
    flat = np.concatenate(
        [(weights[k] - a).ravel() * (k not in recipe.kept) for k, a in before.items()]
    )
    steps = np.round(flat / (recipe.coarse * STEP)) * recipe.coarse
    steps = np.where(np.abs(flat) < recipe.least, 0, steps).astype(np.int8)
    return {"where": np.packbits(steps != 0), "steps": steps[steps != 0]}


def train(name: str, seed: int) -> keras.Model:
    """Train one model."""
    recipe = RECIPES[name]
    scenes = cluttered_digits(recipe.scenes, seed=seed, split="train")
    keras.utils.set_random_seed(seed)
    model = recipe.build()
    steps = len(scenes.images) // recipe.batch
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, recipe.epochs * steps - 200, warmup_target=recipe.rate, warmup_steps=200
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=recipe.decay),
        cross_entropy(recipe),
        metrics=["accuracy"],
        jit_compile=False,  # Compiling makes these small models slower on a CPU.
    )
    model.fit(
        batches(scenes, recipe, seed, 0 if recipe.deletes else recipe.epochs * steps // 3),
        steps_per_epoch=steps,
        epochs=recipe.epochs,
        shuffle=False,
        verbose=2,
    )
    if name == "vgg":
        return fold(model)
    return model


def main() -> None:
    """Train, report the accuracy on unseen scenes, and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=[*RECIPES, "all"], default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("rap_keras/assets"), help="a folder")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in RECIPES if args.model == "all" else [args.model]:
        started = time.perf_counter()
        model = train(name, args.seed)
        minutes = (time.perf_counter() - started) / 60
        path = args.out / asset(name)
        recipe, weights = RECIPES[name], arrays(model)
        if recipe.deletes:
            base = load(name.removesuffix(DELETION))
            before = arrays(base)
            stored = changes(weights, before, recipe)
            weights = changed(before, **stored)
        else:
            rough = {key: rounded(a, recipe.bits) for key, a in weights.items()}
            weights = {key: array.astype(np.float32) for key, array in rough.items()}
            stored = {key: packed(array) for key, array in rough.items()}
        np.savez_compressed(path, **stored)
        model.set_weights(list(weights.values()))
        print(
            f"{name}: {accuracies(model, recipe)}, {model.count_params():,} parameters, "
            f"{path.stat().st_size / 1e3:.0f} kB, {minutes:.1f} min"
        )
        if recipe.deletes:
            print(f"before: {accuracies(base, recipe)}")


if __name__ == "__main__":
    main()
