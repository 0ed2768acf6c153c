"""Print the cost of maps, time and memory, in one process and one thread, on Keras' backend.

    KERAS_BACKEND=torch python benchmarks/cost_of_rap.py [--models vgg16 resnet50 ...] [--batches 1 8]
        [--methods rap lrp.epsilon_plus ...] [--repeats 5] [--clock processor] [--json FILE]

Random weights, 224 px, seed 0. Every number is a median over interleaved repeats. Times are compared
with the gradient of the same model as a user of the backend would write it: a `tf.function` around
`tf.GradientTape`, a `jax.jit` around `jax.grad`, or PyTorch's `backward`.
"""

import argparse
import json
import os
import resource
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


import keras
import numpy as np
import psutil
from keras import layers

import rap_keras
from rap_keras.models.architectures import ClassToken, PositionEmbedding

BACKEND = keras.backend.backend()


def vit_b16(weights=None, classifier_activation=None):
    """ViT-B/16 (Dosovitskiy et al. 2021) made of layers of Keras."""
    assert weights is None
    inputs = keras.Input((224, 224, 3))
    x = layers.Reshape((196, 768))(layers.Conv2D(768, 16, strides=16)(inputs))
    x = PositionEmbedding()(ClassToken()(x))
    for _ in range(12):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(12, 64)(y, y)])
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.Dense(768)(layers.Dense(3072, activation="gelu")(y))])
    x = layers.LayerNormalization(epsilon=1e-6)(x)[:, 0]
    return keras.Model(inputs, layers.Dense(1000, activation=classifier_activation)(x))


MODELS = {
    "vgg16": keras.applications.VGG16,
    "resnet50": keras.applications.ResNet50,
    "mobilenetv2": keras.applications.MobileNetV2,
    "efficientnetb0": keras.applications.EfficientNetB0,
    "densenet121": keras.applications.DenseNet121,
    "convnexttiny": keras.applications.ConvNeXtTiny,
    "vitb16": vit_b16,
}


def one_thread():
    """Must be called before anything is computed."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    elif BACKEND == "torch":
        import torch

        torch.set_num_threads(1)
    else:  # with a single thread, JAX computes convolutions in another, slower way
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def plain_functions(model):
    """The forward pass and the gradient as a user of the backend would write them, from arrays."""
    return {"tensorflow": of_tensorflow, "jax": of_jax, "torch": of_torch}[BACKEND](model)


def of_tensorflow(model):
    import tensorflow as tf

    @tf.function(reduce_retracing=True)
    def forward(x):
        return model(x, training=False)

    @tf.function(reduce_retracing=True)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            top = tf.reduce_max(model(x, training=False), -1)
        return tape.gradient(top, x)

    return lambda x: forward(tf.constant(x)).numpy(), lambda x: gradient(tf.constant(x)).numpy()


def of_jax(model):
    import jax

    trained = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]

    @jax.jit
    def forward(trained, others, x):
        return model.stateless_call(trained, others, x, training=False)[0]

    gradient = jax.jit(
        jax.grad(lambda x, trained, others: forward(trained, others, x).max(-1).sum())
    )
    return (
        lambda x: np.asarray(forward(trained, others, x)),
        lambda x: np.asarray(gradient(x, trained, others)),
    )


def of_torch(model):
    import torch

    for parameter in model.parameters():
        parameter.requires_grad_(False)

    @torch.no_grad()
    def forward(x):
        return model(torch.as_tensor(x), training=False).cpu().numpy()

    def gradient(x):
        x = torch.as_tensor(x).requires_grad_()
        model(x, training=False).amax(-1).sum().backward()
        return x.grad.cpu().numpy()

    return forward, gradient


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def timed(call, clock=time.perf_counter):
    start = clock()
    call()
    return clock() - start


def resident_mb():
    return psutil.Process().memory_info().rss / 2**20


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name, methods, batches, repeats, clock):
    keras.utils.set_random_seed(0)
    model = MODELS[name](weights=None, classifier_activation=None)
    rng = np.random.default_rng(0)
    images = {n: rng.uniform(-1, 1, (n, *model.input_shape[1:])).astype("float32") for n in batches}
    forward, gradient = plain_functions(model)
    calls = {"forward": forward, "gradient": gradient}

    first = images[batches[0]]
    calls["forward"](first)
    one_pass = statistics.median(timed(lambda: calls["forward"](first)) for _ in range(repeats))
    calls["gradient"](first)
    before = peak_mb()
    analyzers = {}

    def first_call():
        analyzers["rap"] = rap_keras.create_analyzer("rap", model)
        analyzers["rap"].analyze(first)

    first_seconds = timed(first_call)
    for method in methods:
        analyzers[f"{method} analyzer"] = rap_keras.create_analyzer(method, model)
    calls |= {key: analyzer.analyze for key, analyzer in analyzers.items()}
    result = {
        "model": name,
        "first call, s": first_seconds,
        "first call allowed, s": 10 * one_pass + 10,
        "peak memory, MB": {"before RAP": before, "after the first RAP call": peak_mb()},
        "batches": {},
    }
    for size, x in images.items():
        for call in calls.values():
            call(x)
        seconds = {key: [] for key in calls}
        for _ in range(repeats):
            for key, call in calls.items():
                seconds[key].append(timed(lambda call=call, x=x: call(x), clock))
        medians = {key: statistics.median(values) for key, values in seconds.items()}
        ratios = [r / g for r, g in zip(seconds["rap"], seconds["gradient"], strict=True)]
        result["batches"][size] = {
            "seconds": medians,
            "rap / gradient": medians["rap"] / medians["gradient"],
            "in gradients": {k: round(v / medians["gradient"], 2) for k, v in medians.items()},
            "rap / gradient, each repeat": [round(min(ratios), 3), round(max(ratios), 3)],
        }
    result["peak memory, MB"]["after all batches"] = peak_mb()
    settled = resident_mb()
    for _ in range(50):
        analyzers["rap"].analyze(first)
    result["growth over 50 calls, MB"] = resident_mb() - settled
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["vgg16", "resnet50"])
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["gradient", "lrp.epsilon_plus", "lrp.alpha_2_beta_1"],
        help="methods to compare with RAP",
    )
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="processor: without the time in which other processes had the core",
    )
    parser.add_argument("--json", help="also write the numbers to this file")
    options = parser.parse_args()
    one_thread()
    results = []
    for name in options.models:
        clock = CLOCKS[options.clock]
        result = measure(name, options.methods, options.batches, options.repeats, clock)
        results.append(result)
        print(json.dumps(result, indent=2), flush=True)
        keras.utils.clear_session()
    if options.json:
        with open(options.json, "w") as file:
            versions = {"backend": BACKEND, "keras": keras.__version__}
            json.dump(versions | {"results": results}, file, indent=2)


if __name__ == "__main__":
    main()
