"""The composites of Relative Attributing Propagation."""

import functools

from rap_keras.composites.composite import Composite, table
from rap_keras.composites.routing import ADD_SHARES, ROUTING, additions, products
from rap_keras.network import layer_types as types
from rap_keras.rules import Rule, lrp, rap, rap_released, routing
from rap_keras.support.options import choose

RAP = ROUTING | additions("absolute") | products(rap.inner) | table((types.KERNEL, rap.inner))
RAP_RELEASED = (
    ROUTING
    | additions("signed")
    | products(rap_released.linear_layer)
    | table(
        (types.JOINS | types.PADDING, routing.follow),
        (types.KERNEL, rap_released.linear_layer),
        (types.BATCH_NORMALIZATION, rap_released.batch_normalization),
        (types.WINNER | types.AVERAGING, rap_released.simple),
    )
)
VARIANTS = ("paper", "released")
HEADS: dict[str, Rule] = {
    "absolute": rap.head,
    "positive": functools.partial(lrp.alpha_beta, alpha=1.0, beta=0.0, bias="none", one_sided=True),
}


def rap_composite(
    variant: str = "paper",
    add: str | None = None,
    input_rule: str = "box",
    head: str = "absolute",
) -> Composite:
    """The composite of Relative Attributing Propagation.

    Args:
        variant: "paper": eqs. 5-10 of arXiv 1904.00605. "released": the authors' released code.
        add: How sums of several tensors are shared, see `rap_keras.rules.routing.share_sum`;
            None is "absolute" for the paper and "signed" for the released code.
        input_rule: "box": eq. 10 at the first linear layer of an image model. "inner": the rule of the
            other layers there too. The released code decides by itself.
        head: How the last linear layer shares: "absolute", eqs. 5-6. "positive": by positive
            contributions alone (by the negative ones where there are none).

    Returns:
        The composite.

    Raises:
        InputError: An option is none of its choices.
    """
    choose("variant", variant, VARIANTS)
    choose("input_rule", input_rule, ("box", "inner"))
    choose("head", head, tuple(HEADS))
    rules = dict(RAP if variant == "paper" else RAP_RELEASED)
    if add is not None:
        choose("add", add, ADD_SHARES)
        rules |= additions(add)
    if variant == "released":
        return Composite(rules, last=HEADS[head])
    return Composite(rules, first=rap.first if input_rule == "box" else None, last=HEADS[head])
