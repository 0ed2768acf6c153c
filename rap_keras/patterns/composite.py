"""The composites of PatternNet and PatternAttribution."""

import functools
from dataclasses import dataclass
from typing import Any

from rap_keras.composites.composite import Composite, RuleTable, table
from rap_keras.network import layer_types as types
from rap_keras.network.graph import Graph
from rap_keras.patterns.patterns import Patterns, as_patterns
from rap_keras.rules import pattern
from rap_keras.support.options import read_boolean

_RULES = {"pattern.net": pattern.net, "pattern.attribution": pattern.attribution}


@dataclass
class PatternOptions:
    """The options of PatternNet and PatternAttribution.

    Attributes:
        patterns: The result of `rap_keras.patterns.fit(model, data)`, or the path of its file.
        project: Divide relevance by its largest absolute value in each sample, at every tensor of rank
            3 or more that lies on all paths, and start from the sign of the largest logit. Maps of
            images then lie in [-1, 1]. This is what iNNvestigate 1.0.9 does
            (`reverse_project_bottleneck_layers`); as there, it does not apply if a target is given.

    Raises:
        InputError: An option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(4).images)
        >>> patterns = rap_keras.patterns.fit(model, x, progress=False)
        >>> analyzer = rap_keras.create_analyzer("pattern.net", model, patterns=patterns, project=False)
        >>> analyzer.project
        False
    """

    patterns: Any = None
    project: bool = True

    def __post_init__(self) -> None:
        self.patterns = as_patterns(self.patterns)
        self.project = read_boolean("project", self.project)


class PatternComposite(Composite):
    """The rules of PatternNet or PatternAttribution."""

    def __init__(self, method: str, patterns: Patterns, project: bool) -> None:
        self._patterns = patterns
        follow = functools.partial(pattern.follow, project=project)
        kernel = functools.partial(_RULES[method], patterns=patterns, project=project)
        fixed = functools.partial(
            pattern.scaling, patterns=method == "pattern.net", project=project
        )
        rules = table(
            (types.ACTIVATION | types.ROUTING | types.CONCATENATION, follow),
            (types.WINNER | types.AVERAGING, follow),
            (types.ADDITION | types.SCALED_ADDITION, follow),
            (types.BATCH_NORMALIZATION | types.ELEMENTWISE, fixed),
            (types.KERNEL, kernel),
        )
        super().__init__(rules)
        self.limits = follow

    def assign(self, graph: Graph) -> RuleTable:
        """The rule of every node of a graph, which must be that of the patterns."""
        self._patterns.check(graph)
        return super().assign(graph)
