"""The operations on TensorFlow, for Keras 3 and Keras 2: aliases, and what TensorFlow lacks."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import config

from rap_keras.tensors.tensorflow_convolutions import (
    conv,
    conv_transpose,
    depthwise_conv,
    max_pool_by_planes,
    pointwise_conv,
)
from rap_keras.tensors.tensorflow_programs import compiled, compiled_by_column, immediate

abs = tf.abs
add_n = tf.add_n
all = tf.reduce_all
any = tf.reduce_any
arange = tf.range
as_kernel = tf.convert_to_tensor
bias_add = tf.nn.bias_add
broadcast_to = tf.broadcast_to
cast = tf.cast
clip = tf.clip_by_value
concatenate = tf.concat
cond = tf.cond
constant = tf.constant
convert_to_tensor = tf.convert_to_tensor
divide_no_nan = tf.math.divide_no_nan
einsum = tf.einsum
equal = tf.equal
exp = tf.exp
expand_dims = tf.expand_dims
eye = tf.eye
flatten = tf.nest.flatten
floor = tf.floor
full = tf.fill
identity = tf.identity
isfinite = tf.math.is_finite
log = tf.math.log
logical_and = tf.logical_and
logical_not = tf.logical_not
map_structure = tf.nest.map_structure
matmul = tf.matmul
max = tf.reduce_max
maximum = tf.maximum
mean = tf.reduce_mean
min = tf.reduce_min
minimum = tf.minimum
moments = tf.nn.moments
multiply = tf.multiply
multiply_no_nan = tf.math.multiply_no_nan
negative = tf.negative
not_equal = tf.not_equal
one_hot = tf.one_hot
ones_like = tf.ones_like
pad = tf.pad
relu = tf.nn.relu
repeat = tf.repeat
reshape = tf.reshape
rsqrt = tf.math.rsqrt
shape = tf.shape
sign = tf.sign
softmax = tf.nn.softmax
split = tf.split
sqrt = tf.sqrt
square = tf.square
stack = tf.stack
sum = tf.reduce_sum
take = tf.gather
tensordot = tf.tensordot
tile = tf.tile
transpose = tf.transpose
where = tf.where
zeros = tf.zeros
zeros_like = tf.zeros_like

Spec = tf.TensorSpec
wide = without_values = contextlib.nullcontext


def argmax(x: Any, axis: int) -> Any:
    return tf.argmax(x, axis, output_type=tf.int32)


def resize(images: Any, size: Any) -> Any:
    return tf.image.resize(images, size, "bilinear")


def causal_mask(logits: Any) -> Any:
    return tf.linalg.band_part(tf.ones_like(logits, tf.bool), -1, 0)


def reduced(x: Any, like: Any) -> Any:
    _, axes = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(x), s1=tf.shape(like))
    return tf.reshape(tf.reduce_sum(x, axes), tf.shape(like))


def vjp(function: Callable[[list[Any]], list[Any]], inputs: Sequence[Any]) -> tuple[list[Any], Any]:
    # It records only the function; `tf.gradients` would search the whole graph before the inputs.
    inputs = list(inputs)
    with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
        for x in inputs:
            tape.watch(x)
        outputs = function(inputs)

    def back(values: Sequence[Any]) -> list[Any]:
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(outputs, inputs, list(values), zero)
        return [tf.convert_to_tensor(g) for g in gradients]

    return outputs, back


@contextlib.contextmanager
def at_once() -> Any:
    tracing = tf.compat.v1.get_default_graph().building_function
    with tf.init_scope() if tracing else contextlib.nullcontext():
        yield


def attach_weights(model: Any) -> None:
    pass


def bias_relu(x: Any, bias: Any) -> Any:
    return tf.nn.relu(tf.nn.bias_add(x, bias))


def without_product(x: Any, a: Any, b: Any) -> Any:
    return x - a * b


def pooling(layer: Any, as_is: bool = False) -> Callable[[Any], Any] | None:
    return None


def to_numpy(x: Any) -> np.ndarray:
    return x.numpy()


def version() -> str:
    return str(tf.__version__)


def device() -> str:
    return "GPU" if tf.config.list_logical_devices("GPU") else "CPU"


def deterministic() -> None:
    tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    eager, in_order = context.context(), config.is_op_determinism_enabled()
    seed, generator = eager._seed, getattr(eager, "_rng", None)  # none if it was never seeded
    try:
        yield
    finally:
        eager._set_global_seed(seed)  # also that of operations that were used
        if generator is not None:
            eager._rng = generator  # continues
        if not in_order:
            config.disable_op_determinism()


def is_tensor(x: Any) -> bool:
    return isinstance(x, tf.Tensor)


TENSORS = (tf.Tensor,)
ERRORS = (tf.errors.OpError,)


def part_sizes(jit_compile: bool) -> tuple[int, ...]:
    return ()  # a program serves every number of samples
