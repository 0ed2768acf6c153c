"""Composites that compute what iNNvestigate 2.1 does where it departs from the definitions."""

import functools
import inspect
from typing import Any

from rap_keras.composites.composite import Composite, table
from rap_keras.composites.routing import additions
from rap_keras.network import layer_types as types
from rap_keras.network.graph import Graph
from rap_keras.rules import Rule, gradient, innvestigate_compat, lrp, routing

X_POSITIVE: Rule = functools.partial(
    lrp.alpha_beta, alpha=2.0, beta=1.0, positive_inputs=True, even=False
)


class _InnvestigateComposite(Composite):
    """iNNvestigate gives the input rule to layers that only Flatten, Permute or Reshape lie before."""

    def _first_layers(self, graph: Graph) -> set[str]:
        def at_input(slot: int) -> bool:
            node = graph.producers.get(slot)
            if node is None:
                return True
            moves = types.is_a(node.layer, {"Flatten", "Permute", "Reshape"})
            return moves and all(map(at_input, node.inputs))

        first = super()._first_layers(graph)
        return {n.name for n in graph.nodes if n.name in first and all(map(at_input, n.inputs))}


def as_innvestigate(made_by: str, rules: Composite, own_norm: bool) -> Composite:
    """The composite with what iNNvestigate 2.1 does otherwise; docs/baselines.md lists it.

    The whole bias is in both denominators of alpha-beta; padding and neurons without contributions lose
    their relevance; sums and averages are shared by signed values (deep Taylor: all layers without a
    kernel pass the gradient); BatchNormalization has its own rule in the presets, and with `own_norm`
    wrong weights; separable convolutions are one map; ZeroPadding hides the first layer.

    Args:
        made_by: The function of `rap_keras.composites.lrp` that made it; "" for the user's own.
        rules: The composite.
        own_norm: BatchNormalization gets its wrong weights.
    """

    def own(rule: Any) -> Any:
        if "even" not in inspect.signature(rule).parameters:
            return rule
        rule = functools.partial(rule, even=False)
        if rule.func is not lrp.alpha_beta:
            return rule
        bias = "whole" if rule.keywords["bias"] == "split" else "none"
        return functools.partial(rule, bias=bias, one_sided=False)

    entries = {kind: own(rule) for kind, rule in rules.rules.items()}
    if made_by == "z_plus_fast":
        entries |= table((types.KERNEL | types.BATCH_NORMALIZATION, lrp.z_plus))
    for kind in types.SEPARABLE:
        entries[kind] = functools.partial(
            innvestigate_compat.separable, rule=functools.partial(entries[kind])
        )
    entries |= table((types.JOINS | types.PADDING | types.MAX_POOLING, routing.follow))
    if made_by == "deep_taylor":
        by_gradient = (
            types.ADDITION | types.AVERAGING | types.ACTIVATION | types.BATCH_NORMALIZATION
        )
        entries |= table((by_gradient, gradient.gradient))
    else:
        norm = X_POSITIVE if made_by == "sequential" else entries["BatchNormalization"]
        if own_norm:
            norm = functools.partial(innvestigate_compat.normalization, rule=norm)
        entries |= additions("signed") | table((types.AVERAGING, lrp.ratio))
        entries |= table((types.BATCH_NORMALIZATION, norm))
    first = rules.first and own(rules.first)
    return _InnvestigateComposite(entries, first, rules.last)
