"""The composites of layer-wise relevance propagation and deep Taylor decomposition.

Each is a table from layer types to rules, in some cases with another rule for the first linear layer.
The presets, which name the rules of kernel layers and their options, are in
`rap_keras.analyzers.registry`.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rap_keras.composites.composite import Composite, table
from rap_keras.composites.routing import ROUTING, additions, products
from rap_keras.errors import InputError
from rap_keras.network import layer_types as types
from rap_keras.rules import Rule, lrp, routing
from rap_keras.support.options import read_boolean, read_number

DENSE = {"Dense", "EinsumDense"}
Z: Rule = functools.partial(lrp.epsilon, epsilon=0.0)
INPUT_RULES: dict[str, Rule] = {
    "Flat": lrp.flat,
    "WSquare": lrp.w_square,
    "Z": Z,
    "Bounded": lrp.box,
}


def read_alpha_beta(alpha: float | None, beta: float | None) -> tuple[float, float]:
    """Alpha and beta; if one is missing, it follows from the other.

    Raises:
        InputError: Both are missing, or they do not fit together.
    """
    if alpha is None and beta is None:
        raise InputError("Expected alpha or beta for lrp.alpha_beta, got neither: pass alpha=2.")
    if alpha is not None:
        alpha = read_number("alpha", alpha, -math.inf)
    beta = read_number("beta", alpha - 1 if beta is None and alpha is not None else beta, -math.inf)
    alpha = beta + 1 if alpha is None else alpha
    if alpha < 1 or abs(alpha - beta - 1) > 1e-9:
        raise InputError(
            f"Expected alpha >= 1 and alpha - beta = 1, got alpha={alpha:g} and beta={beta:g}."
        )
    return alpha, beta


def _alpha_beta(alpha: float | None = None, beta: float | None = None, bias: bool = True) -> Rule:
    alpha, beta = read_alpha_beta(alpha, beta)
    taken = "split" if read_boolean("bias", bias) else "none"
    # With beta, the formula is used literally. Without, it would lose the relevance of neurons that
    # have only negative contributions, which occur after swish.
    return functools.partial(
        lrp.alpha_beta, alpha=alpha, beta=beta, bias=taken, one_sided=beta == 0
    )


def _epsilon(epsilon: float, bias: bool = True) -> Rule:
    if not read_number("epsilon", epsilon, -math.inf) > 0:
        raise InputError(f"Expected epsilon > 0, got {epsilon!r}: for no epsilon, use lrp.z.")
    return functools.partial(lrp.epsilon, epsilon=float(epsilon), bias=read_boolean("bias", bias))


def _gamma(option: str, gamma: float) -> Rule:
    return functools.partial(lrp.gamma, gamma=read_number(option, gamma, 0), signed=True)


@dataclass(frozen=True)
class Choice:
    """A rule of kernel layers that presets choose, and the rules of other layers that follow from it.

    Attributes:
        make: Makes the rule from its options.
        add: How sums are distributed: "signed", as in the z rule, or "positive", which conserves
            relevance where signed sums cancel.
        averaging: The rule of average pooling.
    """

    make: Callable[..., Rule]
    add: str = "positive"
    averaging: Rule = routing.in_proportion

    def made(self, options: Mapping[str, Any]) -> Rule:
        """The rule, made from those of the options that it has."""
        known = inspect.signature(self.make).parameters
        return self.make(**{name: value for name, value in options.items() if name in known})


CHOICES = {
    "z": Choice(lambda: Z, "signed", lrp.ratio),
    "epsilon": Choice(_epsilon, "signed", lrp.ratio),
    "alpha_beta": Choice(_alpha_beta),
    "gamma": Choice(lambda gamma: _gamma("gamma", gamma)),
    "dense_gamma": Choice(lambda dense_gamma: _gamma("dense_gamma", dense_gamma)),
    "z_plus": Choice(lambda: lrp.z_plus),
    "w_square": Choice(lambda: lrp.w_square, averaging=lrp.ratio),
    "flat": Choice(lambda: lrp.flat, averaging=lrp.ratio),
    "box": Choice(lambda: lrp.box),
}


def composite(
    kernel: str, dense: str = "", first: str = "", attention: str = "", **options: Any
) -> Composite:
    """The composite of a preset.

    Args:
        kernel: The rule of convolutions and of normalizations that are not folded, a key of `CHOICES`.
        dense: The rule of Dense layers; "" means `kernel`.
        first: The rule of the first linear layer; "" means the rule of its type.
        attention: As in AttnLRP: the rule of the layers around attention, of the values of constant
            attention, of sums and of averages. Normalizations by the sample's own statistics then pass
            relevance on. "" means that attention has no separate rules.
        **options: Options of the rules.

    Returns:
        The composite.

    Raises:
        InputError: An option is invalid.
    """
    chosen, rule = CHOICES[attention or kernel], CHOICES[kernel].made(options)
    inside = chosen.made(options)
    rules = (
        ROUTING
        | additions(chosen.add)
        | products(inside)
        | table(
            (types.AVERAGING, chosen.averaging),
            (types.KERNEL | types.BATCH_NORMALIZATION, rule),
            (types.NORMALIZATION, routing.pass_on if attention else rule),
            (DENSE, CHOICES[dense or kernel].made(options)),
        )
    )
    first_rule = CHOICES[first].made(options) if first else None
    return Composite(rules, first=first_rule, attention=inside if attention else None)
