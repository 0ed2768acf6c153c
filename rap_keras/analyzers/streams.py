"""Data sets, explained batch by batch."""

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from rap_keras.analyzers.explanation import Explanation
from rap_keras.inputs.batches import batches
from rap_keras.inputs.samples import refuse_single_samples, refuse_targets_of_each


class StreamAnalyzer:
    """The part of an analyzer that gives the parts of a data set the maps of the whole."""

    _call: threading.local  # what belongs to the calls of one thread

    @property
    def _first(self) -> int:
        """The position of the first sample of a call, which decides about its noise."""
        return getattr(self._call, "first", 0)

    @contextlib.contextmanager
    def counting_from(self, position: int) -> Iterator[None]:
        """Draws noise as for the samples from `position` on."""
        before, self._call.first = self._first, position
        try:
            yield
        finally:
            self._call.first = before

    def _stream(self, x: Any, target: Any) -> Iterator[Any]:
        """The batches of a data set, all of which have the same target."""
        this: Any = self
        refuse_single_samples(x, this._network.inputs)
        refuse_targets_of_each(target, this._output_shape)
        return batches(x, this.batch_size)[0]

    def _each(
        self, stream: Iterable[Any], target: Any, against: Any, position: int
    ) -> Iterator[Explanation]:
        """The explanations of batches, one after the other, from a position on."""
        this: Any = self
        for batch in stream:
            with self.counting_from(position):
                found = this.explain(batch, target, against=against)
            position += len(found.logits)
            yield found
