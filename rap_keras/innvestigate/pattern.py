"""PatternNet and PatternAttribution as analyzers of iNNvestigate, which had them until version 1.0.9."""

from pathlib import Path
from typing import Any, ClassVar

from rap_keras.innvestigate.base import PropagationAnalyzer
from rap_keras.innvestigate.step import Step
from rap_keras.patterns.composite import PatternComposite, PatternOptions
from rap_keras.patterns.patterns import Patterns
from rap_keras.rules.pattern import projected, projects, start


class _PatternAnalyzer(PropagationAnalyzer):
    """The code that both analyzers share; only the rules differ."""

    method: ClassVar[str]
    _array_states = ("patterns",)

    def __init__(
        self,
        model: Any,
        patterns: Patterns | str | Path | None = None,
        project: bool = True,
        **options: Any,
    ) -> None:
        settings = PatternOptions(patterns, project)
        self._patterns, self._project = settings.patterns, settings.project
        self._projects = projects(project, options.get("neuron_selection_mode", "max_activation"))
        composite = PatternComposite(self.method, self._patterns, self._projects)
        super().__init__(model, composite, **options)

    def _select(self, Xs: Any, Ys: Any, reversed_Ys: Any, reverse_state: Any) -> list[Any]:
        (selected,) = super()._select(Xs, Ys, reversed_Ys, reverse_state)
        mode = self._neuron_selection_mode
        return [Step(lambda t: start(t[0], mode, self._projects), "sign")([selected])]

    def _at_inputs(self, maps: list[Any]) -> list[Any]:
        if not self._projects or not self._graph.bottlenecks.issuperset(self._graph.inputs):
            return maps
        step = Step(lambda tensors: projected(tensors[0]), "projected")
        (tensor,) = self._model.inputs
        maps = [step(maps)]
        self._relevances[id(tensor)]["final_tensor"] = maps[0]
        return maps

    def _get_state(self) -> dict[str, Any]:
        state = {"patterns": dict(self._patterns), "pattern_type": self._patterns.pattern_type}
        return super()._get_state() | state | {"project": self._project}

    @classmethod
    def _state_to_kwargs(cls, state: dict[str, Any]) -> dict[str, Any]:
        state = dict(state)
        patterns = Patterns(state.pop("patterns"), state.pop("pattern_type"))
        options = {"patterns": patterns, "project": state.pop("project")}
        return super()._state_to_kwargs(state) | options


class PatternNet(_PatternAnalyzer):
    """PatternNet (Kindermans et al., ICLR 2018, arXiv 1705.05598) in iNNvestigate.

    The signal that the explained neuron detects: R_i = sum_j a_ij f'(z_j) R_j in every kernel layer.

    Args:
        model: A Keras 2 model whose output is the logits. Nested models are flattened into a copy.
        patterns: The patterns of the model, see `rap_keras.patterns.composite.PatternOptions`.
        project: Whether to normalize relevance, see `rap_keras.patterns.composite.PatternOptions`.
        **options: Options of iNNvestigate's `ReverseAnalyzerBase`.

    Raises:
        InputError: The model cannot be explained, an option is invalid, or the patterns belong to
            another model.
        UnknownLayerError: A layer has no rule.
        NotAnalyzeableModelException: The model ends in a softmax or a sigmoid.

    Example:
        >>> import tensorflow as tf
        >>> with rap_keras.innvestigate.new_graph():
        ...     model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
        >>> x = np.random.default_rng(0).normal(size=(8, 3))
        >>> patterns = rap_keras.patterns.fit(model, x, progress=False)
        >>> analyzer = rap_keras.innvestigate.create_analyzer("pattern.net", model, patterns=patterns)
        >>> analyzer.analyze(x).shape
        (8, 3)
    """

    method = "pattern.net"


class PatternAttribution(_PatternAnalyzer):
    """PatternAttribution (Kindermans et al., ICLR 2018, arXiv 1705.05598) in iNNvestigate.

    How much each signal adds to the neuron: R_i = sum_j w_ij a_ij f'(z_j) R_j in every kernel layer.

    Args:
        model: As in `PatternNet`.
        patterns: As in `PatternNet`.
        project: As in `PatternNet`.
        **options: As in `PatternNet`.

    Raises:
        InputError: As in `PatternNet`.
        UnknownLayerError: As in `PatternNet`.
        NotAnalyzeableModelException: As in `PatternNet`.

    Example:
        >>> import tensorflow as tf
        >>> with rap_keras.innvestigate.new_graph():
        ...     model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,))])
        >>> x = np.random.default_rng(0).normal(size=(8, 3))
        >>> options = {"patterns": rap_keras.patterns.fit(model, x, progress=False)}
        >>> analyzer = rap_keras.innvestigate.create_analyzer("pattern.attribution", model, **options)
        >>> analyzer.analyze(x).shape
        (8, 3)
    """

    method = "pattern.attribution"
