"""Print the cost of methods, as multiples of one forward pass of the same batch in one process.

    python benchmarks/cost_of_baselines.py [--model VGG16] [--batches 1 4] [--repeats 7] [--threads 1]
                                   [--methods lrp.epsilon rise:masks=16 ...]

Random weights, seed 0, 224 px, float32. The forward pass is a `tf.function` of the model up to its
logits. Repeats are interleaved: forward, first method, second method, ..., and again.
Times are processor seconds, so that other work on the machine matters less.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import rap_keras
from rap_keras.pipeline.methods import read_spec

METHODS = [
    "gradient",
    "input_t_gradient",
    "guided_backprop",
    "deconvnet",
    "lrp.z",
    "lrp.epsilon",
    "lrp.w_square",
    "lrp.flat",
    "lrp.alpha_1_beta_0",
    "lrp.alpha_2_beta_1",
    "lrp.z_plus",
    "lrp.z_plus_fast",
    "lrp.sequential_preset_a",
    "lrp.sequential_preset_b",
    "lrp.epsilon_plus",
    "lrp.epsilon_gamma_box",
    "deep_taylor",
    "rap",
    "deep_lift",
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "layer_cam",
    "integrated_gradients:steps=16",
    "smoothgrad:augment_by_n=16",
    "expected_gradients:draws=16",
    "occlusion:window=56:stride=56",
    "rise:masks=16",
]


def timed(call):
    start = time.process_time()
    call()
    return time.process_time() - start


def rows(name, methods, batches, repeats):
    """Lines of a Markdown table: ratios of the medians and of the minima, per method and batch."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, classifier_activation=None)

    @tf.function(reduce_retracing=True)
    def forward(x):
        return model(x, training=False)

    rng = np.random.default_rng(0)
    calls = {"forward": lambda x: forward(tf.constant(x)).numpy()}
    for method in methods:
        spec = read_spec(method)
        options = dict(spec.options)
        if spec.name == "expected_gradients":
            options["background"] = rng.uniform(-1, 1, (4, *model.input_shape[1:]))
        calls[method] = rap_keras.create_analyzer(spec.name, model, **options).analyze
    table = {method: [] for method in methods}
    seconds = {}
    for size in batches:
        x = rng.uniform(-1, 1, (size, *model.input_shape[1:])).astype("float32")
        for call in calls.values():
            call(x)
        times = {key: [] for key in calls}
        for _ in range(repeats):
            for key, call in calls.items():
                times[key].append(timed(lambda call=call, x=x: call(x)))
        seconds[size] = statistics.median(times["forward"])
        for method in methods:
            ratio = statistics.median(times[method]) / seconds[size]
            least = min(times[method]) / min(times["forward"])
            table[method] += [f"{ratio:.2f}", f"{least:.2f}"]
    passes = ", ".join(f"{1000 * s:.0f} ms at batch {size}" for size, s in seconds.items())
    yield f"{name}: a forward pass takes {passes}.\n"
    heads = [cell for n in batches for cell in (f"batch {n}, medians", f"batch {n}, minima")]
    yield f"| method | {' | '.join(heads)} |"
    yield "|---" * (1 + len(heads)) + "|"
    for method, cells in table.items():
        yield f"| `{method}` | {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="VGG16", help="a network of keras.applications")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="0: TensorFlow decides")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, threads: {options.threads}.\n")
    for row in rows(options.model, options.methods, options.batches, options.repeats):
        print(row, flush=True)


if __name__ == "__main__":
    main()
