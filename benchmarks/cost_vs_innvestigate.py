"""Compare the cost of LRP here and in iNNvestigate: processor seconds and peak memory.

    python benchmarks/cost_vs_innvestigate.py [--model VGG16] [--batch 1] [--repeats 5]

Random weights, seed 0, one thread. Each side has a separate process for each method. They run in turns
(here, there, here, there), and each waits while the other computes. Seconds are processor seconds, the
minimum over the repeats. Peak memory is that of the process after a forward pass alone and after its
first map.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

METHODS = [
    "lrp.z",
    "lrp.epsilon",
    "lrp.w_square",
    "lrp.flat",
    "lrp.alpha_2_beta_1",
    "lrp.alpha_1_beta_0",
    "lrp.z_plus",
    "lrp.z_plus_fast",
    "lrp.sequential_preset_a",
    "lrp.sequential_preset_b",
    "deep_taylor",
]


def timed(call):
    start = time.process_time()
    call()
    return time.process_time() - start


def peak_gb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def serve(side, name, batch):
    """Run each method named on stdin and write its seconds and the peak memory to stdout."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if side == "innvestigate":
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if side == "innvestigate":
        tf.compat.v1.disable_eager_execution()
        import innvestigate

        from rap_keras.innvestigate import fast_building

        keras = tf.keras
    else:
        import keras

        import rap_keras

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, classifier_activation=None)
    shape = (batch, *model.input_shape[1:])
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")
    model.predict_on_batch(x)
    analyzers = {}

    def first(method):
        if side == "innvestigate":
            analyzers[method] = innvestigate.create_analyzer(method, model)
            with fast_building():
                analyzers[method].create_analyzer_model()
        else:
            analyzers[method] = rap_keras.create_analyzer(method, model)
        analyzers[method].analyze(x)

    print(json.dumps(peak_gb()), flush=True)
    for line in sys.stdin:
        method = line.strip()
        if method not in analyzers:
            seconds = timed(lambda m=method: first(m))
        else:
            seconds = timed(lambda m=method: analyzers[m].analyze(x))
        print(json.dumps([seconds, peak_gb()]), flush=True)


class Side:
    """One side in a separate process, idle until it runs a method."""

    def __init__(self, side, name, batch):
        command = [
            sys.executable,
            __file__,
            "--serve",
            side,
            "--model",
            name,
            "--batch",
            str(batch),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.before = self._answer()

    def _answer(self):
        return json.loads(self._process.stdout.readline())

    def run(self, method):
        """Run a method and return its seconds and the peak memory so far."""
        self._process.stdin.write(method + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self):
        """End the process."""
        self._process.stdin.close()
        self._process.wait()


SIDES = ("here", "innvestigate")
COLUMNS = [
    *("method", "seconds here", "seconds there", "faster"),
    *("GB here: forward", "map", "GB there: forward", "map"),
]


def measure(name, methods, batch, repeats):
    """Measure one method at a time, so that only two analyzers are in memory."""
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    for method in methods:
        sides = [Side(side, name, batch) for side in SIDES]
        peaks = [side.run(method)[1] for side in sides]
        for side in sides:
            side.run(method)
        rounds = [[side.run(method)[0] for side in sides] for _ in range(repeats)]
        here, there = (min(seconds) for seconds in zip(*rounds, strict=True))
        numbers = [here, there, there / here]
        for peak, side in zip(peaks, sides, strict=True):
            numbers += [side.before, peak]
        cells = [f"{number:.2f}" for number in numbers]
        print(f"| `{method}` | {' | '.join(cells)} |", flush=True)
        for side in sides:
            side.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="VGG16", help="a network of keras.applications")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.model, options.batch)
    else:
        measure(options.model, options.methods, options.batch, options.repeats)


if __name__ == "__main__":
    main()
