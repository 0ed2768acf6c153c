"""Measure methods on an accelerator without TensorFlow: JAX runs the programs of XLA.

    python benchmarks/xla_programs.py write programs [--models VGG16 ResNet50] [--batches 1 32]
    python benchmarks/xla_programs.py run programs [--repeats 20] [--json FILE]

`write` compiles each method with `tf.function(jit_compile=True)`, as the option of an analyzer does. It
writes the StableHLO and the result of the CPU for one image. `run` needs only JAX and this file. It
compiles the programs for JAX's first device, compares their maps with those of the CPU, and times them
on arrays on the device. Random weights and images of 224 px, by NumPy's generator, seed 0.

The difference is |device - CPU| / |CPU|, with norms. With NVIDIA_TF32_OVERRIDE=0 in the environment, an
NVIDIA GPU computes in single precision; otherwise its libraries may choose TF32.
"""

import argparse
import gzip
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

FORWARD = "forward"
METHODS = [
    FORWARD,
    "gradient",
    "rap",
    "lrp.epsilon_plus",
    "lrp.alpha_1_beta_0",
    "lrp.alpha_2_beta_1",
]
CHECKED = 1
"""Size of the batch whose maps are compared."""


def weight(k: int, shape: Sequence[int]) -> np.ndarray:
    """The k-th weight of a model: He's scale for kernels, 0.5 to 1.5 for vectors."""
    rng = np.random.default_rng([0, k])
    if len(shape) < 2:
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    scale = np.float32(np.sqrt(2 / np.prod(shape[:-1])))
    return rng.standard_normal(shape, np.float32) * scale


def images(size: int, shape: Sequence[int]) -> np.ndarray:
    """The first images of the seed."""
    return np.random.default_rng(0).uniform(-1, 1, (size, *shape)).astype(np.float32)


def write(
    folder: Path, models: Sequence[str], methods: Sequence[str], batches: Sequence[int]
) -> None:
    """Write a program for each model, method and batch size."""
    import keras
    import tensorflow as tf

    import rap_keras

    folder.mkdir(parents=True)
    programs = []
    for name in models:
        keras.utils.clear_session()
        model = getattr(keras.applications, name)(weights=None, classifier_activation=None)
        shape = model.input_shape[1:]
        for k, variable in enumerate(model.weights):
            variable.assign(weight(k, variable.shape))
        places = {id(v.value.handle): k for k, v in enumerate(model.weights)}
        for method in methods:
            function = _function(rap_keras, tf, model, method)
            x = images(CHECKED, shape)
            expected = f"{name}-{method}.npy"
            np.save(folder / expected, function(x, np.zeros(CHECKED, np.int32)).numpy())
            for size in sorted({CHECKED, *batches}):
                given = tf.constant(images(size, shape)), tf.zeros(size, tf.int32)
                file = f"{name}-{method}-{size}.mlir.gz"
                program = function.experimental_get_compiler_ir(*given)(
                    stage="stablehlo_serialized"
                )
                (folder / file).write_bytes(gzip.compress(program))
                captured = function.get_concrete_function(*given).captured_inputs
                programs.append(
                    {
                        "model": name,
                        "method": method,
                        "batch": size,
                        "image": shape,
                        "file": file,
                        "timed": size in batches,
                        "expected": expected if size == CHECKED else None,
                        "weights": [
                            [k, list(model.weights[k].shape)]
                            for k in (places[id(handle)] for handle in captured)
                        ],
                    }
                )
            print(name, method, flush=True)
    (folder / "programs.json").write_text(json.dumps(programs))


def _function(rap_keras: Any, tf: Any, model: Any, method: str) -> Any:
    """Images and neurons => maps, or logits."""
    if method == FORWARD:
        return tf.function(lambda x, i: model(x, training=False), autograph=False, jit_compile=True)
    # Neuron 0 of each image: which of the random logits is the largest can depend on rounding.
    from rap_keras.inputs.target import Target

    analyzer = rap_keras.create_analyzer(method, model)
    return tf.function(
        lambda x, i: analyzer._explaining([x], Target("class", i))["maps"][0],
        autograph=False,
        jit_compile=True,
    )


def run(
    folder: Path, repeats: int, models: Sequence[str] | None, batches: Sequence[int] | None
) -> dict[str, Any]:
    """Compare and time the programs on JAX's first device."""
    import jax

    device = jax.devices()[0]
    found = []
    for program in json.loads((folder / "programs.json").read_text()):
        if program["batch"] not in (batches or [program["batch"]]):
            continue
        if program["model"] not in (models or [program["model"]]):
            continue
        code = gzip.decompress((folder / program["file"]).read_bytes())
        start = time.perf_counter()
        loaded = device.client.compile_and_load(code, jax._src.lib.xla_client.DeviceList((device,)))
        seconds_to_compile = time.perf_counter() - start
        arguments = [
            images(program["batch"], program["image"]),
            np.zeros(program["batch"], np.int32),
        ]
        arguments += [weight(k, shape) for k, shape in program["weights"]]
        placed = [jax.device_put(a, device) for a in arguments]
        (result,) = loaded.execute(placed)
        entry = {k: program[k] for k in ("model", "method", "batch")}
        if program["expected"] is not None:
            expected = np.load(folder / program["expected"])
            got = np.asarray(result)
            entry["difference"] = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
        if program["timed"]:
            entry["seconds to compile"] = seconds_to_compile
            entry["milliseconds"] = [_milliseconds(loaded, placed) for _ in range(repeats)]
        found.append(entry)
        print(json.dumps(entry), flush=True)
    return {"device": device.device_kind, "jax": jax.__version__, "programs": found}


def _milliseconds(loaded: Any, placed: list[Any]) -> float:
    start = time.perf_counter()
    for result in loaded.execute(placed):
        result.block_until_ready()
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    writes = commands.add_parser("write")
    writes.add_argument("folder", type=Path)
    writes.add_argument("--models", nargs="+", default=["VGG16", "ResNet50", "MobileNetV2"])
    writes.add_argument("--methods", nargs="+", default=METHODS)
    writes.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    runs = commands.add_parser("run")
    runs.add_argument("folder", type=Path)
    runs.add_argument("--models", nargs="+", help="only these")
    runs.add_argument("--batches", nargs="+", type=int, help="only these")
    runs.add_argument("--repeats", type=int, default=20)
    runs.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.command == "write":
        write(options.folder, options.models, options.methods, options.batches)
    else:
        result = run(options.folder, options.repeats, options.models, options.batches)
        if options.json:
            options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
