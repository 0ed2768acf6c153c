"""The operations on PyTorch: those of `keras.ops`, differentiation, and running without gradients."""

import contextlib
import contextvars
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from keras.src.backend.torch.core import get_device
from torch.fx.experimental.proxy_tensor import make_fx
from torch.ops import aten
from torch.utils._python_dispatch import TorchDispatchMode

from rap_keras.tensors import keras_ops
from rap_keras.tensors.dtypes import dtype_name, numpy_dtype
from rap_keras.tensors.keras_ops import *
from rap_keras.tensors.scopes import reading
from rap_keras.tensors.torch_convolutions import (
    as_kernel,
    conv,
    depthwise_conv,
    pointwise_conv,
    pooling,
)

TENSORS = (torch.Tensor,)
ERRORS = (RuntimeError, IndexError, TypeError)

at_once = wide = contextlib.nullcontext
_TRACED = contextvars.ContextVar("traced", default=False)

# Keras computes these in float32 where the tensors are float64.
floor, matmul = torch.floor, torch.matmul


def cast(x: Any, dtype: Any) -> Any:
    name = dtype_name(dtype)
    if name == "float64" and device() == "MPS":  # Apple's GPUs have no float64
        name = "float32"
    return keras_ops.cast(x, name)


def identity(x: Any) -> Any:
    """The same values without what Keras attached to the tensor, such as a mask."""
    return x.view_as(x)


def divide_no_nan(x: Any, y: Any) -> Any:
    if _TRACED.get() or x.device.type != "cpu" or not math.isfinite(x.detach().sum()):
        return (x / y).masked_fill(y == 0, 0)
    # x / inf = 0. A comparison and a mask take several times as long.
    y = torch.nn.functional.threshold_(y.abs(), 0, torch.inf).copysign_(y)
    if torch.is_grad_enabled() or (x.shape, x.dtype) != (y.shape, y.dtype):
        return x / y
    return torch.div(x, y, out=y)


def bias_relu(x: Any, bias: Any) -> Any:
    in_place = not (_TRACED.get() or torch.is_grad_enabled())
    return x.add_(bias).relu_() if in_place else torch.relu(x + bias)


def without_product(x: Any, a: Any, b: Any) -> Any:
    return torch.addcmul(x, a, b, value=-1)


def maximum(x: Any, y: Any) -> Any:
    return torch.maximum(x, _like(x, y))


def minimum(x: Any, y: Any) -> Any:
    return torch.minimum(x, _like(x, y))


def _like(x: Any, y: Any) -> Any:
    return y if isinstance(y, torch.Tensor) else torch.as_tensor(y, dtype=x.dtype, device=x.device)


def tensordot(x: Any, y: Any, axes: Any) -> Any:
    return torch.tensordot(x, y, axes)


def part_sizes(jit_compile: bool) -> tuple[int, ...]:
    """As in `tensors.jax`, if programs are compiled."""
    return (64, 8, 1) if jit_compile else ()


def cond(condition: Any, true: Callable[[], Any], false: Callable[[], Any]) -> Any:
    if _TRACED.get():  # a program has both branches
        return map_structure(lambda a, b: torch.where(condition, a, b), true(), false())
    return true() if bool(condition) else false()


@contextlib.contextmanager
def _own_state() -> Iterator[None]:
    """Inside, the caller's inference mode and automatic half precision (autocast) have no effect."""
    name = str(get_device()).partition(":")[0]
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        if torch.is_autocast_enabled(name):
            stack.enter_context(torch.autocast(name, enabled=False))
        yield


def _plain(x: torch.Tensor) -> torch.Tensor:
    """A tensor without its history; a copy of one that was made in inference mode."""
    return x.detach().clone() if x.is_inference() else x.detach()


def vjp(
    function: Callable[[list[Any]], list[Any]], inputs: Sequence[Any]
) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
    """A function's outputs, and its transposed derivative: from values at the outputs to the inputs."""
    with torch.inference_mode(False), torch.enable_grad():
        taken = [_plain(x).requires_grad_() for x in inputs]
        outputs = [convert_to_tensor(y) for y in function(taken)]

    def back(values: Sequence[Any]) -> list[Any]:
        pairs = [(y, v) for y, v in zip(outputs, values, strict=True) if y.requires_grad]
        found: Sequence[Any] = [None] * len(taken)
        if pairs:
            ends, given = zip(*pairs, strict=True)
            found = torch.autograd.grad(ends, taken, given, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for g, x in zip(found, taken, strict=True)]

    return [y.detach() for y in outputs], back


class _WithoutValues(TorchDispatchMode):
    """Inside, products and convolutions give tensors of any content, but their derivatives are right."""

    _MAPS = (aten.mm.default, aten.bmm.default, aten.convolution.default)

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op not in self._MAPS:
            return op(*args, **(kwargs or {}))
        shapes = [a.to("meta") if isinstance(a, torch.Tensor) else a for a in args]
        return args[0].new_empty(op(*shapes, **(kwargs or {})).shape)


def without_values() -> Any:
    return contextlib.nullcontext() if _TRACED.get() else _WithoutValues()


def compiled(
    function: Callable[..., Any],
    inputs: Sequence[Spec],
    others: Sequence[Spec] = (),
    variables: Sequence[Any] = (),
    jit_compile: bool = False,
) -> Callable[..., Any]:
    """A function of tensors as a function of arrays; see `tensors.jax.compiled`.

    It runs as it is. With `jit_compile`, all operations of a call, also those of gradients, become one
    program for each shape, which `torch.compile` compiles. Variables are read without their gradients.
    """
    programs: dict[Any, Callable[..., Any]] = {}

    def called(values: list[Any], arrays: list[Any], *given: Any) -> Any:
        with reading(variables, values):
            return function(arrays, *given)

    def run(arrays: Sequence[Any], *given: Any) -> Any:
        with _own_state(), torch.no_grad():
            values = [_plain(v.value) for v in variables]
            taken = values, list(map(constant, arrays)), *map(constant, given)
            program = called
            if jit_compile:
                shapes = tuple(a.shape for a in (*taken[1], *taken[2:]))
                if shapes not in programs:
                    programs[shapes] = _program(called, taken)
                program = programs[shapes]
            return map_structure(to_numpy, program(*taken))

    return run


def _program(function: Callable[..., Any], taken: Sequence[Any]) -> Callable[..., Any]:
    before = _TRACED.set(True)
    try:
        return torch.compile(make_fx(function)(*taken))
    finally:
        _TRACED.reset(before)


def compiled_by_column(
    function: Callable[..., Any],
    inputs: Sequence[Spec],
    others: Sequence[Spec],
    column: Spec,
    variables: Sequence[Any] = (),
    jit_compile: bool = False,
) -> Callable[..., Any]:
    """A function of inputs, others and columns; see `tensors.jax.compiled_by_column`.

    With `jit_compile`, everything is one program, which runs for each column.
    """

    def whole(arrays: list[Any], *given: Any) -> Any:
        return function(arrays, *given[:-1])(given[-1])

    program = compiled(whole, inputs, [*others, column], variables, True)

    def run(arrays: Sequence[Any], *given: Any) -> list[Any]:
        *rest, columns = given
        each = np.moveaxis(columns, 1, 0)
        if jit_compile:
            return [program(arrays, *rest, one) for one in each]
        with _own_state(), torch.no_grad():
            values = [_plain(v.value) for v in variables]
            with reading(variables, values):
                of_column = function(list(map(constant, arrays)), *map(constant, rest))
                return [map_structure(to_numpy, of_column(constant(one))) for one in each]

    return run


def immediate(function: Callable[..., Any], variables: Sequence[Any] = ()) -> Callable[..., Any]:
    """A function of a list of tensors as one of arrays; see `tensors.jax.immediate`."""
    return compiled(function, [], [], variables)


def version() -> str:
    return str(torch.__version__)


def device() -> str:
    """What computes: "CPU", "GPU", "MPS", ..."""
    name = str(get_device()).partition(":")[0]
    return "GPU" if name == "cuda" else name.upper()


def deterministic() -> None:
    """Results are the same at each run on a GPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as PyTorch requires
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """Gives the generators their states back, and takes `deterministic` back."""
    in_order, fastest = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(in_order, warn_only=only_warns)
            torch.backends.cudnn.benchmark = fastest


def to_numpy(x: Any) -> Any:
    # A copy, like that of Keras, whose function warns with NumPy 2.
    if not isinstance(x, torch.Tensor):
        return np.array(x)
    wide = x.float() if x.dtype == torch.bfloat16 else x
    return np.array(wide.numpy(force=True), numpy_dtype(x.dtype))


def is_tensor(x: Any) -> bool:
    return isinstance(x, torch.Tensor)
