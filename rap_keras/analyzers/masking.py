"""Methods that run the model on inputs with parts replaced: forward passes only, no gradients."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from rap_keras.analyzers.base import Analyzer
from rap_keras.analyzers.explanation import explained_sum
from rap_keras.analyzers.zero_maps import warn_of_inputs
from rap_keras.errors import InputError
from rap_keras.inputs.samples import as_dtype, in_order, refuse_unknown_tokens
from rap_keras.inputs.target import Target
from rap_keras.inputs.tensors import readable
from rap_keras.network.feature_maps import has_channels_first
from rap_keras.network.lookups import leading_to, lookups_by_inputs
from rap_keras.support.text import shown


class Sample(NamedTuple):
    """One sample with what is explained of it; logits and neurons have a batch axis of 1."""

    inputs: list[np.ndarray]
    number: int  # in the call, for random masks
    logits: np.ndarray
    neurons: np.ndarray | None

    def explained(self, logits: np.ndarray) -> np.ndarray:
        """The explained logit of the sample under each mask."""
        every = None if self.neurons is None else np.repeat(self.neurons, len(logits), 0)
        return explained_sum(logits, every)


class MaskedAnalyzer(Analyzer):
    """Weights masks of an input by the model's output for the masked input.

    Of several inputs, one at a time is masked, and the others stay as they are: the map of an input is
    that of a model of this input alone.
    """

    def __init__(self, model: keras.Model, value: Any = 0, **options: Any) -> None:
        super().__init__(model, **options)
        self._shapes = [tuple(self._graph.shapes[slot][1:]) for slot in self._graph.inputs]
        found = lookups_by_inputs(self._graph)
        self._tokens = set().union(*(leading_to(self._graph, lookup.slot) for lookup, _ in found))
        self._masked = self._masked_inputs()
        if not self._masked:
            raise InputError(
                f"Expected a model with an input of images, (height, width, channels), or of series, "
                f"volumes or videos for {self.name!r}, got inputs of shapes {self._shapes}: use "
                '"occlusion", which takes rows and tokens too, or "rap".'
            )
        for place in self._masked:
            if self._has_channels(place) and has_channels_first(self._graph, place):
                raise InputError(
                    f"Expected inputs with channels last for {self.name!r}, got "
                    f"{self._graph.input_names[place]!r}, which the model takes with channels first: "
                    'use another method, such as "rap".'
                )
        self.value, self._values = self._read_value(value)

    def _masked_inputs(self) -> list[int]:
        """The numbers of the inputs that are masked: those with positions and channels."""
        return [k for k in range(len(self._shapes)) if self._has_channels(k)]

    def _has_channels(self, place: int) -> bool:
        """Whether the last axis of an input is that of channels; rows and tokens have none."""
        slot = self._graph.inputs[place]
        known = slot not in self._tokens and slot not in self._graph.booleans
        return known and len(self._shapes[place]) > 1

    def _check_call(self, x: Any) -> None:
        names = self._graph.input_names
        left = [name for k, name in enumerate(names) if k not in self._masked]
        warn_of_inputs(self.name, left, self._left_out())

    def _left_out(self) -> str:
        """Why some inputs are not masked."""
        return "without positions and channels to mask"

    def _of_inputs(self, option: str, given: Any) -> Sequence[Any]:
        """An option's value for each input: a list or dict if there are several, or one for all."""
        count = len(self._shapes)
        given = in_order(option, given, self._network.names)
        if count == 1 or not isinstance(given, list | tuple):
            return [given] * count
        if len(given) != count:
            raise InputError(
                f"Expected {option} to be one value for all inputs, or a list with one for each of the "
                f"{count} inputs, got {shown(given)}.",
                option,
            )
        return given

    def _read_value(self, given: Any) -> tuple[Any, list[np.ndarray]]:
        each = self._of_inputs("value", given)
        values = [self._one_value(value, k) for k, value in enumerate(each)]
        flat = [value.ravel() for value in values]
        refuse_unknown_tokens(self._graph, flat, self._network._counts_from_end)
        whole = [value.tolist() for value in values]
        return (whole[0] if all(one == whole[0] for one in whole) else whole), values

    def _one_value(self, given: Any, place: int) -> np.ndarray:
        """The value that replaces elements of one input; 0 if it is not masked."""
        if place not in self._masked:
            return np.zeros(())
        try:
            array = np.asarray(readable(given))
            numbers = array.astype(np.float64) if array.dtype.kind in "iuf" else np.array(np.nan)
        except (TypeError, ValueError):
            numbers = np.array(np.nan)
        channels = self._shapes[place][-1] if self._has_channels(place) else None
        known = ((),) if channels is None else ((), (channels,))
        if numbers.shape not in known or not np.isfinite(numbers).all():
            each = "" if channels is None else f", or one for each of the {channels} channels"
            raise InputError(
                f"Expected value to be a finite number{each}, got {shown(given)}.", "value"
            )
        as_dtype(numbers, self._network.inputs[place].dtype, "value")
        return numbers

    def _map(self, sample: Sample, place: int) -> np.ndarray:
        """The map of one input of a sample, without channels, float64."""
        raise NotImplementedError

    def _size(self, sample: Sample, place: int) -> tuple[int, ...]:
        """The axes of positions of an input of a sample."""
        shape = sample.inputs[place].shape
        return shape[:-1] if self._has_channels(place) else shape

    def _seen(
        self, sample: Sample, place: int, masks: Iterator[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields masks (n, positions ...), 0 hides and 1 shows, and the logits of the masked input."""
        x, value = sample.inputs[place], self._values[place]
        for some in masks:
            kept = some[..., None] if self._has_channels(place) else some
            batch = [np.repeat(a[None], len(some), 0) for a in sample.inputs]
            whole = x.dtype.kind in "iu"  # whole numbers are rounded, not cut
            for k in range(len(some)):
                masked = x * kept[k] + value * (1 - kept[k])
                batch[place][k] = np.rint(masked) if whole else masked
            logits = self._network.logits(batch)
            yield some, self._sign * (logits - self.reference_output)

    def _explained_some(self, arrays: list[np.ndarray], target: Target) -> dict[str, Any]:
        logits = self._logits_of(arrays)
        explained = target.neurons(logits)
        maps = [np.zeros(a.shape, self._dtype(a.dtype)) for a in arrays]
        for k in range(len(logits)):
            neurons = None if target.kind == "all" else explained[k : k + 1]
            inputs = [a[k] for a in arrays]
            sample = Sample(inputs, self._first + k, logits[k : k + 1], neurons)
            for place in self._masked:
                found = self._map(sample, place)
                if self._has_channels(place):
                    found = found[..., None] / inputs[place].shape[-1]
                maps[place][k] = found
        return {"maps": maps, "logits": logits, "neurons": explained}
