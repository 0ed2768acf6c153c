"""A model at work: the face that both backends share."""

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.errors import InputError
from rap_keras.inputs.random_samples import RandomSamples, most_telling, sizes_of
from rap_keras.inputs.samples import Pack, read_inputs, refuse_missing_rows, refuse_unknown_tokens
from rap_keras.network.graph import Graph
from rap_keras.network.heads import explained_probabilities
from rap_keras.network.layer_types import head_of
from rap_keras.network.lookups import Lookup, lookups_by_inputs
from rap_keras.propagate import forward
from rap_keras.support.warn import warn

Run = Callable[..., Any]

# What was found of a sample holds for values up to so many times as large.
_LARGER = 10


class Network(ABC):
    """A model of either Keras, traced once, for all that compute with it.

    Args:
        model: The model. It is not changed.
        graph: Its graph, from the inputs to the logits.

    Attributes:
        model: The model.
        graph: Its graph.
        labels: The names of its classes, where they are known.

    Raises:
        InputError: The model cannot be followed, or takes nothing but booleans.
    """

    labels: Sequence[str] | None = None
    _counts_from_end = True  # whether an embedding takes negative tokens

    def __init__(self, model: Any, graph: Graph) -> None:
        if graph.booleans.issuperset(graph.inputs):
            raise InputError(
                f"Expected a model that takes numbers, got one whose input {graph.input_names[0]!r} is "
                "of dtype bool, which passes for a mask and has no relevance: declare it as float32, "
                "which takes True and False for 1 and 0."
            )
        self.model = model
        self.graph = graph
        self._checked: np.ndarray | None = None  # how large the inputs were
        head = explained_probabilities(graph, self._own_slot)
        if head is not None:
            warn(
                f"The output of the model is made of the probabilities of layer {head!r}. They are "
                "explained as they are, but their gradients vanish where the model is sure: to explain "
                "logits, build a model that ends before that layer or averages logits."
            )

    @property
    def _own_slot(self) -> int:
        """The slot of the model's own output."""
        return self.graph.output

    @property
    def inputs(self) -> Sequence[Any]:
        """Shapes and dtypes of the inputs."""
        return self.model.inputs

    @property
    def head(self) -> str | None:
        """The activation that makes probabilities of the logits, "softmax" or "sigmoid", or None."""
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
        refuse_unknown_tokens(self.graph, arrays, self._counts_from_end)
        self._refuse_unknown_rows(arrays)
        return arrays, pack

    def _refuse_unknown_rows(self, arrays: Sequence[np.ndarray]) -> None:
        """Refuses inputs from which the model computes the index of a row that a table lacks."""
        if not self._computed_rows or not len(arrays[0]):
            return
        with telling_tokens():  # one look-up may use the result of another
            found = self._row_numbers(arrays)
        for (lookup, _), numbers in zip(self._computed_rows, found, strict=True):
            place = f"layer {lookup.node.name!r}, which"
            refuse_missing_rows(numbers, lookup.rows, self._counts_from_end, place)

    @cached_property
    def _computed_rows(self) -> list[tuple[Lookup, Graph]]:
        """The look-ups by indices that the model computes from its inputs, and what computes them."""
        return [
            (lookup, part)
            for lookup, part in lookups_by_inputs(self.graph)
            if part.nodes and lookup.slot not in self.graph.constants
        ]

    @cached_property
    def _row_numbers(self) -> Run:
        """These indices: arrays of one batch => a list of arrays."""
        parts = [part for _, part in self._computed_rows]
        return self._build(lambda inputs: [forward(part, inputs)[0] for part in parts], ())

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
        return self._checking(lambda: self._build(function, others))

    def _checking(self, build: Callable[[], Run]) -> Run:
        """A function that is built at its first call, after the check."""
        built: list[Run] = []

        def run(arrays: Sequence[np.ndarray], *given: np.ndarray) -> Any:
            with self.telling_sizes(arrays), telling_tokens():  # tokens first
                self.check(arrays)
                if not built:
                    built.append(build())
                return built[0](arrays, *given)

        return run

    @contextlib.contextmanager
    def telling_sizes(self, arrays: Sequence[np.ndarray]) -> Iterator[None]:
        """Tells of inputs at which the model itself fails, as of a size that it does not take."""
        try:
            yield
        except InputError:
            raise
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            size, number = self._fixed_size(), len(arrays[0])
            if size not in (None, number):
                raise InputError(
                    f"Expected {size} samples at a time, as the model is built for batches of {size}, "
                    f"got {number}: set batch_size={size} and pass a multiple of it, or build the model "
                    "without a batch size.",
                    "batch_size",
                ) from error
            count = size or 1
            if self._takes([np.repeat(a[:1], count, 0) for a in arrays]):
                raise
            shapes = ", ".join(str(("batch", *a.shape[1:])) for a in arrays)
            shapes = shapes.replace("'batch'", "batch")
            raise InputError(
                f"Expected inputs that the model takes, got {shapes}, at which the model itself fails "
                "in predict: use sizes that fit its layers, as those that it was trained with."
            ) from error

    @cached_property
    def logits(self) -> Run:
        """What the model computes before any softmax: arrays of one batch => `(batch, ...)`."""
        return self.compiled(lambda inputs: forward(self.graph, inputs)[0])

    def check(self, arrays: Sequence[np.ndarray]) -> None:
        """Refuses a model whose graph does not compute what the model does, or mixes samples.

        The check runs with the sample of the largest values, and again when values come that are more
        than ten times as large, because small values, zeros above all, show little.

        Args:
            arrays: The inputs, a batch of any size. Nothing is checked if values are not finite.

        Raises:
            InputError: The outputs differ, or depend on the other samples of a batch.
        """
        sizes = sizes_of(arrays)
        place = most_telling(sizes)
        if place is None:
            return
        known = self._checked
        if known is not None and not (sizes[place] > _LARGER * known).any():
            return
        sample = [a[place:][:1] for a in arrays]
        whole = [np.repeat(a, self._fixed_size() or 1, 0) for a in sample]
        got, expected = (np.asarray(y, np.float64) for y in self._outputs(whole))
        if not np.isfinite(expected).all():
            return  # a matter of the numbers, which is told elsewhere
        if not self._close(got, expected):
            raise InputError(
                "Expected the graph of the model's layers to compute what the model computes, got "
                f"outputs that differ by up to {abs(got - expected).max():.3g}: a layer is called with "
                "training=True, or masks, casts or other effects cross the border of a nested model; "
                "build the model without that, or flatten it."
            )
        self._refuse_mixing(sample)
        self._checked = sizes[place] if known is None else np.maximum(known, sizes[place])

    def _refuse_mixing(self, sample: Sequence[np.ndarray]) -> None:
        """Refuses a model whose logits for a sample depend on the other samples of its batch."""
        fixed = self._fixed_size()
        size = fixed or 2
        if size == 1:
            return
        drawn = RandomSamples(self.graph, sample)
        others, far = drawn.draw(size - 1), drawn.draw(1, spread=4)
        # Each sample with others and, if the batch size is free, in a batch of another size.
        batches = [
            _joined(sample, drawn.draw(size - 1)) if fixed else sample,
            _joined(far, others) if fixed else _joined(far, others, far),
            _joined(sample, others),
        ]
        try:
            results = [np.asarray(self._logits_of(batch), np.float64) for batch in batches]
        except (InputError, ValueError, TypeError, tf.errors.OpError):
            return  # the model does not take such samples, and says so itself
        first, second, together = results
        if all(
            len(y) == len(b[0]) for y, b in zip(map(np.atleast_1d, results), batches, strict=True)
        ):
            expected = np.concatenate([first[:1], second[1:size]])
            if together.shape == expected.shape and self._close(together, expected):
                return
        raise InputError(
            "Expected a model that computes each sample of a batch on its own, got one whose "
            "outputs for a sample change with the others, so maps would be meaningless: explain it "
            "without the layer that mixes samples."
        )

    def _close(self, found: np.ndarray, expected: np.ndarray) -> bool:
        """Equal but for the rounding of the model's precision."""
        dtypes = {getattr(node.layer, "compute_dtype", "float32") for node in self.graph.nodes}
        coarse = 5e-2 if dtypes & {"float16", "bfloat16"} else 1e-3
        if not np.array_equal(np.isfinite(found), np.isfinite(expected)):
            return False
        size = abs(expected[np.isfinite(expected)]).max(initial=0)
        return np.allclose(found, expected, rtol=coarse, atol=coarse * size, equal_nan=True)

    def _fixed_size(self) -> int | None:
        """The batch size that the model is built for; None if it takes any."""
        return next((n for spec in self.model.inputs if (n := spec.shape[0]) is not None), None)

    @abstractmethod
    def _logits_of(self, sample: Sequence[np.ndarray]) -> Any:
        """What the graph computes of inputs."""

    @abstractmethod
    def _build(self, function: Callable[..., Any], others: Sequence[tf.TensorSpec]) -> Run:
        """Compiles a function of the inputs and the others."""

    @abstractmethod
    def _takes(self, sample: Sequence[np.ndarray]) -> bool:
        """Whether the model itself computes something of inputs."""

    @abstractmethod
    def _outputs(self, sample: Sequence[np.ndarray]) -> tuple[Any, Any]:
        """What the graph computes of a sample, up to the model's own output, and what the model does."""


@contextlib.contextmanager
def telling_tokens() -> Iterator[None]:
    """Turns TensorFlow's error about a missing row of a table into an `InputError`."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(r"= (-?\d+) is not in \[0, (\d+)\)", str(error))
        if not found:
            raise
        raise InputError(
            f"Expected tokens from 0 to {int(found[2]) - 1}, as an embedding or table of the model has "
            f"{found[2]} rows, got {found[1]}: use the vocabulary of the model."
        ) from None


def not_finite(weights: Iterable[tuple[str, np.ndarray]]) -> InputError:
    """The error about maps that are not finite.

    Args:
        weights: Those of the model, by name.
    """
    for name, value in weights:
        if not np.isfinite(value).all():
            return InputError(
                f"Expected a model with finite weights, but {name!r} holds NaN or infinity: train the "
                "model again, or load earlier weights."
            )
    return InputError(
        "Expected finite relevance, got NaN or infinity from finite inputs: the model's own values "
        "overflow, or its slope is infinite there, as of a square root at 0; scale the input as the "
        "model expects it, or set check_finite=False."
    )


def _joined(*batches: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Several batches joined into one."""
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]
