"""Print the time of a benchmark relative to its maps and forward passes, in one process.

    python benchmarks/cost_of_benchmark.py [--model mobilenetv2] [--images 16] [--metrics ...]

Ten methods on drawn scenes, with random weights, seed 0. The maps and the forward passes are timed where
the benchmark calls them; everything else is the benchmark itself: reading, metrics, storing, the report.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rap_keras.benchmark import explainers, report
from rap_keras.benchmark.measure import Bench
from rap_keras.benchmark.settings import Settings
from rap_keras.benchmark.store import Store

METHODS = (
    *("rap", "rap.epsilon", "lrp.epsilon_plus", "lrp.alpha_1_beta_0", "lrp.epsilon", "gradient"),
    *("input_t_gradient", "guided_backprop", "grad_cam", "hires_cam"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="mobilenetv2")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--metrics", default=",".join(Settings().metrics))
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    seconds, inside = Counter(), []

    def timed(name, function):
        def call(*args, **kwargs):
            inside.append(name)
            start = time.perf_counter()
            found = function(*args, **kwargs)
            inside.pop()
            if not inside:
                seconds[name] += time.perf_counter() - start
            return found

        return call

    native = explainers._Keras
    native.logits = timed("forward passes", native.logits)
    explainer = native.explainer
    native.explainer = lambda self, method: timed("maps", explainer(self, method))
    given = {
        "model": options.model,
        "weights": "none",
        "data": f"cluttered-digits:{2 * options.images}",
        "methods": METHODS,
        "metrics": tuple(options.metrics.split(",")),
        "steps": options.steps,
        "keep": "all",
        "controls": False,
    }
    if options.model.startswith("bundled:"):
        given |= {"weights": "imagenet", "keep": "correct"}
    settings = Settings(**given, limit=options.images + Settings().chunk, figures=0)
    bench = Bench(settings)
    first, *chunks = bench.chunks
    with tempfile.TemporaryDirectory() as folder:
        with Store(Path(folder), bench.protocol() | {"shard": [1, 1]}) as store:
            store.add(bench.measure(bench.read(first)))  # compiles
            seconds.clear()
            start = time.perf_counter()
            for chunk in chunks:
                store.add(bench.measure(bench.read(chunk)))
        report(folder)
        spent = {"whole": time.perf_counter() - start} | seconds
    needed = spent["maps"] + spent["forward passes"]
    print(f"{options.model}: {options.images} images, {len(METHODS)} methods")
    for name, value in spent.items():
        print(f"{name:15} {value:8.2f} s")
    print(f"{'ratio':15} {spent['whole'] / needed:8.3f}")


if __name__ == "__main__":
    main()
