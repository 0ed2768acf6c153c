"""Print the cost of RAP inside iNNvestigate and of iNNvestigate's rules: one process, one thread.

    python benchmarks/cost_of_plugin.py [--models VGG16 ResNet50] [--batches 1 8] [--repeats 5]

Random weights, 224 px, seed 0; eager execution off. iNNvestigate's analyzers are built inside
`fast_building()`, which RAP does not need. Seconds are medians over interleaved repeats.
"""

import argparse
import contextlib
import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import innvestigate
import numpy as np
import psutil
import tensorflow as tf

from rap_keras.innvestigate import fast_building

METHODS = ("rap", "gradient", "lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1")


def resident_gb():
    return psutil.Process().memory_info().rss / 2**30


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(name, batches, repeats):
    tf.keras.utils.set_random_seed(0)
    model = getattr(tf.keras.applications, name)(weights=None, classifier_activation=None)
    rng = np.random.default_rng(0)
    images = {n: rng.uniform(-1, 1, (n, *model.input_shape[1:])).astype("float32") for n in batches}
    model.predict_on_batch(images[batches[0]])
    result = {"model": name, "GB before": resident_gb(), "build": {}}
    analyzers = {}
    for method in METHODS:
        analyzer = analyzers[method] = innvestigate.create_analyzer(method, model)
        with contextlib.nullcontext() if method == "rap" else fast_building():
            build = timed(analyzer.create_analyzer_model)
        memory = resident_gb()
        first = timed(lambda a=analyzer: a.analyze(images[batches[0]]))
        result["build"][method] = {
            "build, s": round(build, 2),
            "GB after building": round(memory, 2),
            "first call, s": round(first, 2),
        }
    for size, x in images.items():
        seconds = {method: [] for method in METHODS}
        for method in METHODS:
            analyzers[method].analyze(x)
        for _ in range(repeats):
            for method in METHODS:
                seconds[method].append(timed(lambda m=method, x=x: analyzers[m].analyze(x)))
        medians = {method: statistics.median(times) for method, times in seconds.items()}
        result[f"batch {size}"] = {
            method: {"s": round(s, 3), "of RAP": round(s / medians["rap"], 2)}
            for method, s in medians.items()
        }
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["VGG16", "ResNet50"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    tf.compat.v1.disable_eager_execution()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    print("TensorFlow", tf.__version__)
    for name in options.models:
        print(json.dumps(measure(name, options.batches, options.repeats), indent=2), flush=True)
        tf.keras.backend.clear_session()


if __name__ == "__main__":
    main()
