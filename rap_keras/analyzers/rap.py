"""RAP on Keras 3."""

from dataclasses import asdict
from typing import Any

import keras

from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.composites.rap import RAPOptions


class RAPAnalyzer(PropagationAnalyzer):
    """Relative Attributing Propagation (Nam et al., AAAI 2020, arXiv 1904.00605).

    Every element of the input gets a signed relevance; the sum is the logit of the selected neuron. The
    map hardly depends on the class (docs/sanity.md), unless you say what the class is compared with, by
    the option `contrast`.

    Args:
        model: See `Analyzer`.
        bounds: (low, high) of the input for eq. 10, numbers or arrays that broadcast to a sample;
            None takes the minimum and maximum of each image.
        **options: variant, add, input_rule and head, see `rap_keras.composites.rap.RAPOptions`;
            contrast, see `PropagationAnalyzer`; and those of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is wrong.
        UnknownLayerError: A layer has no rule.
    """

    settings = RAPOptions

    def __init__(
        self, model: keras.Model, bounds: tuple[Any, Any] | None = None, **options: Any
    ) -> None:
        own = RAPOptions.taken_from(options)
        vars(self).update(asdict(own))
        super().__init__(model, own.composite(), bounds=bounds, **options)

    @classmethod
    def option_names(cls, method: str = "") -> list[str]:
        """The names of the options."""
        return [*RAPOptions.names(), *super().option_names(method)]
