"""Models and data that patterns are estimated from, and the estimation by loops over patches."""

import itertools

import keras
import numpy as np
from keras import layers
from PIL import Image

from helpers.compare import FLOAT64, assert_same
from helpers.networks import biased
from rap_keras import patterns
from rap_keras.analyzers.pattern import PatternAttributionAnalyzer, PatternNetAnalyzer
from rap_keras.patterns.statistics import Statistics

ANALYZERS = {"pattern.net": PatternNetAnalyzer, "pattern.attribution": PatternAttributionAnalyzer}


def sequential(shape, *chain, dtype="float32"):
    """A chain of layers with random biases, so that a missing bias shows."""
    with_dtype = keras.config.dtype_policy().name
    keras.config.set_dtype_policy(dtype)
    model = keras.Sequential([keras.Input(shape, dtype=dtype), *(make() for make in chain)])
    keras.config.set_dtype_policy(with_dtype)
    return biased(model)


def classifier(*chain, shape=(9, 9, 3), **options):
    end = (layers.Flatten, lambda: layers.Dense(4, name="dense"))
    return sequential(shape, *chain, *end, **options)


def fit(model, x, pattern_type="relu", **options):
    return patterns.fit(model, x, pattern_type, progress=False, **options)


def images(rng, count=20, shape=(9, 9, 3), dtype="float32"):
    return rng.normal(0.3, 1, (count, *shape)).astype(dtype)


def patches(x, kernel_size, strides=1, padding="valid", dilation=1):
    """Every patch of x (batch, *space, channels) in float64, by loops: (cases, *kernel, channels)."""
    x, rank = np.asarray(x, np.float64), len(kernel_size)
    reach = [(k - 1) * dilation + 1 for k in kernel_size]
    if padding == "same":
        total = [
            max((-(-n // strides) - 1) * strides + r - n, 0)
            for n, r in zip(x.shape[1:-1], reach, strict=True)
        ]
        margins = [(t // 2, t - t // 2) for t in total]
    else:
        margins = [((r - 1) if padding == "causal" else 0, 0) for r in reach]
    x = np.pad(x, [(0, 0), *margins, (0, 0)])
    starts = [range(0, n - r + 1, strides) for n, r in zip(x.shape[1:-1], reach, strict=True)]
    found = []
    for sample, *corner in itertools.product(range(len(x)), *starts):
        patch = np.zeros((*kernel_size, x.shape[-1]))
        for offset in itertools.product(*map(range, kernel_size)):
            place = [corner[k] + dilation * offset[k] for k in range(rank)]
            patch[offset] = x[(sample, *place)]
        found.append(patch)
    return np.stack(found)


def loop_pattern(cases, kernel, bias, pattern_type, active=None):
    """The pattern of every neuron by the definition, case by case."""
    pattern = np.zeros(kernel.shape)
    for j in range(kernel.shape[-1]):
        w = np.asarray(kernel[..., j], np.float64)
        y = np.array([(case * w).sum() for case in cases])
        on = y + bias[j] > 0 if active is None else active[:, j]
        chosen = {
            "linear": np.full(len(y), True),
            "relu": on,
            "relu.positive": on,
            "relu.negative": ~on,
        }[pattern_type]
        if chosen.any():
            mean_x = cases[chosen].mean(0)
            mean_xy = np.mean(
                [case * v for case, v in zip(cases[chosen], y[chosen], strict=True)], 0
            )
            covariance = mean_xy - mean_x * y.mean()
            pattern[..., j] = covariance / (w * covariance).sum()
    return pattern


def scale_and_shift(layer):
    gamma, beta, mean, variance = layer.get_weights()
    scale = gamma / np.sqrt(variance + layer.epsilon)
    return scale, beta - mean * scale


def residual_block(sum_is_activated):
    x = inputs = keras.Input((6, 6, 4), dtype="float64")
    x = layers.Conv2D(4, 1, name="conv", dtype="float64")(x)
    x = layers.BatchNormalization(name="bn", dtype="float64")(x)
    x = layers.Add(name="add", dtype="float64")([x, inputs])
    x = layers.ReLU(dtype="float64")(x) if sum_is_activated else layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D(dtype="float64")(x)
    return biased(keras.Model(inputs, layers.Dense(3, dtype="float64")(x)))


def assert_equal_patterns(found, expected, tolerance=FLOAT64):
    assert list(found) == list(expected)
    for name in expected:
        assert_same(found[name], expected[name], tolerance)


def gathered(model, x, pattern_type=None):
    statistics = Statistics(model, pattern_type)
    statistics.feed(x, progress=False)
    return statistics


def save_photographs(folder, rng):
    """Five images of the size of small photographs."""
    folder.mkdir()
    for k in range(5):
        pixels = rng.integers(0, 256, (70, 80, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return folder
