"""The composites of PatternNet and PatternAttribution."""

import functools

from rap_keras.composites.composite import Composite, RuleTable, table
from rap_keras.network import layer_types as types
from rap_keras.network.graph import Graph
from rap_keras.patterns.patterns import Patterns
from rap_keras.rules import pattern

_RULES = {"pattern.net": pattern.net, "pattern.attribution": pattern.attribution}


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
