"""A model at work: the face that both backends share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.errors import InputError
from rap_keras.inputs.samples import Pack, read_inputs, refuse_unknown_tokens
from rap_keras.network.graph import Graph
from rap_keras.network.layer_types import head_of
from rap_keras.propagate import forward

Run = Callable[..., Any]


class Network(ABC):
    """A model of either Keras, traced once, for all that compute with it.

    Args:
        model: The model. It is not changed.
        graph: Its graph, from the inputs to the logits.

    Attributes:
        model: The model.
        graph: Its graph.

    Raises:
        InputError: The model cannot be followed, or takes nothing but booleans.
    """

    def __init__(self, model: Any, graph: Graph) -> None:
        if graph.booleans.issuperset(graph.inputs):
            raise InputError(
                f"Expected a model that takes numbers, got one whose input {graph.input_names[0]!r} is "
                "of dtype bool, which passes for a mask and has no relevance: declare it as float32, "
                "which takes True and False for 1 and 0."
            )
        self.model = model
        self.graph = graph
        self._checked = False

    @property
    def inputs(self) -> Sequence[Any]:
        """Shapes and dtypes of the inputs."""
        return self.model.inputs

    @property
    def head(self) -> str | None:
        """What the model makes of its logits: "softmax", "sigmoid", or None for nothing."""
        last = self.graph.producers.get(self.graph.output)
        return self.graph.head or (head_of(last.layer) if last else None)

    @property
    def outputs(self) -> Sequence[Any]:
        """Shapes and dtypes of the model's own outputs."""
        return self.model.outputs

    @property
    def names(self) -> list[str]:
        """The names of the model's inputs."""
        return list(self.graph.input_names)

    def read(self, x: Any, check_finite: bool = True) -> tuple[list[np.ndarray], Pack]:
        """The model's inputs as arrays of its shapes and dtypes, as `read_inputs` reads them.

        Args:
            x: An array or tensor of shape (batch, ...); for several inputs a list, a tuple, or a dict.
            check_finite: Refuse NaN and infinity.

        Returns:
            The arrays, one per input, and a function that packs results as x was packed.

        Raises:
            InputError: Number, shape, dtype or values do not fit.
        """
        arrays, pack = read_inputs(self.inputs, self.names, x, check_finite)
        refuse_unknown_tokens(self.graph, arrays)
        return arrays, pack

    def compiled(self, function: Callable[..., Any], *others: tf.TensorSpec) -> Run:
        """A function of the model's inputs, compiled at its first call.

        Args:
            function: Takes the inputs as a list of tensors and the others, and returns tensors in any
                structure.
            others: What it takes beside the inputs.

        Returns:
            The same function of arrays: it takes those of one batch, as `read` gives them, and the
            others, and returns arrays. Its first call checks the graph against the model.
        """
        built: list[Run] = []

        def run(arrays: Sequence[np.ndarray], *given: np.ndarray) -> Any:
            self.check([a[:1] for a in arrays])
            if not built:
                built.append(self._build(function, others))
            return built[0](arrays, *given)

        return run

    @cached_property
    def logits(self) -> Run:
        """What the model computes before any softmax: arrays of one batch => `(batch, ...)`."""
        return self.compiled(lambda inputs: forward(self.graph, inputs)[0])

    def check(self, sample: Sequence[np.ndarray]) -> None:
        """Refuses, once, a model whose graph does not compute what the model does, or mixes samples.

        Args:
            sample: The inputs, a batch of one. Where values are not finite, nothing is told.

        Raises:
            InputError: The outputs differ, or depend on the other samples of a batch.
        """
        if self._checked or not len(sample[0]) or not all(np.isfinite(a).all() for a in sample):
            return
        got, expected = (np.asarray(y, np.float64) for y in self._outputs(sample))
        if not np.isfinite(expected).all():
            return  # a matter of the numbers, which is told elsewhere
        if not self._close(got, expected):
            raise InputError(
                "Expected the graph of the model's layers to compute what the model computes, got "
                f"outputs that differ by up to {abs(got - expected).max():.3g}: masks, casts or other "
                "effects cross the border of a nested model; flatten it."
            )
        self._refuse_mixing(sample)
        self._checked = True

    def _refuse_mixing(self, sample: Sequence[np.ndarray]) -> None:
        """Refuses a model whose logits of a sample are others beside another sample."""
        if not self._takes_any_number():
            return
        other = [_another(a) for a in sample]
        pair = [np.concatenate(both) for both in zip(sample, other, strict=True)]
        alone = [np.asarray(self._logits_of(one), np.float64) for one in (sample, other)]
        together = np.asarray(self._logits_of(pair), np.float64)
        expected = np.concatenate(alone)
        if not np.isfinite(expected).all():
            return
        if together.shape != expected.shape or not self._close(together, expected):
            raise InputError(
                "Expected a model that computes each sample of a batch on its own, got one whose "
                "outputs for a sample change with the others, so that none has a map of its own: "
                "explain it without the layer that mixes them."
            )

    def _close(self, found: np.ndarray, expected: np.ndarray) -> bool:
        """Equal but for the rounding of the model's precision."""
        dtypes = {getattr(node.layer, "compute_dtype", "float32") for node in self.graph.nodes}
        coarse = 5e-2 if dtypes & {"float16", "bfloat16"} else 1e-3
        return np.allclose(found, expected, rtol=coarse, atol=coarse * abs(expected).max())

    def _takes_any_number(self) -> bool:
        """Whether the model takes any number of samples."""
        return all(spec.shape[0] is None for spec in self.model.inputs)

    @abstractmethod
    def _logits_of(self, sample: Sequence[np.ndarray]) -> Any:
        """What the graph computes of inputs."""

    @abstractmethod
    def _build(self, function: Callable[..., Any], others: Sequence[tf.TensorSpec]) -> Run:
        """Compiles a function of the inputs and the others."""

    @abstractmethod
    def _outputs(self, sample: Sequence[np.ndarray]) -> tuple[Any, Any]:
        """What the graph computes of a sample, up to the model's own output, and what the model does."""


def _another(sample: np.ndarray) -> np.ndarray:
    """A sample of other values that are as likely: tokens stay in the vocabulary of their place."""
    turned = np.flip(sample, tuple(range(1, sample.ndim)))
    if sample.dtype.kind == "b":
        return turned
    smaller = np.minimum(sample, turned)
    return (smaller // 2 if sample.dtype.kind in "iu" else 0.5 * smaller).astype(sample.dtype)
