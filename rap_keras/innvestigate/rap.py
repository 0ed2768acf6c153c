"""RAP as an analyzer of iNNvestigate."""

from dataclasses import asdict
from typing import Any

from rap_keras.composites.rap import RAPOptions
from rap_keras.innvestigate.base import PropagationAnalyzer


class RAPAnalyzer(PropagationAnalyzer):
    """Relative Attributing Propagation (Nam et al., AAAI 2020, arXiv 1904.00605) in iNNvestigate.

    Every element of the input gets a signed relevance; by the paper's rules the sum is the logit of the
    selected neuron.

    Args:
        model: A Keras 2 model whose output is the logits. Nested models are flattened into a copy.
        bounds: (low, high) of the input for eq. 10, numbers or arrays that broadcast to a sample;
            None takes the minimum and maximum of each image.
        **options: variant, add, input_rule and head, see `rap_keras.composites.rap.RAPOptions`;
            contrast, what the explained class is set against, see docs/contrast.md; and those of
            iNNvestigate's `ReverseAnalyzerBase`.

    Raises:
        InputError: The model cannot be explained, or an option is wrong.
        UnknownLayerError: A layer has no rule.
        NotAnalyzeableModelException: The model ends in a softmax or a sigmoid.
    """

    def __init__(self, model: Any, bounds: Any = None, **options: Any) -> None:
        self._rap = RAPOptions.taken_from(options)
        super().__init__(model, self._rap.composite(), bounds, **options)

    def _get_state(self) -> dict[str, Any]:
        bounds = None if self._bounds is None else [b.tolist() for b in self._bounds]
        return super()._get_state() | asdict(self._rap) | {"bounds": bounds}

    @classmethod
    def _state_to_kwargs(cls, state: dict[str, Any]) -> dict[str, Any]:
        state = dict(state)
        own = asdict(RAPOptions.taken_from(state)) | {"bounds": state.pop("bounds")}
        return super()._state_to_kwargs(state) | own
