"""Compare LRP of this package on Keras' PyTorch backend with zennit's on the same weights.

    pip install torch zennit
    KERAS_BACKEND=torch python benchmarks/against_zennit.py [--models vgg16 resnet50] [--batches 1 8]
        [--repeats 5] [--dtype float64] [--stabilizer 1e-14]

Random weights and normalization statistics, 224 px, seed 0, one process, one thread. The Keras
model is copied to PyTorch modules, with BatchNormalization folded into the convolution before it, as
zennit's canonizer does. Both start from the same logit. For each composite it prints the distance of
the maps, relative to the norm of zennit's, and the median seconds of interleaved repeats.
"""

import argparse
import functools
import os
import statistics
import time

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import torch
from torch import nn
from zennit.composites import EpsilonGammaBox, EpsilonPlus
from zennit.layer import Sum

import rap_keras

MODELS = {"vgg16": keras.applications.VGG16, "resnet50": keras.applications.ResNet50}
LOW, HIGH = -1.0, 1.0
# zennit distributes sums with their signs; the default here conserves relevance where they cancel.
COMPOSITES = {
    "lrp.epsilon_plus": (EpsilonPlus, {}, {"add": "signed"}),
    "lrp.epsilon_gamma_box": (
        EpsilonGammaBox,
        {"low": LOW, "high": HIGH},
        {"low": LOW, "high": HIGH, "add": "signed"},
    ),
}


class Copy(nn.Module):
    """A functional Keras model as PyTorch modules, channels first."""

    def __init__(self, model):
        super().__init__()
        self.steps, self.parts, self.padding = [], nn.ModuleDict(), {}
        convolutions = {}
        for layer in model.layers[1:]:
            sources = [
                t._keras_history.operation.name for t in layer._inbound_nodes[0].input_tensors
            ]
            modules = self._modules_of(layer, self.padding.get(sources[0], 0))
            if isinstance(layer, keras.layers.Conv2D):
                convolutions[layer.name] = modules[0]
            if isinstance(layer, keras.layers.BatchNormalization):
                _fold(layer, convolutions[sources[0]])
            self.parts[layer.name] = nn.Sequential(*modules)
            self.steps.append((layer.name, sources))
        self.source = model.layers[0].name

    def _modules_of(self, layer, padding):
        """The modules of a layer; padding before it is that of the module, as in PyTorch's models."""
        kind = type(layer).__name__
        activation = getattr(layer, "activation", None)
        relu = [nn.ReLU()] if getattr(activation, "__name__", "") == "relu" else []
        if kind == "Conv2D":
            padding = layer.kernel_size[0] // 2 if layer.padding == "same" else padding
            height = layer.kernel.shape
            made = nn.Conv2d(height[2], height[3], layer.kernel_size, layer.strides, padding)
            made.weight.data = _tensor(layer.kernel).permute(3, 2, 0, 1).contiguous()
            made.bias.data = _tensor(layer.bias)
            return [made, *relu]
        if kind == "Dense":
            made = nn.Linear(*layer.kernel.shape)
            kernel = _tensor(layer.kernel)
            before = layer._inbound_nodes[0].input_tensors[0]._keras_history.operation
            if isinstance(before, keras.layers.Flatten):  # from channels last to channels first
                rows, columns, channels = before.input.shape[1:]
                kernel = kernel.reshape(rows, columns, channels, -1).permute(2, 0, 1, 3)
                kernel = kernel.reshape(rows * columns * channels, -1)
            made.weight.data, made.bias.data = kernel.T.contiguous(), _tensor(layer.bias)
            return [made, *relu]
        if kind == "ZeroPadding2D":
            self.padding[layer.name] = layer.padding[0][0]
        return {
            "MaxPooling2D": lambda: [nn.MaxPool2d(layer.pool_size, layer.strides, padding)],
            "ZeroPadding2D": lambda: [nn.Identity()],
            "Flatten": lambda: [nn.Flatten()],
            "GlobalAveragePooling2D": lambda: [nn.AdaptiveAvgPool2d(1), nn.Flatten()],
            "BatchNormalization": lambda: [nn.Identity()],
            "Activation": lambda: relu,
            "Add": lambda: [Sum()],
        }[kind]()

    def forward(self, x):
        """The logits."""
        values = {self.source: x}
        for name, sources in self.steps:
            taken = [values[source] for source in sources]
            values[name] = self.parts[name](torch.stack(taken, -1) if len(taken) > 1 else taken[0])
        return values[name]


def _tensor(variable):
    return torch.as_tensor(keras.ops.convert_to_numpy(variable)).clone()


def _fold(layer, convolution):
    scale = _tensor(layer.gamma) / torch.sqrt(_tensor(layer.moving_variance) + layer.epsilon)
    convolution.weight.data *= scale[:, None, None, None]
    shifted = convolution.bias.data - _tensor(layer.moving_mean)
    convolution.bias.data = shifted * scale + _tensor(layer.beta)


def built(name):
    """The model, with random biases and statistics, because those of a new model change nothing."""
    keras.utils.set_random_seed(0)
    model = MODELS[name](weights=None, classifier_activation=None)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        drawn = {
            "bias": lambda shape: rng.normal(0, 0.05, shape),
            "beta": lambda shape: rng.normal(0, 0.05, shape),
            "moving_mean": lambda shape: rng.normal(0, 0.05, shape),
            "gamma": lambda shape: rng.uniform(0.8, 1.2, shape),
            "moving_variance": lambda shape: rng.uniform(0.8, 1.2, shape),
        }.get(variable.name)
        if drawn:
            variable.assign(drawn(variable.shape))
    return model


def by_zennit(network, composite, x, classes):
    taken = torch.as_tensor(x.transpose(0, 3, 1, 2)).contiguous().requires_grad_()
    with composite.context(network) as changed:
        logits = changed(taken)
        start = torch.zeros_like(logits)
        start[range(len(x)), classes] = logits.detach()[range(len(x)), classes]
        (relevance,) = torch.autograd.grad(logits, taken, start)
    return relevance.numpy().transpose(0, 2, 3, 1)


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument(
        "--stabilizer",
        type=float,
        default=1e-6,
        help="what zennit adds to denominators; this package adds nothing",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(getattr(torch, options.dtype))
    keras.config.set_floatx(options.dtype)
    print(
        "| model | composite | batch | distance | zennit, s | rap_keras, s | zennit / rap_keras |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in options.models:
        model = built(name)
        network = Copy(model).eval()
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        for method, (composite, theirs, given) in COMPOSITES.items():
            theirs = functools.partial(composite, stabilizer=options.stabilizer, **theirs)
            analyzer = rap_keras.create_analyzer(method, model, **given)
            for size in options.batches:
                distance, a, b = compare(network, theirs, analyzer, size, options.repeats)
                row = f"{distance:.1e} | {a:.2f} | {b:.2f} | {a / b:.2f}"
                print(f"| {name} | {method} | {size} | {row} |", flush=True)


def compare(network, composite, analyzer, size, repeats):
    """The distance of the maps of a batch, and the median seconds of zennit and of this package."""
    x = (
        np.random.default_rng(1)
        .uniform(LOW, HIGH, (size, 224, 224, 3))
        .astype(keras.config.floatx())
    )
    classes = np.arange(size)

    def theirs():
        return by_zennit(network, composite(), x, classes)

    def ours():
        return analyzer.analyze(x, classes)

    expected = theirs()
    distance = np.linalg.norm(ours() - expected) / np.linalg.norm(expected)
    pairs = [(timed(theirs), timed(ours)) for _ in range(repeats)]
    return distance, *(statistics.median(seconds) for seconds in zip(*pairs, strict=True))


if __name__ == "__main__":
    main()
