"""A Keras 2 model at work."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.keras.models as kmodels

from rap_keras.backends.keras2.graphs import graph_scope
from rap_keras.backends.keras2.rebuild import flattened
from rap_keras.backends.keras2.trace import trace
from rap_keras.backends.network import Network, Run
from rap_keras.inputs.outputs import read_output
from rap_keras.propagate import forward


class Keras2Network(Network):
    """A Keras 2 model, traced once; its functions are parts of its graph, run in its session.

    Args:
        model: A functional or Sequential Keras 2 model, as iNNvestigate takes it. It is not changed;
            nested models are flattened into a copy.
        output: Which output of several is meant, by name or number.

    Attributes:
        slots: The slot of each tensor of the (flat) model, by the tensor's id.

    Raises:
        InputError: The model cannot be followed, or is in no graph.
    """

    def __init__(self, model: Any, output: str | int | None = None) -> None:
        with graph_scope(model):
            if output is not None or len(model.outputs) > 1:
                meant = model.outputs[read_output(output, model.output_names)]
                model = kmodels.Model(model.inputs, meant, name=model.name)
            flat = flattened(model)
            graph, self.slots = trace(flat)
        super().__init__(flat, graph)

    def _build(self, function: Callable[..., Any], others: Sequence[tf.TensorSpec]) -> Run:
        with graph_scope(self.model):
            feeds = [tf.compat.v1.placeholder(t.dtype, t.shape) for t in self.model.inputs]
            rest = [tf.compat.v1.placeholder(spec.dtype, spec.shape) for spec in others]
            fetches = function(feeds, *rest)

        def run(arrays: Sequence[np.ndarray], *given: np.ndarray) -> Any:
            return self._fetched(
                fetches, dict(zip([*feeds, *rest], [*arrays, *given], strict=True))
            )

        return run

    @cached_property
    def _output(self) -> Any:
        with graph_scope(self.model):
            return forward(self.graph, self.model.inputs)[0]

    def _logits_of(self, sample: Sequence[np.ndarray]) -> Any:
        return self._fetched(self._output, dict(zip(self.model.inputs, sample, strict=True)))

    def _outputs(self, sample: Sequence[np.ndarray]) -> tuple[Any, Any]:
        feed = dict(zip(self.model.inputs, sample, strict=True))
        return self._fetched((self._output, self.model.outputs[0]), feed)

    def _fetched(self, fetches: Any, feed: dict[Any, np.ndarray]) -> Any:
        with graph_scope(self.model):
            return tf.compat.v1.keras.backend.get_session().run(fetches, feed)
