"""Print images per second of the benchmark and of its bare maps and forward passes, in one process.

    python benchmarks/throughput.py [--model MobileNetV2] [--images 16] [--chunks 8 1] [--steps 40]

Random weights and images of 224 px, seed 0; the paper's methods and measures. "whole" is the work of
`rap-keras benchmark` from the first image on: reading, maps, measures and the store, without loading the
model and tracing. "bare" is the work that it cannot avoid, on arrays in memory: the maps of each method,
the forward pass of the images and the forward passes of the LeRF curves, in batches of one size. Both
run in turns, chunk by chunk.
"""

import argparse
import collections
import contextlib
import io
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from PIL import Image

import rap_keras
from rap_keras.benchmark import Settings
from rap_keras.benchmark.filling import ahead
from rap_keras.benchmark.measure import Bench
from rap_keras.benchmark.store import Store

METHODS = (
    *("rap", "lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1", "gradient", "input_t_gradient"),
    *("integrated_gradients:steps=16", "guided_backprop"),
)
METRICS = ("ratio", "segmentation", "lerf")


def write_data(folder: Path, images: int) -> None:
    """Write images of noise, with a square in the middle as the object."""
    rng = np.random.default_rng(0)
    mask = np.zeros((224, 224), np.uint8)
    mask[64:160, 64:160] = 255
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for k in range(images):
        pixels = rng.integers(0, 256, (224, 224, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{k}.png")
        Image.fromarray(mask).save(folder / f"masks/{k}.png")


def seconds(step: Iterator[object]) -> float:
    """Seconds of the next step."""
    start = time.perf_counter()
    next(step)
    return time.perf_counter() - start


def whole(bench: Bench, out: Path) -> Iterator[None]:
    """The benchmark, chunk by chunk."""
    with Store(out, bench.protocol() | {"shard": [1, 1]}) as store:
        for readings in ahead(bench.read, bench.chunks):
            store.add(bench.measure(readings))
            yield


def bare(bench: Bench) -> Iterator[None]:
    """Its maps and forward passes."""
    settings = bench.settings
    analyzers = []
    for text in settings.methods:
        name, *options = text.split(":")
        given = {key: int(value) for key, value in (option.split("=") for option in options)}
        analyzers.append(rap_keras.create_analyzer(name, bench.scenes.loaded.network, **given))
    rng = np.random.default_rng(0)
    for chunk in bench.chunks:
        x = rng.normal(size=(len(chunk), 224, 224, 3)).astype("float32")
        # One step of a curve is the image's own forward pass.
        passes = len(chunk) * len(bench.maker.rows) * settings.steps
        batch = np.resize(x, (settings.batch_size, *x.shape[1:]))
        bench.scenes.loaded.logits(x)
        for analyzer in analyzers:
            analyzer.analyze(x)
        for _ in range(math.ceil(passes / settings.batch_size)):
            bench.scenes.loaded.logits(batch)
        yield


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="MobileNetV2", help="a network of keras.applications")
    parser.add_argument("--images", type=int, default=16, help="after the first chunk")
    parser.add_argument("--chunks", type=int, nargs="+", default=[8, 1])
    parser.add_argument("--steps", type=int, default=40, help="of LeRF")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    options = parser.parse_args()
    count = len(options.methods)
    print(f"{options.model}, {count} methods and 3 controls, LeRF of {options.steps} steps\n")
    print("| chunk | images per second | bare | overhead |\n|---|---|---|---|")
    for size in options.chunks:
        keras.utils.set_random_seed(0)
        with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()):
            folder = Path(name)
            write_data(folder, options.images + size)
            bench = Bench(
                Settings(
                    model=options.model.lower(),
                    weights="none",
                    data=f"folder:{folder}",
                    methods=tuple(options.methods),
                    metrics=METRICS,
                    steps=options.steps,
                    chunk=size,
                    figures=0,
                )
            )
            spent: collections.Counter[str] = collections.Counter()
            sides = {"whole": whole(bench, folder / "out"), "bare": bare(bench)}
            for k in range(len(bench.chunks)):
                for side, steps in sides.items():
                    taken = seconds(steps)
                    spent[side] += taken if k else 0.0  # the first chunk traces
        rates = [options.images / spent[side] for side in sides]
        overhead = 100 * (spent["whole"] / spent["bare"] - 1)
        print(f"| {size} | {rates[0]:.3f} | {rates[1]:.3f} | {overhead:+.1f} % |", flush=True)


if __name__ == "__main__":
    main()
