"""Composites that reproduce iNNvestigate 2.1 where it deviates from the definitions."""

import functools
import inspect
from typing import Any

from rap_keras.composites.composite import Composite, table
from rap_keras.composites.lrp import CHOICES, DENSE, composite, read_alpha_beta
from rap_keras.composites.routing import additions
from rap_keras.network import layer_types as types
from rap_keras.network.graph import Graph
from rap_keras.rules import Rule, gradient, innvestigate_compat, lrp, routing

X_POSITIVE: Rule = functools.partial(
    lrp.alpha_beta, alpha=2.0, beta=1.0, positive_inputs=True, even=False
)
BY_GRADIENT = types.ADDITION | types.AVERAGING | types.ACTIVATION | types.BATCH_NORMALIZATION


class _InnvestigateComposite(Composite):
    """Gives the input rule only to layers that follow the input, or its Flatten, Permute or Reshape."""

    def _first_layers(self, graph: Graph) -> set[str]:
        def at_input(slot: int) -> bool:
            node = graph.producers.get(slot)
            if node is None:
                return True
            moves = types.is_a(node.layer, {"Flatten", "Permute", "Reshape"})
            return moves and all(map(at_input, node.inputs))

        first = super()._first_layers(graph)
        return {n.name for n in graph.nodes if n.name in first and all(map(at_input, n.inputs))}


def innvestigate_composite(
    kernel: str,
    dense: str = "",
    first: str = "",
    *,
    wrong_norm: bool,
    deep_taylor: bool = False,
    z_plus: bool = False,
    positive_norm: bool = False,
    **options: Any,
) -> Composite:
    """The composite of a preset with iNNvestigate 2.1's deviations, which docs/baselines.md lists.

    The whole bias is in both denominators of alpha-beta. Padding and neurons without contributions lose
    their relevance. Sums and averages are distributed by signed values. Separable convolutions are one
    map. ZeroPadding hides the first layer.

    Args:
        kernel: As in `composite`.
        dense: As in `composite`.
        first: As in `composite`.
        wrong_norm: BatchNormalization gets iNNvestigate's incorrect weights.
        deep_taylor: All layers without a kernel propagate the gradient.
        z_plus: Kernel layers treat their inputs as non-negative.
        positive_norm: BatchNormalization gets alpha-beta on positive inputs.
        **options: As in `composite`.

    Returns:
        The composite.

    Raises:
        InputError: An option is invalid.
    """

    def departing(name: str) -> Rule:
        rule = CHOICES[name].made(options)
        if name == "alpha_beta":
            bias = "whole" if options.get("bias", True) else "none"
            return functools.partial(rule, even=False, bias=bias, one_sided=False)
        has_even = "even" in inspect.signature(rule).parameters
        return functools.partial(rule, even=False) if has_even else rule

    rules = composite(kernel, dense, first, **options).rules
    rules |= table(
        (types.KERNEL | types.BATCH_NORMALIZATION | types.NORMALIZATION, departing(kernel)),
        (DENSE, departing(dense or kernel)),
    )
    if z_plus:
        rules |= table((types.KERNEL | types.BATCH_NORMALIZATION, lrp.z_plus))
    one_map: Rule = functools.partial(innvestigate_compat.separable, rule=rules["SeparableConv2D"])
    if kernel == "alpha_beta" and not z_plus:
        alpha, beta = read_alpha_beta(options.get("alpha"), options.get("beta"))
        # "whole" takes sums of either sign, as this map has them.
        one_map = functools.partial(
            innvestigate_compat.separable,
            rule=functools.partial(lrp.alpha_beta, even=False, bias="whole"),
            alpha=alpha,
            beta=beta,
            bias=options.get("bias", True),
        )
    rules |= table(
        (types.SEPARABLE, one_map),
        (types.JOINS | types.PADDING | types.MAX_POOLING, routing.follow),
    )
    if deep_taylor:
        rules |= table((BY_GRADIENT, gradient.gradient))
    else:
        norm = X_POSITIVE if positive_norm else rules["BatchNormalization"]
        if wrong_norm:
            norm = functools.partial(innvestigate_compat.normalization, rule=norm)
        rules |= additions("signed") | table((types.AVERAGING, lrp.ratio))
        rules |= table((types.BATCH_NORMALIZATION, norm))
    return _InnvestigateComposite(rules, departing(first) if first else None)
