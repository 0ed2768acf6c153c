"""Kernel layers in every configuration that can run on a CPU, small enough for loops."""

import functools
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest

from helpers import reference
from helpers.tensors import BACKEND, array, graphed

L = keras.layers
BATCH = 3
VERSION = tuple(int(part) for part in keras.__version__.split(".")[:2])


@dataclass(frozen=True)
class Case:
    """One layer configuration. `make` takes a dtype; `shape` is one sample's."""

    name: str
    make: Callable[..., Any]
    shape: tuple[int, ...]

    def __repr__(self) -> str:
        return self.name


def _case(name, cls, shape, *args, **options):
    return Case(name, functools.partial(cls, *args, **options), shape)


CASES = [
    _case("dense", L.Dense, (7,), 5),
    _case("dense_no_bias", L.Dense, (6,), 4, use_bias=False),
    _case("dense_rank3", L.Dense, (3, 4), 5),
    _case("dense_rank4", L.Dense, (2, 3, 4), 3),
    _case("einsum_sequence", L.EinsumDense, (3, 4), "abc,cd->abd", (3, 5), bias_axes="d"),
    _case("einsum_heads", L.EinsumDense, (3, 4), "abc,cde->abde", (3, 2, 3), bias_axes="de"),
    _case("einsum_merging_heads", L.EinsumDense, (3, 2, 4), "abcd,cde->abe", (3, 5)),
    _case("einsum_local", L.EinsumDense, (3, 4), "abc,bcd->abd", (3, 2), bias_axes="bd"),
    _case("einsum_dots", L.EinsumDense, (2, 2, 4), "...c,cd->...d", (2, 2, 3), bias_axes="d"),
    _case("conv1d", L.Conv1D, (8, 2), 3, 3),
    _case("conv1d_same_stride", L.Conv1D, (7, 2), 3, 4, padding="same", strides=2),
    _case("conv1d_causal", L.Conv1D, (6, 2), 3, 3, padding="causal"),
    _case("conv1d_causal_stride", L.Conv1D, (8, 2), 3, 3, padding="causal", strides=2),
    _case("conv1d_causal_dilation", L.Conv1D, (8, 2), 3, 2, padding="causal", dilation_rate=3),
    _case("conv1d_same_dilation", L.Conv1D, (9, 2), 2, 3, padding="same", dilation_rate=2),
    _case("conv1d_groups", L.Conv1D, (6, 4), 6, 3, groups=2),
    _case("conv1d_stride_over_kernel", L.Conv1D, (9, 2), 3, 2, strides=3),
    _case("conv1d_three_channels", L.Conv1D, (6, 3), 4, 3, padding="same"),
    _case("conv2d", L.Conv2D, (5, 4, 2), 3, 3),
    _case("conv2d_no_bias", L.Conv2D, (4, 4, 2), 3, (2, 1), use_bias=False),
    _case("conv2d_same", L.Conv2D, (4, 3, 2), 3, (3, 2), padding="same"),
    _case("conv2d_same_stride", L.Conv2D, (5, 6, 2), 3, 3, padding="same", strides=2),
    _case("conv2d_unequal_strides", L.Conv2D, (6, 5, 2), 3, (3, 2), strides=(3, 1)),
    _case("conv2d_dilation", L.Conv2D, (6, 7, 2), 2, (2, 3), dilation_rate=(3, 2)),
    _case("conv2d_same_dilation", L.Conv2D, (5, 5, 2), 2, 3, padding="same", dilation_rate=2),
    _case("conv2d_groups", L.Conv2D, (4, 4, 4), 6, 3, padding="same", groups=2),
    _case("conv2d_groups_stride", L.Conv2D, (5, 5, 3), 6, 3, padding="same", groups=3, strides=2),
    _case("conv2d_three_per_group", L.Conv2D, (4, 3, 6), 4, 2, groups=2),
    _case("conv2d_image", L.Conv2D, (5, 5, 3), 4, 3),
    _case("conv2d_image_same_stride", L.Conv2D, (6, 5, 3), 4, 3, padding="same", strides=2),
    _case("conv3d", L.Conv3D, (3, 4, 3, 2), 3, 2),
    _case("conv3d_same_stride", L.Conv3D, (3, 4, 3, 2), 2, (2, 3, 2), padding="same", strides=2),
    _case("conv3d_dilation", L.Conv3D, (4, 3, 3, 2), 2, 2, dilation_rate=(2, 1, 2)),
    _case("conv3d_groups", L.Conv3D, (3, 3, 3, 2), 4, 2, groups=2),
    _case("depthwise1d", L.DepthwiseConv1D, (7, 3), 3, depth_multiplier=2),
    _case("depthwise1d_same_stride", L.DepthwiseConv1D, (7, 3), 4, padding="same", strides=2),
    _case("depthwise1d_dilation", L.DepthwiseConv1D, (8, 2), 3, dilation_rate=2),
    _case("depthwise2d", L.DepthwiseConv2D, (5, 4, 2), (3, 2), depth_multiplier=2),
    _case(
        "depthwise2d_same_stride",
        L.DepthwiseConv2D,
        (5, 6, 2),
        3,
        strides=2,
        padding="same",
        depth_multiplier=2,
    ),
    _case("depthwise2d_same", L.DepthwiseConv2D, (4, 4, 3), 3, padding="same"),
    _case("depthwise2d_dilation", L.DepthwiseConv2D, (6, 5, 2), 2, dilation_rate=2),
    _case("separable1d", L.SeparableConv1D, (6, 3), 4, 3, depth_multiplier=2),
    _case("separable1d_same_stride", L.SeparableConv1D, (7, 2), 3, 3, padding="same", strides=2),
    _case("separable2d", L.SeparableConv2D, (5, 4, 2), 3, 3, depth_multiplier=2),
    _case("separable2d_same_stride", L.SeparableConv2D, (5, 5, 3), 4, 3, padding="same", strides=2),
    _case("separable2d_dilation", L.SeparableConv2D, (5, 5, 2), 3, 2, dilation_rate=2),
    _case("transpose1d", L.Conv1DTranspose, (5, 2), 3, 3, strides=2),
    _case("transpose1d_same", L.Conv1DTranspose, (5, 2), 3, 4, strides=2, padding="same"),
    _case("transpose1d_wide_stride", L.Conv1DTranspose, (4, 2), 3, 2, strides=3),
    _case(
        "transpose1d_output_padding", L.Conv1DTranspose, (4, 2), 3, 3, strides=2, output_padding=1
    ),
    _case("transpose2d", L.Conv2DTranspose, (3, 4, 2), 3, 3),
    _case("transpose2d_stride", L.Conv2DTranspose, (3, 3, 2), 3, (3, 2), strides=2),
    _case("transpose2d_same", L.Conv2DTranspose, (3, 2, 2), 3, 3, strides=2, padding="same"),
    _case("transpose2d_unequal", L.Conv2DTranspose, (3, 2, 2), 2, (2, 3), strides=(1, 3)),
    _case(
        "transpose2d_same_output_padding",
        L.Conv2DTranspose,
        (3, 2, 2),
        3,
        3,
        strides=2,
        padding="same",
        output_padding=1,
    ),
    _case(
        "transpose2d_output_padding",
        L.Conv2DTranspose,
        (2, 3, 2),
        3,
        2,
        strides=2,
        output_padding=1,
    ),
    _case("transpose3d", L.Conv3DTranspose, (2, 2, 2, 2), 2, 2, strides=2),
    _case("transpose3d_same", L.Conv3DTranspose, (2, 2, 2, 2), 2, 3, strides=2, padding="same"),
    _case(
        "conv2d_channels_first_groups",
        L.Conv2D,
        (4, 5, 4),
        4,
        3,
        groups=2,
        data_format="channels_first",
    ),
    _case("conv3d_channels_first", L.Conv3D, (2, 3, 4, 3), 3, 2, data_format="channels_first"),
    _case(
        "depthwise1d_channels_first",
        L.DepthwiseConv1D,
        (2, 7),
        3,
        depth_multiplier=2,
        data_format="channels_first",
    ),
    _case(
        "depthwise2d_channels_first",
        L.DepthwiseConv2D,
        (2, 5, 4),
        3,
        depth_multiplier=2,
        data_format="channels_first",
    ),
    _case(
        "separable1d_channels_first",
        L.SeparableConv1D,
        (2, 7),
        3,
        3,
        depth_multiplier=2,
        data_format="channels_first",
    ),
    _case(
        "separable2d_channels_first",
        L.SeparableConv2D,
        (2, 5, 4),
        3,
        3,
        depth_multiplier=2,
        data_format="channels_first",
    ),
    _case("conv3d_groups_stride", L.Conv3D, (3, 3, 3, 2), 4, 2, groups=2, strides=2),
    _case("conv2d_groups_dilation", L.Conv2D, (5, 5, 4), 4, 2, groups=2, dilation_rate=2),
    _case(
        "depthwise1d_same_dilation", L.DepthwiseConv1D, (8, 2), 3, dilation_rate=2, padding="same"
    ),
    _case(
        "transpose1d_same_output_padding_0",
        L.Conv1DTranspose,
        (4, 2),
        3,
        3,
        strides=2,
        padding="same",
        output_padding=0,
    ),
    _case(
        "transpose1d_same_even_output_padding",
        L.Conv1DTranspose,
        (4, 2),
        3,
        4,
        strides=2,
        padding="same",
        output_padding=1,
    ),
    _case(
        "transpose2d_output_paddings",
        L.Conv2DTranspose,
        (2, 3, 2),
        3,
        3,
        strides=(2, 3),
        padding="same",
        output_padding=(1, 2),
    ),
    _case(
        "transpose3d_output_padding",
        L.Conv3DTranspose,
        (2, 1, 2, 2),
        2,
        2,
        strides=2,
        output_padding=1,
    ),
]
# Keras refuses these on a CPU, where the package computes them.
CPU_WITHOUT_KERAS = [
    _case("conv1d_channels_first", L.Conv1D, (2, 8), 3, 3, data_format="channels_first"),
    _case(
        "conv1d_channels_first_causal",
        L.Conv1D,
        (2, 8),
        3,
        3,
        padding="causal",
        data_format="channels_first",
    ),
    _case(
        "conv2d_channels_first_same_stride",
        L.Conv2D,
        (2, 5, 4),
        3,
        3,
        strides=2,
        padding="same",
        data_format="channels_first",
    ),
    _case(
        "conv2d_channels_first_dilation",
        L.Conv2D,
        (2, 5, 5),
        3,
        2,
        dilation_rate=2,
        data_format="channels_first",
    ),
    _case(
        "transpose1d_channels_first",
        L.Conv1DTranspose,
        (2, 4),
        3,
        3,
        strides=2,
        data_format="channels_first",
    ),
    _case(
        "transpose2d_channels_first",
        L.Conv2DTranspose,
        (2, 3, 4),
        3,
        3,
        strides=2,
        data_format="channels_first",
    ),
    _case("conv2d_channels_first", L.Conv2D, (2, 5, 4), 3, 3, data_format="channels_first"),
]
if (3, 0) <= VERSION < (3, 11):
    # These releases refuse an explicit output padding of 0.
    CASES = [case for case in CASES if not case.name.endswith("output_padding_0")]
    # They also pass channels first to TensorFlow, which has no such kernel for these layers on a CPU.
    first = [c for c in CASES if re.match(r"(conv3d|depthwise|separable).*_channels_first", c.name)]
    names = {case.name for case in first}
    CASES = [case for case in CASES if case.name not in names]
    CPU_WITHOUT_KERAS += first
ALL_CASES = CASES + CPU_WITHOUT_KERAS


@functools.cache
def build(case, dtype="float64"):
    """The layer with weights of both signs, some zeros, and outputs with only negative weights."""
    layer = case.make(dtype=dtype)
    layer.build((None, *case.shape))
    rng = generator(case.name)
    weights = []
    for value in layer.get_weights():
        value = rng.normal(size=value.shape)
        value[rng.random(value.shape) < 0.1] = 0.0
        if value.ndim > 1 and value.shape[-1] > 1:
            value[..., -1] = -np.abs(value[..., -1])
        weights.append(value)
    layer.set_weights(weights)
    return layer


@functools.cache
def matrices(case, dtype="float64"):
    """The layer's matrices and the shapes between them."""
    return reference.connections(build(case, dtype), case.shape)


@functools.cache
def seen(case):
    """The matrices of the layer if all its weights were 1: what each neuron sees."""
    layer = case.make(dtype="float64")
    layer.build((None, *case.shape))
    layer.set_weights([np.ones(value.shape) for value in layer.get_weights()])
    return reference.connections(layer, case.shape)[0]


def generator(*names):
    """A random generator that is the same in every run."""
    return np.random.default_rng(zlib.crc32(" ".join(map(str, names)).encode()))


def inputs(case, kind):
    """A batch: "signed", "nonnegative" (a third are 0, as after ReLU) or "sparse" (most are 0).

    No sample consists of zeros only.
    """
    rng = generator(case.name, kind)
    x = rng.normal(size=(BATCH, *case.shape))
    if kind == "nonnegative":
        x = np.abs(x) * (rng.random(x.shape) < 0.67)
    elif kind == "sparse":
        x *= rng.random(x.shape) < 0.3
    middle = x.reshape(BATCH, -1)[:, x[0].size // 2]
    middle[middle == 0] = 0.5
    return x


def relevance(case):
    """Relevance of both signs for the outputs. In the last sample, one neuron has all of it."""
    shape = matrices(case)[1][-1]
    r = generator(case.name, "relevance").normal(size=(BATCH, *shape))
    only = np.zeros(shape).ravel()
    only[len(only) // 2] = 1.5
    r[-1] = only.reshape(shape)
    return r


def close(actual, expected, tolerance=1e-10):
    """Asserts that two arrays agree up to a fraction of the largest element."""
    actual, expected = array(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all()
    limit = tolerance * max(np.abs(expected).max(), 1e-30)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=limit)


def computes(layer, x, expected, tolerance=1e-10):
    """Asserts that a layer of Keras computes these values; skips where Keras has others."""
    if BACKEND == "torch" and not np.allclose(array(layer(x)), expected, 0, 1e-4):
        pytest.skip(f"on PyTorch, Keras pads {type(layer).__name__} with other values")
    close(layer(x), expected, tolerance)


@pytest.fixture(scope="module")
def unoptimized_graphs():
    """Graphs run as they were built: to optimize hundreds of small ones takes most of the time."""
    if BACKEND != "tensorflow":
        yield
        return
    import tensorflow as tf

    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False} | before)


def outside_a_graph(case, function):
    """The function as it is, which is faster; TensorFlow's Conv3D has no gradient outside a graph."""
    in_graph = BACKEND == "tensorflow" and isinstance(build(case), L.Conv3D)
    return graphed(function) if in_graph else function
