"""PatternNet and PatternAttribution on the native backend."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.patterns.composite import PatternComposite
from rap_keras.patterns.patterns import Patterns, as_patterns
from rap_keras.rules.pattern import projected, projects, start
from rap_keras.support.options import read_boolean

_FILE = "patterns.npz"


class _PatternAnalyzer(PropagationAnalyzer):
    """What both analyzers share; the rules differ."""

    _negates_kernels = False  # a pattern is of its kernel

    def __init__(
        self,
        model: keras.Model,
        patterns: Patterns | str | Path | None = None,
        project: bool = True,
        **options: Any,
    ) -> None:
        self.patterns = as_patterns(patterns)
        self.project = read_boolean("project", project)
        self._projects = projects(
            self.project, options.get("neuron_selection_mode", "max_activation")
        )
        composite = PatternComposite(self.name, self.patterns, self._projects)
        super().__init__(model, composite, **options)

    def options(self) -> dict[str, Any]:
        """The options that make this analyzer again; patterns are the file that `save` writes."""
        return super().options() | {"patterns": _FILE, "project": self.project}

    def _write(self, folder: Path) -> None:
        super()._write(folder)
        self.patterns.save(folder / _FILE)

    def _start(self, logits: tf.Tensor, selected: tf.Tensor) -> tf.Tensor:
        return start(logits * selected, self.neuron_selection_mode, self._projects)

    def _at_inputs(
        self, relevance: Mapping[int, tf.Tensor], inputs: list[tf.Tensor]
    ) -> list[tf.Tensor]:
        maps = super()._at_inputs(relevance, inputs)
        if not self._projects or not self._graph.bottlenecks.issuperset(self._graph.inputs):
            return maps
        return [projected(r) for r in maps]


class PatternNetAnalyzer(_PatternAnalyzer):
    """PatternNet (Kindermans et al., ICLR 2018, arXiv 1705.05598): the signal that the neuron detects.

    R_i = sum_j a_ij f'(z_j) R_j in every kernel layer, from the logit of the selected neuron on.

    Args:
        model: See `Analyzer`.
        patterns: What `rap_keras.patterns.fit(model, data)` returned, or the path of its file.
        project: Divide relevance by its largest size in each sample, at every tensor of rank 3 or more
            that everything passes, and start from the sign of the largest logit; maps of images then lie
            in [-1, 1]. As iNNvestigate 1.0.9 does (`reverse_project_bottleneck_layers`), which leaves
            it out in mode "index".
        **options: Those of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, an option is wrong, or the patterns are of another
            model.
        UnknownLayerError: A layer has no rule.
    """


class PatternAttributionAnalyzer(_PatternAnalyzer):
    """PatternAttribution (Kindermans et al., ICLR 2018, arXiv 1705.05598): how much each signal adds.

    R_i = sum_j w_ij a_ij f'(z_j) R_j in every kernel layer, from the logit of the selected neuron on.

    Args:
        model: See `Analyzer`.
        patterns: As in `PatternNetAnalyzer`.
        project: As in `PatternNetAnalyzer`.
        **options: Those of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, an option is wrong, or the patterns are of another
            model.
        UnknownLayerError: A layer has no rule.
    """


__all__ = ["PatternAttributionAnalyzer", "PatternNetAnalyzer"]
