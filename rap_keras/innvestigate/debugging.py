"""The tensors that iNNvestigate keeps for debugging."""

from typing import Any

from innvestigate.analyzer.reverse_base import ReverseAnalyzerBase


class KeepingAnalyzer(ReverseAnalyzerBase):
    """An analyzer whose reverse_keep_tensors works for any inputs and targets.

    iNNvestigate's fails where tensors have the same id: those of several inputs, and of a target.
    """

    _reverse_keep_tensors: bool
    _keeper: Any = None  # the analyzer that this one is the same as, in another mode

    def _handle_debug_output(self, debug_values: Any) -> None:
        keep, self._reverse_keep_tensors = self._reverse_keep_tensors, False
        super()._handle_debug_output(debug_values)
        self._reverse_keep_tensors = keep
        if keep:
            first, last = self._debug_tensors_indices["keep"]
            ids, kept = self._reverse_tensors_mapping, debug_values[first:last]
            pairs = [(ids[k], tensor) for k, tensor in enumerate(kept)]
            self._reversed_tensors = sorted(pairs, key=lambda pair: pair[0])
            if self._keeper is not None:
                self._keeper._reversed_tensors = self._reversed_tensors
