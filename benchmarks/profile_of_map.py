"""Print where a map and a forward pass spend their time, by kind of operation (TensorFlow's profiler).

    python benchmarks/profile_of_map.py [--model ResNet50] [--methods forward rap] [--rows 8]

Random weights, seed 0, 224 px, batch 1, one thread; means of three calls after two.
"""

import argparse
import collections
import glob
import os
import tempfile
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import rap_keras

CALLS = 3


def milliseconds_by_operation(call: Callable[[], object]) -> collections.Counter[str]:
    """Milliseconds of each kind of operation in a call."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    call(), call()
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(CALLS):
                call()
        (path,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        space = xplane_pb2.XSpace()
        with open(path, "rb") as file:
            space.ParseFromString(file.read())
    found: collections.Counter[str] = collections.Counter()
    for plane in space.planes:
        names = {key: data.name for key, data in plane.event_metadata.items()}
        for event in (e for line in plane.lines for e in line.events if "CPU" in plane.name):
            name = names[event.metadata_id]
            # An operation is "its name:its kind"; "name: function" is a whole function, "::" and "$" are
            # the profiler's own marks.
            kind = name.rpartition(":")[2].partition("#")[0]
            if ":" in name and "::" not in name and name[0] != "$" and kind[0] != " ":
                found[kind] += event.duration_ps / 1e9 / CALLS
    return found


def main() -> None:
    """Print a table for each method."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="ResNet50", help="a network of keras.applications")
    parser.add_argument("--methods", nargs="+", default=["forward", "rap"])
    parser.add_argument("--rows", type=int, default=8)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, options.model)(weights=None, classifier_activation=None)
    shape = (1, *model.input_shape[1:])
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")
    forward = tf.function(lambda x: model(x, training=False), autograph=False)
    for method in options.methods:
        if method == "forward":
            found = milliseconds_by_operation(lambda: forward(tf.constant(x)).numpy())
        else:
            analyzer = rap_keras.create_analyzer(method, model)
            found = milliseconds_by_operation(lambda a=analyzer: a.analyze(x))
        whole = found.total()
        print(f"\n{options.model}, {method}: {whole:.0f} ms in operations\n")
        print("| operation | ms | share |\n|---|---|---|")
        for kind, spent in found.most_common(options.rows):
            print(f"| {kind} | {spent:.1f} | {100 * spent / whole:.0f} % |")


if __name__ == "__main__":
    main()
