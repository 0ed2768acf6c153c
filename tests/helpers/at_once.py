"""Analyzers without tracing.

To trace a model and its way back into a graph of TensorFlow takes most of the time of a test that
explains a few images. The fast tests of networks, of analyzers and of what is built on them let the same
functions compute at once. Tests in other folders trace, slow tests, and those with the mark `programs`:
graphs are their subject, or each graph is used often. One of them traces every method. `make test-all`
sets RAP_KERAS_TESTS_PROGRAMS=1, with which every test traces.
"""

from typing import Any

import numpy as np
import pytest

from helpers.thinned import AS_IT_IS, folder_of

FOLDERS = {
    *(
        "analyzers",
        "backends",
        "benchmark",
        "cli",
        "concepts",
        "docs",
        "interop",
        "models",
        "network",
    ),
    *("patterns", "pipeline", "plot", "public"),
}


def computes_at_once(item: pytest.Item) -> bool:
    """Whether the analyzers of a test compute without tracing."""
    traces = AS_IT_IS or any(map(item.get_closest_marker, ("programs", "slow")))
    return not traces and folder_of(item) in FOLDERS


def compute_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets analyzers on TensorFlow compute without tracing."""
    import tensorflow as tf

    from rap_keras import tensors as ops

    programs, by_column = ops.compiled, ops.compiled_by_column

    def arrays_of(tensors: Any) -> Any:
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), tensors)

    def compiled(function, inputs, others=(), variables=(), jit_compile=False):
        if jit_compile:
            return programs(function, inputs, others, variables, jit_compile)

        def run(arrays, *given):
            return arrays_of(function([*map(tf.constant, arrays)], *map(tf.constant, given)))

        return run

    def compiled_by_column(function, inputs, others, column, variables=(), jit_compile=False):
        if jit_compile:
            return by_column(function, inputs, others, column, variables, jit_compile)

        def run(arrays, *given):
            *rest, columns = given
            each = function([*map(tf.constant, arrays)], *map(tf.constant, rest))
            return [arrays_of(each(tf.constant(one))) for one in np.moveaxis(columns, 1, 0)]

        return run

    monkeypatch.setattr(ops, "compiled", compiled)
    monkeypatch.setattr(ops, "compiled_by_column", compiled_by_column)
