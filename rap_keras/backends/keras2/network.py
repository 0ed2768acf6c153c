"""An opened Keras 2 model."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.keras.layers as klayers
import tensorflow.keras.models as kmodels

from rap_keras.backends.keras2.graphs import graph_scope
from rap_keras.backends.keras2.rebuild import flattened
from rap_keras.backends.keras2.trace import trace
from rap_keras.backends.network import Network, Run, explaining_tokens
from rap_keras.errors import InputError
from rap_keras.inputs.classes import read_output
from rap_keras.inputs.samples import Pack
from rap_keras.network.graph import Graph, Node
from rap_keras.propagate import logits_of

_VECTOR = "relevance/neurons"  # the layer that flattens other outputs to a vector


class Keras2Network(Network):
    """A Keras 2 model, traced once; its functions are parts of its graph, run in its session.

    If it defines its `call`, it must have been called on an Input. `as_vector` flattens an output with
    more axes of known size, as iNNvestigate requires; several outputs are then an error. `slots` has
    the slot of each tensor of the (flat) model, by the tensor's id.
    """

    _counts_from_end = False
    _copied: Any = None  # the model, if the network is a flat copy of it

    def __init__(
        self, model: Any, output: str | int | None = None, as_vector: bool = False
    ) -> None:
        with graph_scope(model):
            if not as_vector and (output is not None or len(model.outputs) > 1):
                meant = model.outputs[read_output(output, model.output_names)]
                model = kmodels.Model(model.inputs, meant, name=model.name)
            flat = flattened(model)
            if flat is not model:
                self._copied, self._bits = model, [_bits_of(v) for v in model.weights]
                self._at_copying = tf.compat.v1.keras.backend.get_session().run(self._bits)
            if as_vector:
                flat = _as_vector(flat)
            graph, self.slots = trace(flat)
        super().__init__(flat, graph)

    @property
    def _model_slot(self) -> int:
        node = self.graph.producers.get(self.graph.output)
        return node.inputs[0] if node and node.name == _VECTOR else self.graph.output

    @property
    def last(self) -> Node | None:
        """The node that makes the model's output, before it is flattened."""
        return self.graph.producers.get(self._model_slot)

    @property
    def positions(self) -> tuple[int | None, ...]:
        """The shape of a sample's output, before it is flattened."""
        return self.graph.shapes[self._model_slot][1:]

    def read(self, x: Any, check_finite: bool = True) -> tuple[list[np.ndarray], Pack]:
        """Like `Network.read`, but a model may have a fixed batch size."""
        arrays, pack = super().read(x, check_finite)
        for spec, array in zip(self.inputs, arrays, strict=True):
            if spec.shape[0] not in (None, len(array)):
                raise InputError(
                    f"Expected {spec.shape[0]} samples, the batch size that the model is built for, "
                    f"got {len(array)}: pass this number, or build the model without a batch size."
                )
        return arrays, pack

    def check(self, arrays: Sequence[np.ndarray]) -> None:
        """Like `Network.check`. At each call it also checks that a copied model has not changed."""
        if self._copied is not None:
            with graph_scope(self._copied):
                now = tf.compat.v1.keras.backend.get_session().run(self._bits)
            for variable, found, bits in zip(
                self._copied.weights, now, self._at_copying, strict=True
            ):
                if found != bits:
                    raise InputError(
                        "Expected the weights with which the model was copied to open the models and "
                        f"layers in it, but {variable.name!r} has changed: create the analyzer again."
                    )
        super().check(arrays)

    def _build(
        self,
        function: Callable[..., Any],
        others: Sequence[tf.TensorSpec] = (),
        jit_compile: bool = False,
    ) -> Run:
        with graph_scope(self.model):
            feeds = [tf.compat.v1.placeholder(t.dtype, t.shape) for t in self.model.inputs]
            rest = [tf.compat.v1.placeholder(spec.dtype, spec.shape) for spec in others]
            fetches = function(feeds, *rest)

        def run(arrays: Sequence[np.ndarray], *given: np.ndarray) -> Any:
            return self._fetched(fetches, [*feeds, *rest], [*arrays, *given])

        return run

    @cached_property
    def _output(self) -> Any:
        with graph_scope(self.model):
            return logits_of(self.graph, self.model.inputs)

    @property
    def is_checked(self) -> bool:
        """Whether `check` has accepted the model; it does not check samples that are not finite."""
        return self._checked is not None and bool(self._checked.all())

    def _logits_of(self, sample: Sequence[np.ndarray]) -> Any:
        return self._computed(sample)[0]

    def _takes(self, sample: Sequence[np.ndarray]) -> bool:
        try:
            self._fetched(self.model.outputs[0], self.model.inputs, sample)
        except tf.errors.OpError:
            return False
        return True

    def _outputs(self, sample: Sequence[np.ndarray]) -> tuple[Any, Any]:
        found, once = self._computed(sample)
        size = np.abs(once[np.isfinite(once)]).max(initial=0)
        repeats = 7 if self._trains() else 1  # dropout of few neurons may be the same twice
        for _ in range(repeats):
            _, again = self._computed(sample)
            if not np.allclose(once, again, rtol=1e-3, atol=1e-3 * size, equal_nan=True):
                raise InputError(
                    "Expected a model that always computes the same for a sample, got outputs that "
                    f"differ by {abs(once - again).max():.3g}: a layer is random, as Dropout is "
                    "with training=True; build the model without that."
                )
        return found, once

    def _computed(self, sample: Sequence[np.ndarray]) -> tuple[Any, Any]:
        """The outputs for a sample, computed by the graph and by the model.

        Both are always computed, because the session needs time to prepare each new choice of outputs.
        """
        given = self._fetched((self._output, self.model.outputs[0]), self.model.inputs, sample)
        found, once = (np.asarray(y, np.float64) for y in given)  # NumPy cannot compare bfloat16
        return found, once

    def _trains(self) -> bool:
        """Whether a layer or a model in the model is called with training=True."""
        nodes = (n for layer in self.model._flatten_layers() for n in layer._inbound_nodes)
        return any(node.call_kwargs.get("training") for node in nodes)

    def _fetched(self, fetches: Any, inputs: Sequence[Any], arrays: Sequence[np.ndarray]) -> Any:
        with graph_scope(self.model), explaining_tokens():
            session = tf.compat.v1.keras.backend.get_session()
            return session.run(fetches, dict(zip(inputs, arrays, strict=True)))


class OpaqueNetwork(Keras2Network):
    """An unchanged Keras 2 model with one output, of which only the results are checked."""

    def __init__(self, model: Any) -> None:
        with graph_scope(model):
            try:
                graph, self.slots = trace(model)
            except InputError:  # layers that other backends may open
                graph, self.slots = _without_nodes(model), {}
        Network.__init__(self, model, graph)

    @cached_property
    def logits(self) -> Run:
        """The model's own output: from the arrays of one batch to `(batch, ...)`."""
        return self._logits_of

    @cached_property
    def _output(self) -> Any:
        return self.model.outputs[0]


def _without_nodes(model: Any) -> Graph:
    *inputs, output = range(len(model.inputs) + 1)
    shapes = [tuple(t.shape) for t in (*model.inputs, model.outputs[0])]
    names = tuple(model.input_names)
    return Graph((), tuple(inputs), names, output, dict(enumerate(shapes)), frozenset())


def _bits_of(variable: Any) -> Any:
    """The sum of the bits of a weight, as integers: exact in any order, unlike that of its values."""
    value = variable.read_value()
    if value.dtype.is_floating:
        value = tf.bitcast(value, {2: tf.int16, 4: tf.int32, 8: tf.int64}[value.dtype.size])
    return tf.reduce_sum(value if value.dtype.size > 2 else tf.cast(value, tf.int32))


def _as_vector(model: Any) -> Any:
    """The model itself or, if its output is not a vector, a model with a flattened output.

    iNNvestigate tries to flatten such outputs, but fails.
    """
    output = model.outputs[0]
    if len(model.outputs) > 1 or len(output.shape) < 3 or None in output.shape[1:]:
        return model  # a vector, or an error later
    return kmodels.Model(model.inputs, klayers.Flatten(name=_VECTOR)(output), name=model.name)
