"""Functions of tensors, compiled by TensorFlow to functions of arrays."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import ops as tf_ops


def compiled(
    function: Callable[..., Any],
    inputs: Sequence[tf.TensorSpec],
    others: Sequence[tf.TensorSpec] = (),
    variables: Sequence[Any] = (),
    jit_compile: bool = False,
) -> Callable[..., Any]:
    """Compiles a function of a list of inputs and others; see `tensors.jax.compiled`."""
    if jit_compile:
        function = tf.function(function, autograph=False, jit_compile=True)
    traced = tf.function(function, input_signature=[inputs, *others], autograph=False)
    call = traced.get_concrete_function()
    _forget_gradients(call.graph)

    def run(arrays: Sequence[Any], *given: Any) -> Any:
        return _as_arrays(call([tf.constant(a) for a in arrays], *map(tf.constant, given)))

    return run


def compiled_by_column(
    function: Callable[..., Any],
    inputs: Sequence[tf.TensorSpec],
    others: Sequence[tf.TensorSpec],
    column: tf.TensorSpec,
    variables: Sequence[Any] = (),
    jit_compile: bool = False,
) -> Callable[..., Any]:
    """Compiles a function once for any number of columns; see `tensors.jax.compiled_by_column`."""
    count = len(inputs)

    def flat(*tensors: tf.Tensor) -> Any:
        return function(list(tensors[:count]), *tensors[count:-1])(tensors[-1])

    before, after = in_two_parts(flat, [*inputs, *others, column], jit_compile)

    def run(arrays: Sequence[Any], *given: Any) -> list[Any]:
        *rest, columns = given
        shared = before(*map(tf.constant, [*arrays, *rest]))
        each = np.moveaxis(columns, 1, 0)
        return [_as_arrays(after(tf.constant(one), *shared)) for one in each]

    return run


def _forget_gradients(graph: Any) -> None:
    """Removes the custom gradients of a finished graph from TensorFlow's list of all of them.

    The list would keep the graph for good, and with it the weights of the model.
    """
    try:
        known = tf_ops.gradient_registry._registry
    except AttributeError:  # the list is private
        return
    definition = graph.as_graph_def()
    inner = (node for function in definition.library.function for node in function.node_def)
    for node in (*definition.node, *inner):
        if _GRADIENT in node.attr:
            known.pop(node.attr[_GRADIENT].s.decode(), None)


_GRADIENT = "_gradient_op_type"


def _as_arrays(tensors: Any) -> Any:
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), tensors)


def in_two_parts(
    function: Callable[..., Any], specs: Sequence[tf.TensorSpec], jit_compile: bool = False
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Traces a function once and cuts its graph where the last argument enters.

    Args:
        function: Takes tensors, and returns tensors in any structure.
        specs: The specs of its arguments.
        jit_compile: Compile both parts with XLA.

    Returns:
        A function of all arguments except the last, which returns the tensors at the cut; and a
        function of the last argument and these tensors, which returns the result.
    """
    whole = tf.compat.v1.wrap_function(function, specs)
    *given, last = whole.inputs[: len(specs)]
    results = tf.nest.flatten(whole.structured_outputs)
    behind = _made_of(whole.graph, last)
    moved = [t for t in results if t.op in behind]
    kept = [t for t in results if t.op not in behind]
    shared = _border(whole.graph, behind, moved)

    def part(feeds: list[tf.Tensor], fetches: Any) -> Callable[..., Any]:
        # Called directly, a pruned function prints its arguments at each call.
        return tf.function(
            whole.prune(feeds, fetches),
            input_signature=[tf.TensorSpec(t.shape, t.dtype) for t in feeds],
            autograph=False,
            jit_compile=jit_compile or None,
        )

    _forget_gradients(whole.graph)
    before, last_part = part(given, [*kept, *shared]), part([last, *shared], moved)

    def after(argument: tf.Tensor, *tensors: tf.Tensor) -> Any:
        second, first = iter(last_part(argument, *tensors[len(kept) :])), iter(tensors)
        flat = [next(second if t.op in behind else first) for t in results]
        return tf.nest.pack_sequence_as(whole.structured_outputs, flat)

    return before, after


def _made_of(graph: Any, argument: tf.Tensor) -> set[Any]:
    """The operations that depend on an argument."""
    found = {argument.op}
    for op in graph.get_operations():  # in the order of computation
        if not found.isdisjoint([*(t.op for t in op.inputs), *op.control_inputs]):
            found.add(op)
    return found


def _border(graph: Any, behind: set[Any], results: list[tf.Tensor]) -> list[tf.Tensor]:
    """The tensors that operations after the cut take from operations before it."""
    variables = {id(t) for t in graph.internal_captures}  # available in both parts
    found: dict[int, tf.Tensor] = {}
    queue, seen = list(results), set()
    while queue:
        tensor = queue.pop()
        if tensor.op in behind:
            if tensor.op not in seen:
                seen.add(tensor.op)
                queue.extend(tensor.op.inputs)
        elif id(tensor) not in variables and tensor.op.type != "Const":
            found[id(tensor)] = tensor
    return list(found.values())


def immediate(function: Callable[..., Any], variables: Sequence[Any] = ()) -> Callable[..., Any]:
    """A function of a list of tensors as one of arrays, for few calls; see `tensors.jax.immediate`."""
    return lambda arrays: function([tf.constant(a) for a in arrays]).numpy()
