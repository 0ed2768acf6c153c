"""An opened model: the interface that both backends share."""

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from rap_keras import tensors as ops
from rap_keras.errors import InputError
from rap_keras.inputs.random_samples import RandomSamples, most_telling, sizes_of
from rap_keras.inputs.samples import Pack, read_inputs, refuse_missing_rows, refuse_unknown_tokens
from rap_keras.network.graph import Graph
from rap_keras.network.heads import explained_probabilities
from rap_keras.network.layer_types import head_of, is_a
from rap_keras.network.lookups import Lookup, lookups_by_inputs
from rap_keras.propagate import logits_of
from rap_keras.support.text import first_line
from rap_keras.support.warn import warn

Run = Callable[..., Any]

# A check made with one sample is valid for values that are up to this many times larger.
_LARGER = 10


class Network(ABC):
    """A model of either Keras, traced once, for all computations with it. It is not changed."""

    labels: Sequence[str] | None = None
    _padded = False  # whether a sample with padding was checked
    _counts_from_end = True  # whether an embedding accepts negative tokens

    def __init__(self, model: Any, graph: Graph) -> None:
        if graph.booleans.issuperset(graph.inputs):
            raise InputError(
                f"Expected a model that takes numbers, got one whose input {graph.input_names[0]!r} is "
                "of dtype bool, which counts as a mask and gets no relevance: declare it as float32, "
                "which treats True and False as 1 and 0."
            )
        self.model = model
        self.graph = graph
        self._checked: np.ndarray | None = None  # the size of the checked inputs
        head = explained_probabilities(graph, self._model_slot)
        if head is not None:
            warn(
                f"The output of the model is computed from the probabilities of layer {head!r}. They "
                "are explained as they are, but their gradients vanish if the model is certain: to "
                "explain logits, build a model that ends before that layer or averages logits."
            )

    @property
    def _model_slot(self) -> int:
        """The slot of the model's own output."""
        return self.graph.output

    @property
    def inputs(self) -> Sequence[Any]:
        """Shapes and dtypes of the inputs."""
        return self.model.inputs

    @property
    def head(self) -> str | None:
        """The activation that turns the logits into probabilities: "softmax", "sigmoid" or None."""
        last = self.graph.producers.get(self.graph.output)
        return self.graph.head or (head_of(last.layer) if last else None)

    @property
    def names(self) -> list[str]:
        """The names of the model's inputs."""
        return list(self.graph.input_names)

    def read(self, x: Any, check_finite: bool = True) -> tuple[list[np.ndarray], Pack]:
        """Reads the model's inputs as arrays, with a function that packs results like x."""
        arrays, pack = read_inputs(self.inputs, self.names, x, check_finite)
        refuse_unknown_tokens(self.graph, arrays, self._counts_from_end)
        self._refuse_unknown_rows(arrays)
        return arrays, pack

    def _refuse_unknown_rows(self, arrays: Sequence[np.ndarray]) -> None:
        """Raises an error for inputs from which the model computes an index that is not in a table."""
        if not len(arrays[0]):
            return
        for lookup, numbers in self._row_numbers:  # one may use the result of another before it
            place = f"layer {lookup.node.name!r}, which"
            with explaining_tokens():
                found = numbers(arrays)
            refuse_missing_rows(found, lookup.rows, self._counts_from_end, place)

    @cached_property
    def _row_numbers(self) -> list[tuple[Lookup, Run]]:
        """The look-ups by indices from the inputs, with functions that compute these, in their order."""

        def numbers(part: Graph) -> Run:
            if not part.nodes:  # an input
                place = self.graph.inputs.index(part.output)
                return lambda arrays: arrays[place]
            return self._build(lambda inputs: logits_of(part, inputs), ())

        return [
            (lookup, numbers(part))
            for lookup, part in lookups_by_inputs(self.graph)
            if lookup.slot not in self.graph.constants
        ]

    def compiled(
        self, function: Callable[..., Any], *others: ops.Spec, jit_compile: bool = False
    ) -> Run:
        """Compiles a function of the model's inputs, a list of tensors, and others at its first call.

        What is returned takes the arrays of one batch, as `read` gives them, and the others, and
        returns arrays. Its first call checks the graph against the model.
        """
        return self._checking(lambda: self._build(function, others, jit_compile))

    def _checking(self, build: Callable[[], Run]) -> Run:
        """A function that is built at its first call, after the check."""
        built: list[Run] = []

        def run(arrays: Sequence[np.ndarray], *given: np.ndarray) -> Any:
            with self.explaining_sizes(arrays), explaining_tokens():  # tokens first
                self.check(arrays)
                if not built:
                    built.append(build())
                return built[0](arrays, *given)

        return run

    @contextlib.contextmanager
    def explaining_sizes(self, arrays: Sequence[np.ndarray]) -> Iterator[None]:
        """Explains errors for inputs with which the model itself fails, for example of a wrong size."""
        try:
            yield
        except InputError:
            raise
        except (ValueError, *ops.ERRORS) as error:
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
                f"Expected inputs that the model takes, got {shapes}, with which the model itself fails "
                f"in predict ({first_line(error)}): use sizes that fit its layers, such as those that "
                "it was trained with."
            ) from error

    @cached_property
    def logits(self) -> Run:
        """The model's output before any softmax: from the arrays of one batch to `(batch, ...)`."""
        return self.compiled(lambda inputs: logits_of(self.graph, inputs))

    def check(self, arrays: Sequence[np.ndarray]) -> None:
        """Raises an error if the graph does not compute the model's output, or the model mixes samples.

        The check uses the sample with the largest values, if any are finite. It is repeated when values
        are more than ten times larger, because small values, and especially zeros, reveal little.
        """
        sizes = sizes_of(arrays)
        place = most_telling(sizes)
        if place is None:
            return
        self._check_padding(arrays)
        known = self._checked
        if known is not None and not (sizes[place] > _LARGER * known).any():
            return
        sample = [a[place:][:1] for a in arrays]
        if not self._computes(sample):
            return  # overflow is reported elsewhere
        self._refuse_mixing(sample)
        self._checked = sizes[place] if known is None else np.maximum(known, sizes[place])

    def _check_padding(self, arrays: Sequence[np.ndarray]) -> None:
        """Checks a sample with padding, whose mask a layer may lose, once."""
        zeros, steps = self._masked
        if self._padded or not (zeros or steps):
            return
        found = sum(_padding(a, zeros, steps) for a in arrays)
        if np.any(found):
            place = int(np.argmax(found))
            self._padded = self._computes([a[place:][:1] for a in arrays])

    @cached_property
    def _masked(self) -> tuple[bool, list[float]]:
        """Whether layers mask zeros, and the values of which they mask whole steps."""
        layers = [node.layer for node in self.graph.nodes]
        zeros = any(getattr(layer, "mask_zero", False) for layer in layers)
        return zeros, [layer.mask_value for layer in layers if is_a(layer, {"Masking"})]

    def _computes(self, sample: Sequence[np.ndarray]) -> bool:
        """Whether the outputs for a sample are finite; an error if those of the graph differ."""
        whole = [np.repeat(a, self._fixed_size() or 1, 0) for a in sample]
        got, expected = (np.asarray(y, np.float64) for y in self._outputs(whole))
        if not np.isfinite(expected).all():
            return False
        if not self._close(got, expected):
            raise InputError(
                "Expected the graph of the model's layers to compute what the model computes, got "
                f"outputs that differ by up to {abs(got - expected).max():.3g}: a layer is called with "
                "training=True, or masks, casts or other effects cross the border of a nested model; "
                "build the model without this, or flatten it."
            )
        return True

    def _refuse_mixing(self, sample: Sequence[np.ndarray]) -> None:
        """Raises an error if the logits of a sample depend on the other samples of its batch."""
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
        except (InputError, ValueError, TypeError, *ops.ERRORS):
            return  # the model raises an error for such samples
        first, second, together = results
        if all(
            len(y) == len(b[0]) for y, b in zip(map(np.atleast_1d, results), batches, strict=True)
        ):
            expected = np.concatenate([first[:1], second[1:size]])
            if together.shape == expected.shape and self._close(together, expected):
                return
        raise InputError(
            "Expected a model that computes each sample of a batch separately, got one whose outputs "
            "for a sample change with the others, so maps would be meaningless: explain it without "
            "the layer that mixes samples."
        )

    def _close(self, found: np.ndarray, expected: np.ndarray) -> bool:
        """Whether two outputs are equal, up to rounding in the model's precision."""
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
        """Runs the graph on inputs."""

    @abstractmethod
    def _build(
        self,
        function: Callable[..., Any],
        others: Sequence[ops.Spec] = (),
        jit_compile: bool = False,
    ) -> Run:
        """Compiles a function of the inputs and the others."""

    @abstractmethod
    def _takes(self, sample: Sequence[np.ndarray]) -> bool:
        """Whether the model itself accepts inputs."""

    @abstractmethod
    def _outputs(self, sample: Sequence[np.ndarray]) -> tuple[Any, Any]:
        """The model's output for a sample, computed by the graph and by the model."""


def _padding(array: np.ndarray, zeros: bool, steps: Sequence[float]) -> np.ndarray:
    """The number of places of each sample that may be masked: zeros, and steps of one of the values."""
    masked = [array == 0] if zeros else []
    masked += [(array == np.asarray(value, array.dtype)).all(-1) for value in steps]
    return np.sum([mask.reshape(len(array), -1).sum(1) for mask in masked], 0)


@contextlib.contextmanager
def explaining_tokens() -> Iterator[None]:
    """Turns an error about a missing row of a table into an `InputError`."""
    try:
        yield
    except ops.ERRORS as error:
        found = re.search(r"= (-?\d+) is not in \[0, (\d+)\)", str(error))
        if not found:
            raise
        raise InputError(
            f"Expected tokens from 0 to {int(found[2]) - 1}, as an embedding or table of the model has "
            f"{found[2]} rows, got {found[1]}: use the vocabulary of the model."
        ) from None


def broken_weights(weights: Iterable[tuple[str, np.ndarray]]) -> InputError | None:
    """The error about the first weight that is not finite; None if all are."""
    for name, value in weights:
        if not np.isfinite(value).all():
            return InputError(
                f"Expected a model with finite weights, but {name!r} contains NaN or infinity: train "
                "the model again, or load earlier weights."
            )
    return None


def not_finite(weights: Iterable[tuple[str, np.ndarray]]) -> InputError:
    """The error about maps that are not finite, which may be due to the weights."""
    return broken_weights(weights) or InputError(
        "Expected finite relevance, got NaN or infinity from finite inputs: the model's own values "
        "overflow, or its slope is infinite there, like that of a square root at 0; scale the input as "
        "the model expects it, or set check_finite=False."
    )


def _joined(*batches: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Several batches joined into one."""
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]
