"""Repeats a model's calls of operations with other tensors and any number of samples."""

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import tree
from keras.backend import standardize_dtype

from rap_keras import tensors as ops
from rap_keras.backends.keras3.opening import (
    BATCH,
    Context,
    at_inference,
    batch_axes,
    is_symbolic,
    mapped,
    reading,
)
from rap_keras.backends.opening import CannotOpen
from rap_keras.errors import InputError
from rap_keras.network import node
from rap_keras.network.layer_types import is_a
from rap_keras.tensors.scopes import Scope


@dataclass(frozen=True)
class _Size:
    """A number in a traced shape that is a multiple of the number of samples."""

    multiple: int


@dataclass(frozen=True)
class _Repeated:
    """A constant of a traced call that repeats a part for each sample along the batch axis."""

    part: Any
    axis: int


class Call(node.Call):
    """Calls an operation as the model does, with other tensors instead of the symbolic ones.

    `is_mask` says of each symbolic tensor among the arguments whether it is boolean. `CannotOpen` is
    raised if a constant differs from sample to sample.
    """

    def __init__(self, op: Any, arguments: Any, is_mask: Sequence[bool], context: Context) -> None:
        self._op = op
        self._arguments = arguments
        self._is_mask = is_mask
        self._autocast = context.autocast
        self._attributes: dict[str, Any] = {}
        self._samples: tuple[int, int, int] | None = None
        if context.traced:
            self._forget_batch()

    def _forget_batch(self) -> None:
        """Finds what depends on the number of samples in the arguments and in the operation."""
        self._arguments = tree.map_structure(_marked, self._arguments)
        if not isinstance(self._op, keras.Layer):
            values = {k: v for k, v in vars(self._op).items() if isinstance(v, int | tuple | list)}
            marked = {k: tree.map_structure(_marked, v) for k, v in values.items()}
            self._attributes = {k: v for k, v in marked.items() if _depends(v)}
        tensors = list(filter(is_symbolic, tree.flatten(self._arguments)))
        for k, leaf in enumerate(tensors):
            for axis in batch_axes(leaf.shape):
                self._samples = (k, axis, leaf.shape[axis] // BATCH)
                return
        for k, leaf in enumerate(tensors):  # some layers of older releases report no batch size
            if len(leaf.shape) and leaf.shape[0] is None:
                self._samples = (k, 0, 1)
                return
        if self._attributes or _depends(self._arguments):
            raise CannotOpen(f"{self._op.name!r} makes as many samples as it was called with")

    def _filled(
        self, inputs: Sequence[Any], masks: Sequence[Any], weights: Any = None
    ) -> tuple[Any, Any]:
        """The arguments with these tensors and weights, and the operation's attributes for them."""
        sources = iter(inputs), iter(masks)
        given = [next(sources[mask]) for mask in self._is_mask]
        size = None
        if self._samples is not None:
            k, axis, multiple = self._samples
            static = given[k].shape[axis]
            size = (ops.shape(given[k])[axis] if static is None else static) // multiple
        values = iter(given)

        def filled(leaf: Any) -> Any:
            if is_symbolic(leaf):
                return next(values)
            if weights is not None and _array(leaf) is self.weights()[0]:
                leaf = _Repeated(weights, leaf.axis) if isinstance(leaf, _Repeated) else weights
            return _for_samples(leaf, size)

        arguments = mapped(filled, self._arguments)
        return arguments, tree.map_structure(
            lambda leaf: _for_samples(leaf, size), self._attributes
        )

    def first_argument(self, inputs: Sequence[Any]) -> Any:
        """The inputs in the structure of the layer's first argument."""
        (args, _), _ = self._filled(inputs, [])
        if sum(map(is_symbolic, tree.flatten(self._arguments[0][0]))) < len(inputs):
            raise InputError(
                "Expected layers that take their tensors as one argument, but layer "
                f"{self._op.name!r} takes several."
            )
        return args[0]

    def operands(self, tensors: Sequence[Any]) -> list[Any]:
        """The tensors and constants that an operation takes, in order."""
        return tree.flatten(self._filled(tensors, [])[0])

    def constants(self) -> list[Any]:
        """The arrays, tensors and variables among the arguments."""
        leaves = tree.flatten(self._arguments)
        return [leaf for leaf in leaves if hasattr(leaf, "dtype") and not is_symbolic(leaf)]

    def weights(self) -> list[Any]:
        """The floating-point constants; a single part of those that are the same for each sample."""
        arrays = map(_array, tree.flatten(self._arguments))
        return [a for a in arrays if a is not None and "float" in standardize_dtype(a.dtype)]

    def with_weights(self, x: Any, weights: Any) -> Any:
        """The output for one tensor, with another array instead of the first of `weights`."""
        (args, kwargs), attributes = self._filled([x], [], weights)
        return _function_of(_with(self._op, attributes))(*args, **kwargs)

    def __call__(
        self, inputs: Sequence[Any], masks: Sequence[Any] = (), as_is: bool = False
    ) -> list[Any]:
        """The flat outputs. `as_is` keeps the inputs' dtype and ignores the layer's dtype policy."""
        (args, kwargs), attributes = self._filled(inputs, masks)
        kwargs = at_inference(self._op, kwargs)
        op = _with(self._op, attributes)
        with untouched(op), reading(self._autocast):
            function = ops.pooling(op, as_is) or (_function_of(op) if as_is else op)
            outputs = tree.flatten(function(*args, **kwargs))
        return [t for t in outputs if t is not None]


@contextlib.contextmanager
def untouched(op: Any) -> Iterator[None]:
    """Calls inside this context change no variable, random state or loss of `op` and its parts."""
    parts = op._flatten_layers() if hasattr(op, "_flatten_layers") else ()
    kept = [(part, list(part._losses), set(part._loss_ids)) for part in parts]
    try:
        with Scope(collect_losses=True):
            yield
    finally:
        for part, losses, ids in kept:  # Keras resets them at each call
            part._losses[:] = losses
            part._loss_ids.clear()
            part._loss_ids.update(ids)


class Constant(node.Call):
    """Replaces a call that returns the same for all inputs."""

    def __init__(self, value: Any) -> None:
        self._value = ops.convert_to_tensor(value)

    def __call__(
        self, inputs: Sequence[Any], masks: Sequence[Any] = (), as_is: bool = False
    ) -> list[Any]:
        """The constant."""
        return [self._value]


def _function_of(op: Any) -> Callable[..., Any]:
    """What an operation computes. The `call` of Keras' `ConvTranspose` exchanges two arguments."""
    if is_a(op, {"ConvTranspose"}):
        names = ("strides", "padding", "output_padding", "data_format", "dilation_rate")
        return functools.partial(
            keras.ops.conv_transpose, **{name: getattr(op, name) for name in names}
        )
    return op.call


def _with(op: Any, attributes: dict[str, Any]) -> Any:
    if not attributes:
        return op
    op = copy.copy(op)
    for name, value in attributes.items():
        setattr(op, name, value)
    return op


def _array(leaf: Any) -> Any:
    """The array, tensor or variable in a leaf of arguments, or the one it repeats; None for others."""
    if isinstance(leaf, _Repeated):
        return leaf.part
    return leaf if hasattr(leaf, "dtype") and not is_symbolic(leaf) else None


def _marked(leaf: Any) -> Any:
    """A leaf of arguments, with numbers and arrays that depend on the number of samples marked."""
    if isinstance(leaf, int) and not isinstance(leaf, bool):
        return _Size(leaf // BATCH) if leaf > 0 and leaf % BATCH == 0 else leaf
    if is_symbolic(leaf) or not (isinstance(leaf, np.ndarray) or ops.is_tensor(leaf)):
        return leaf
    for axis in batch_axes(leaf.shape):
        part = ops.take(leaf, np.arange(leaf.shape[axis] // BATCH), axis=axis)
        repeated = _for_samples(_Repeated(part, axis), BATCH)
        # NaN is not equal to itself.
        both_nan = ops.logical_and(ops.not_equal(leaf, leaf), ops.not_equal(repeated, repeated))
        if not bool(ops.all(ops.equal(leaf, repeated) | both_nan)):
            raise CannotOpen("its call uses values that differ from sample to sample")
        return _Repeated(part, axis)
    return leaf


def _depends(structure: Any) -> bool:
    return any(isinstance(leaf, _Size | _Repeated) for leaf in tree.flatten(structure))


def _for_samples(leaf: Any, size: Any) -> Any:
    """A leaf of arguments for a number of samples."""
    if isinstance(leaf, _Size):
        return size * leaf.multiple
    if isinstance(leaf, _Repeated):
        times = [1] * len(leaf.part.shape)
        times[leaf.axis] = size
        return ops.tile(leaf.part, times)
    return leaf
