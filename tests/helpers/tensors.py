"""Tensors of the backend that the tests run on."""

import importlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import pytest

from rap_keras import tensors as ops

BACKEND = keras.backend.backend()


def not_on(backend: str, reason: str) -> pytest.MarkDecorator:
    """A mark that skips a test where Keras itself fails on a backend."""
    return pytest.mark.skipif(backend == BACKEND, reason=f"Keras on {backend} {reason}")


def names(cases: Iterable[str], marks: dict[str, pytest.MarkDecorator]) -> list[Any]:
    """The names of cases as parameters, some with a mark."""
    return [pytest.param(name, id=name, marks=marks.get(name, ())) for name in cases]


def tensor(value: Any, dtype: Any = None) -> Any:
    """A tensor of given values; arrays keep their dtype."""
    return ops.constant(value, dtype)


def array(x: Any) -> np.ndarray:
    """The values of a tensor or a variable, or an array as it is."""
    if BACKEND == "torch" and not isinstance(x, np.ndarray):
        return keras.ops.convert_to_numpy(x)  # also where it has a gradient
    return np.asarray(x)


def graphed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as analyzers call it: traced, and compiled where the backend compiles."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False, reduce_retracing=True)
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    return function


def native(name: str) -> Callable[..., Any]:
    """A function of the backend's own library, which symbolic tensors of Keras cannot call."""
    library = {"jax": "jax.numpy"}.get(BACKEND, BACKEND)
    return getattr(importlib.import_module(library), name)


def slopes(function: Callable[..., Any], xs: Sequence[Any]) -> list[np.ndarray]:
    """The derivatives of a function's sum by its arguments, as the backend itself computes them."""
    xs = [tensor(array(x)) for x in xs]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(xs)
            value = tf.reduce_sum(function(*xs))
        found = tape.gradient(value, xs)
    elif BACKEND == "jax":
        import jax

        found = jax.grad(lambda values: function(*values).sum())(xs)
    else:
        import torch

        for x in xs:
            x.requires_grad_()
        found = torch.autograd.grad(function(*xs).sum(), xs)
    return [np.array(array(g)) for g in found]
