"""The operations on JAX: those of `keras.ops`, differentiation, and compiled programs."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from rap_keras.errors import InputError
from rap_keras.tensors.dtypes import is_floating
from rap_keras.tensors.keras_ops import *
from rap_keras.tensors.scopes import reading, value_of

TENSORS: tuple[type, ...] = ()  # arrays let symbolic tensors on their right compute
ERRORS = (jax.errors.JaxRuntimeError, TypeError, ValueError)

cond = jax.lax.cond
floor = jax.numpy.floor  # Keras's returns float32
identity = jax.numpy.copy  # as in `tensors.torch`


def part_sizes(jit_compile: bool) -> tuple[int, ...]:
    """A batch is computed in parts of so many samples, so that three programs serve every size.

    Empty if a program serves every size.
    """
    return 64, 8, 1


_OPTIONS: dict[str, Any] = {}  # of the compiler
_AT_ONCE = 8  # columns, whose tensors are in memory together


def vjp(
    function: Callable[[list[Any]], list[Any]], inputs: Sequence[Any]
) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
    """A function's outputs, and its transposed derivative: from values at the outputs to the inputs."""
    floating: list[bool] = []

    def parted(*values: Any) -> tuple[list[Any], list[Any]]:
        made = [convert_to_tensor(y) for y in function(list(values))]
        floating[:] = [is_floating(y.dtype) for y in made]
        parts: tuple[list[Any], list[Any]] = ([], [])
        for y, has in zip(made, floating, strict=True):
            parts[not has].append(y)
        return parts

    found, pull, rest = jax.vjp(parted, *inputs, has_aux=True)
    both = iter(found), iter(rest)
    outputs = [next(both[not has]) for has in floating]

    def back(values: Sequence[Any]) -> list[Any]:
        given = zip(values, outputs, floating, strict=True)
        return list(pull([cast(v, y.dtype) for v, y, has in given if has]))

    return outputs, back


class _Variables:
    """The variables of a program, also those that it reads but was not given.

    A model does not have a variable that only a function in it has. As constants of the program, the
    values of such variables would stay those of the first call.
    """

    def __init__(self, variables: Sequence[Any]) -> None:
        self._known = list(variables)

    @contextlib.contextmanager
    def reading(self, values: Sequence[Any]) -> Iterator[None]:
        """Inside, the first variables have these values. Others that are read become known."""
        with reading(self._known[: len(values)], values) as scope:
            yield
        known = set(map(id, self._known))
        self._known += [variable for key, variable in scope.own.items() if key not in known]

    def run(self, program: Callable[..., Any], *given: Any) -> Any:
        """Calls a program with the values and what else it takes, again if it reads further ones."""
        while True:
            variables = list(self._known)
            found = program([*map(value_of, variables)], *given)
            if len(self._known) == len(variables):
                return map_structure(np.array, found)


def compiled(
    function: Callable[..., Any],
    inputs: Sequence[Spec],
    others: Sequence[Spec] = (),
    variables: Sequence[Any] = (),
    jit_compile: bool = False,
) -> Callable[..., Any]:
    """Compiles a function of tensors to a function of arrays.

    Args:
        function: Takes the inputs as a list, then the others, and returns tensors in any structure.
        inputs: Shapes and dtypes of the inputs.
        others: Shapes and dtypes of the others.
        variables: The variables of Keras 3 that it reads. They are arguments of the program, so it sees
            their values at each call. If it reads others, it is traced again, and they become arguments.
        jit_compile: Without effect: JAX always compiles with XLA.

    Returns:
        A function of a list of arrays and others, which returns arrays.
    """
    read = _Variables(variables)

    @functools.partial(jax.jit, compiler_options=_OPTIONS)
    def program(values: list[Any], arrays: list[Any], *given: Any) -> Any:
        with read.reading(values):
            return function(arrays, *given)

    return lambda arrays, *given: read.run(program, list(map(constant, arrays)), *given)


def compiled_by_column(
    function: Callable[..., Any],
    inputs: Sequence[Spec],
    others: Sequence[Spec],
    column: Spec,
    variables: Sequence[Any] = (),
    jit_compile: bool = False,
) -> Callable[..., Any]:
    """Compiles a function of inputs, others and a column of numbers.

    Args:
        function: Takes the inputs as a list, then the others, and returns a function of the column.
        inputs: As in `compiled`.
        others: As in `compiled`.
        column: The spec of one column, `(batch, ...)`.
        variables: As in `compiled`.
        jit_compile: As in `compiled`.

    Returns:
        A function of a list of arrays, others and columns, `(batch, k, ...)`, which returns a list of k
        results. What does not depend on the columns is computed once.
    """
    read = _Variables(variables)

    @functools.partial(jax.jit, compiler_options=_OPTIONS)
    def program(values: list[Any], arrays: list[Any], columns: Any, *given: Any) -> Any:
        with read.reading(values):
            of_column = function(arrays, *given)
            if len(columns) <= _AT_ONCE:
                return jax.vmap(of_column)(columns)
            return jax.lax.map(of_column, columns, batch_size=_AT_ONCE)

    def run(arrays: Sequence[Any], *given: Any) -> list[Any]:
        *rest, columns = given
        first = constant(np.moveaxis(columns, 1, 0))
        found = read.run(program, list(map(constant, arrays)), first, *rest)
        return [map_structure(lambda a, k=k: a[k], found) for k in range(columns.shape[1])]

    return run


def immediate(function: Callable[..., Any], variables: Sequence[Any] = ()) -> Callable[..., Any]:
    """A function of a list of tensors as one of arrays, for few calls.

    TensorFlow and PyTorch run it as it is; JAX compiles it, which takes less than compiling each of its
    operations.
    """
    return compiled(function, [], [], variables)


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Inside, values are computed now, also while a program is traced."""
    with jax.ensure_compile_time_eval():
        yield


def wide() -> Any:
    """Inside, float64 is float64."""
    return jax.enable_x64(True)


def attach_weights(model: Any) -> None:
    """Gives a model its weights, which Keras takes from it between the batches of `fit`.

    Raises:
        InputError: Another model that is in training has them.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
    if [variable for variable in getattr(model, "variables", ()) if variable._value is None]:
        raise InputError(
            f"Expected a model with its weights, but while a model is trained on JAX, {model.name!r}, "
            "which shares its layers, has none between two batches: call jax_state_sync() of the model "
            "that is trained first, or wait for the end of the epoch."
        )


def version() -> str:
    return jax.__version__


def device() -> str:
    """What computes: "CPU", "GPU", "TPU", ..."""
    return jax.default_backend().upper()


def deterministic() -> None:
    """Results are the same at each run on a GPU. For programs that are compiled after this call."""
    _OPTIONS["xla_gpu_deterministic_ops"] = True


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """Takes `deterministic` back at the end. JAX has no seed."""
    before = dict(_OPTIONS)
    try:
        yield
    finally:
        _OPTIONS.clear()
        _OPTIONS.update(before)


def is_tensor(x: Any) -> bool:
    return isinstance(x, jax.Array)
