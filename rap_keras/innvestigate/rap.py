"""RAP as an analyzer of iNNvestigate."""

from typing import Any

from rap_keras.composites.rap import rap_composite
from rap_keras.innvestigate.base import PropagationAnalyzer


class RAPAnalyzer(PropagationAnalyzer):
    """Relative Attributing Propagation (Nam et al., AAAI 2020, arXiv 1904.00605) in iNNvestigate.

    Every element of the input gets a signed relevance; by the paper's rules the sum is the logit of the
    selected neuron.

    Args:
        model: A Keras 2 model whose output is the logits. Nested models are flattened into a copy.
        variant: "paper": eqs. 5-10. "released": what the authors' released code computes.
        add: How sums of several tensors are shared: "absolute", "positive" or "signed"; None is the
            variant's own. The paper is silent.
        input_rule: "box": eq. 10 at the first linear layer, where the input has spatial axes. "inner":
            eqs. 7-9 there too.
        head: How the last linear layer shares. "absolute": eqs. 5-6, by the sizes of contributions.
            "positive": by positive contributions alone, which tells classes apart (docs/contrast.md).
        bounds: (low, high) of the input for eq. 10, numbers or arrays that broadcast to a sample;
            None takes the minimum and maximum of each image.
        contrast: What the explained class is set against, see docs/contrast.md.
        **options: Those of iNNvestigate's `ReverseAnalyzerBase`.

    Raises:
        InputError: The model cannot be explained, or an option is wrong.
        UnknownLayerError: A layer has no rule.
        NotAnalyzeableModelException: The model ends in a softmax or a sigmoid.
    """

    def __init__(
        self,
        model: Any,
        variant: str = "paper",
        add: str | None = None,
        input_rule: str = "box",
        head: str = "absolute",
        bounds: Any = None,
        **options: Any,
    ) -> None:
        self._rap: dict[str, Any] = {
            "variant": variant,
            "add": add,
            "input_rule": input_rule,
            "head": head,
        }
        super().__init__(model, rap_composite(**self._rap), bounds, **options)

    def _get_state(self) -> dict[str, Any]:
        bounds = None if self._bounds is None else [b.tolist() for b in self._bounds]
        return super()._get_state() | self._rap | {"bounds": bounds}

    @classmethod
    def _state_to_kwargs(cls, state: dict[str, Any]) -> dict[str, Any]:
        state = dict(state)
        own = {key: state.pop(key) for key in ("variant", "add", "input_rule", "bounds")}
        own["head"] = state.pop("head", "absolute")  # saved before there was a choice
        return super()._state_to_kwargs(state) | own
