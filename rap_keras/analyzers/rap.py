"""RAP on Keras 3."""

from typing import Any

import keras

from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.composites.rap import rap_composite


class RAPAnalyzer(PropagationAnalyzer):
    """Relative Attributing Propagation (Nam et al., AAAI 2020, arXiv 1904.00605).

    Every element of the input gets a signed relevance; the sum is the logit of the selected neuron. The
    map hardly depends on the class (docs/sanity.md), unless it is told what the class is set against, by
    the option `contrast`.

    Args:
        model: See `Analyzer`.
        variant: "paper": eqs. 5-10. "released": what the authors' released code computes.
        add: How sums of several tensors are shared: "absolute", "positive" or "signed"; None is the
            variant's own. The paper is silent.
        input_rule: "box": eq. 10 at the first linear layer, where the input has spatial axes. "inner":
            eqs. 7-9 there too.
        head: How the last linear layer shares. "absolute": eqs. 5-6, by the sizes of contributions.
            "positive": by positive contributions alone, which tells classes apart (docs/contrast.md).
        bounds: (low, high) of the input for eq. 10, numbers or arrays that broadcast to a sample;
            None takes the minimum and maximum of each image.
        **options: contrast, see `PropagationAnalyzer`, and those of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is wrong.
        UnknownLayerError: A layer has no rule.
    """

    def __init__(
        self,
        model: keras.Model,
        variant: str = "paper",
        add: str | None = None,
        input_rule: str = "box",
        head: str = "absolute",
        bounds: tuple[Any, Any] | None = None,
        **options: Any,
    ) -> None:
        self.variant = variant
        self.add = add
        self.input_rule = input_rule
        self.head = head
        composite = rap_composite(variant, add, input_rule, head)
        super().__init__(model, composite, bounds=bounds, **options)
