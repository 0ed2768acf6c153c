"""PatternNet and PatternAttribution on the native backend."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from rap_keras import tensors as ops
from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.inputs.target import Target
from rap_keras.patterns.composite import PatternComposite, PatternOptions
from rap_keras.patterns.patterns import Patterns
from rap_keras.propagation import Propagation, Start
from rap_keras.rules.pattern import projected, projects, start

_FILE = "patterns.npz"
MODE_OF = {"largest": "max_activation", "all": "all"}  # iNNvestigate's names of kinds of targets


class _PatternAnalyzer(PropagationAnalyzer):
    """The code that both analyzers share; only the rules differ."""

    settings = PatternOptions
    _negates_kernels = False  # a pattern belongs to its kernel
    _distributes = False

    def __init__(
        self,
        model: keras.Model,
        patterns: Patterns | str | Path | None = None,
        project: bool = True,
        **options: Any,
    ) -> None:
        settings = PatternOptions(patterns, project)
        self.patterns, self.project = settings.patterns, settings.project
        self._without = PatternComposite(self.name, self.patterns, False)
        composite = PatternComposite(self.name, self.patterns, self.project)
        super().__init__(model, composite, **options)

    def options(self) -> dict[str, Any]:
        """Options that recreate this analyzer; `patterns` is the file that `save` writes."""
        return super().options() | {"patterns": _FILE, "project": self.project}

    def _write(self, folder: Path) -> None:
        super()._write(folder)
        self.patterns.save(folder / _FILE)

    def _use_graph(self) -> None:
        super()._use_graph()
        self._unprojected = Propagation(self._graph, self._without)

    def _projects(self, target: Target) -> bool:
        return projects(self.project, MODE_OF.get(target.kind, "index"))

    def _propagation_to(self, target: Target) -> Propagation:
        return self._propagation if self._projects(target) else self._unprojected

    def _start(self, target: Target) -> Start:
        mode, projects = MODE_OF.get(target.kind, "index"), self._projects(target)
        return lambda logits, selected: start(logits * selected, mode, projects)

    def _at_inputs(
        self, relevance: Mapping[int, ops.Tensor], inputs: list[ops.Tensor], target: Target
    ) -> list[ops.Tensor]:
        maps = super()._at_inputs(relevance, inputs, target)
        if not self._projects(target) or not self._graph.bottlenecks.issuperset(self._graph.inputs):
            return maps
        return [projected(r) for r in maps]


class PatternNetAnalyzer(_PatternAnalyzer):
    """PatternNet (Kindermans et al., ICLR 2018, arXiv 1705.05598): the signal that the neuron detects.

    R_i = sum_j a_ij f'(z_j) R_j in every kernel layer, starting from the logit of the explained class.

    Args:
        model: See `Analyzer`.
        patterns: The patterns of the model, see `rap_keras.patterns.composite.PatternOptions`.
        project: Whether to normalize relevance, see `rap_keras.patterns.composite.PatternOptions`.
        **options: Options of `PropagationAnalyzer`.

    Raises:
        InputError: The model cannot be explained, an option is invalid, or the patterns belong to
            another model.
        UnknownLayerError: A layer has no rule.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(4).images)
        >>> patterns = rap_keras.patterns.fit(model, x, progress=False)
        >>> rap_keras.create_analyzer("pattern.net", model, patterns=patterns).analyze(x).shape
        (4, 64, 64, 3)
    """


class PatternAttributionAnalyzer(_PatternAnalyzer):
    """PatternAttribution (Kindermans et al., ICLR 2018, arXiv 1705.05598): how much each signal adds.

    R_i = sum_j w_ij a_ij f'(z_j) R_j in every kernel layer, starting from the logit of the explained
    class.

    Args:
        model: See `Analyzer`.
        patterns: The patterns of the model, see `rap_keras.patterns.composite.PatternOptions`.
        project: Whether to normalize relevance, see `rap_keras.patterns.composite.PatternOptions`.
        **options: Options of `PropagationAnalyzer`.

    Raises:
        InputError: The model cannot be explained, an option is invalid, or the patterns belong to
            another model.
        UnknownLayerError: A layer has no rule.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(4).images)
        >>> patterns = rap_keras.patterns.fit(model, x, progress=False)
        >>> rap_keras.create_analyzer("pattern.attribution", model, patterns=patterns).analyze(x).shape
        (4, 64, 64, 3)
    """


__all__ = ["PatternAttributionAnalyzer", "PatternNetAnalyzer"]
