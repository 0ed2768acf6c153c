"""Tables of rules for the layers between the linear ones."""

import functools
from typing import Any

from rap_keras.composites.composite import table
from rap_keras.network import layer_types as types
from rap_keras.rules import Rule, contraction, routing


def additions(by: str) -> dict[Any, Rule]:
    """The rules of sums, distributed as in `rap_keras.rules.routing.share_sum`.

    Args:
        by: "absolute", "positive", "signed" or "gamma".

    Returns:
        Layer type => rule.

    Example:
        >>> sorted(rap_keras.composites.additions("signed"))
        ['Add', 'Average', 'CustomScaleLayer', 'Subtract']
    """
    return table(
        (types.ADDITION, functools.partial(routing.share_sum, by=by)),
        (types.SCALED_ADDITION, functools.partial(routing.share_scaled_sum, by=by)),
    )


def products(rule: Rule) -> dict[Any, Rule]:
    """The rule of products of two tensors, each of which is linear in the other."""
    return table((types.CONTRACTION, functools.partial(contraction.contraction, rule=rule)))


ROUTING = table(
    (types.ACTIVATION | types.ELEMENTWISE | types.TONE, routing.pass_on),
    (types.BATCH_NORMALIZATION | types.NORMALIZATION, routing.pass_on),
    (types.ROUTING | types.WINNER, routing.follow),
    (types.MAX_POOLING, routing.winner),
    (types.JOINS | types.PADDING, routing.follow_and_spread),
    (types.AVERAGING, routing.in_proportion),
    (types.MULTIPLICATION, routing.share_product),
    (types.DIVISION, routing.numerator),
    (types.EMBEDDING, routing.sum_vector),
)

# AttnLRP (Achtibat et al. 2024) for the parts of attention.
ATTN_LRP = table(
    (types.CONTRACTION, contraction.bilinear),
    ({"Softmax"}, contraction.softmax),
    ({"Activation"}, contraction.activation),
)

ADD_SHARES = ("absolute", "positive", "signed", "gamma")
