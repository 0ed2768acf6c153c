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
        patterns: What `rap_keras.patterns.fit(model, data)` returned, or the path of its file.
        project: Divide relevance by its largest size in each sample, at every tensor of rank 3 or more
            that everything passes, and start from the sign of the largest logit; maps of images then lie
            in [-1, 1]. As iNNvestigate 1.0.9 does (`reverse_project_bottleneck_layers`), which leaves
            it out where the target is told.

    Raises:
        InputError: An option is wrong.
    """

    patterns: Any = None
    project: bool = True

    def __post_init__(self) -> None:
        self.patterns = as_patterns(self.patterns)
        self.project = read_boolean("project", self.project)


class PatternComposite(Composite):
    """The rules of PatternNet or PatternAttribution.

    Args:
        method: "pattern.net" or "pattern.attribution".
        patterns: The patterns of the model.
        project: Divide relevance that everything passes by its largest size in each sample.
    """

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
        """The rule of every node of a graph.

        Raises:
            InputError: The patterns are those of another model.
            UnknownLayerError: A layer has no rule.
        """
        self._patterns.check(graph)
        return super().assign(graph)
