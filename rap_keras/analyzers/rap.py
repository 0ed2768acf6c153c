"""Relative Attributing Propagation on Keras 3."""

from dataclasses import asdict
from typing import Any

import keras

from rap_keras.analyzers.positions import PositionAnalyzer
from rap_keras.composites.rap import RAPOptions


class RAPAnalyzer(PositionAnalyzer):
    """Relative Attributing Propagation (Nam et al., AAAI 2020, arXiv 1904.00605).

    Every element of the input gets a signed relevance, and these sum to the logit of the explained
    class. The map hardly depends on the class (docs/sanity.md) unless you set the option `contrast`,
    which compares the class with others.

    "rap.epsilon" is RAP in composite: LRP-epsilon in the dense layers of the head, RAP elsewhere
    (docs/methods/rap_epsilon.md). Its map depends on the class.

    Args:
        model: See `Analyzer`.
        method: "rap" or "rap.epsilon".
        bounds: (low, high), the bounds of the input for eq. 10: numbers, or arrays that broadcast to a
            sample. None: the minimum and maximum of each image.
        **options: variant, add, input_rule, dense, head and local, see
            `rap_keras.composites.rap.RAPOptions`; positions, see `PositionAnalyzer`; contrast, see
            `PropagationAnalyzer`; and options of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.
        UnknownLayerError: A layer has no rule.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> found = rap_keras.create_analyzer("rap", model).explain(x)
        >>> bool(np.allclose(found.relevance.sum(), found.explained_logits, rtol=1e-3))
        True
    """

    settings = RAPOptions

    def __init__(
        self,
        model: keras.Model,
        method: str = "rap",
        bounds: tuple[Any, Any] | None = None,
        **options: Any,
    ) -> None:
        self._method_name = method
        settings = RAPOptions.taken_from(options, method)
        vars(self).update(asdict(settings))
        super().__init__(model, settings.composite(), bounds=bounds, **options)

    @classmethod
    def option_names(cls, method: str = "") -> list[str]:
        """The names of the options."""
        return [*RAPOptions.names(), *super().option_names(method)]
