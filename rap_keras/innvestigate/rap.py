"""RAP as an analyzer of iNNvestigate."""

from dataclasses import asdict
from typing import Any

from rap_keras.composites.rap import RAPOptions
from rap_keras.innvestigate.base import PropagationAnalyzer


class RAPAnalyzer(PropagationAnalyzer):
    """Relative Attributing Propagation (Nam et al., AAAI 2020, arXiv 1904.00605) in iNNvestigate.

    Every element of the input gets a signed relevance. With the paper's rules, the relevance sums to
    the logit of the explained class.

    Args:
        model: A Keras 2 model whose output is the logits. Nested models are flattened into a copy.
        bounds: (low, high), the bounds of the input for eq. 10: numbers, or arrays that broadcast to a
            sample. None: the minimum and maximum of each image.
        **options: variant, add, input_rule, dense, head and local, see
            `rap_keras.composites.rap.RAPOptions`; contrast, the classes that the explained class is
            compared with, see docs/contrast.md; and options of iNNvestigate's `ReverseAnalyzerBase`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.
        UnknownLayerError: A layer has no rule.
        NotAnalyzeableModelException: The model ends in a softmax or a sigmoid.

    Example:
        >>> import tensorflow as tf
        >>> with rap_keras.innvestigate.new_graph():
        ...     model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
        >>> analyzer = rap_keras.innvestigate.create_analyzer("rap", model, head="positive")
        >>> analyzer.analyze(np.ones((1, 3)), target=1).shape
        (1, 3)
    """

    _method = "rap"

    def __init__(self, model: Any, bounds: Any = None, **options: Any) -> None:
        self._rap = RAPOptions.taken_from(options, self._method)
        super().__init__(model, self._rap.composite(), bounds, **options)

    def _get_state(self) -> dict[str, Any]:
        bounds = None if self._bounds is None else [b.tolist() for b in self._bounds]
        return super()._get_state() | asdict(self._rap) | {"bounds": bounds}

    @classmethod
    def _state_to_kwargs(cls, state: dict[str, Any]) -> dict[str, Any]:
        state = dict(state)
        options = asdict(RAPOptions.taken_from(state, cls._method)) | {
            "bounds": state.pop("bounds")
        }
        return super()._state_to_kwargs(state) | options


class RAPEpsilonAnalyzer(RAPAnalyzer):
    """RAP in composite: LRP-epsilon in the dense layers of the head (docs/methods/rap_epsilon.md).

    Args:
        model: See `RAPAnalyzer`, as for the other arguments.

    Example:
        >>> import tensorflow as tf
        >>> with rap_keras.innvestigate.new_graph():
        ...     model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
        >>> analyzer = rap_keras.innvestigate.create_analyzer("rap.epsilon", model)
        >>> analyzer.analyze(np.ones((1, 3)), target=1).shape
        (1, 3)
    """

    _method = "rap.epsilon"
