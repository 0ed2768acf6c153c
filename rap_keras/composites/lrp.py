"""The composites of layer-wise relevance propagation and deep Taylor decomposition.

Each is a table, layer type => rule, with another rule for the first linear layer where there is one. The
methods that they make are in `rap_keras.analyzers.registry`.
"""

import functools
import math

from rap_keras.composites.composite import Composite, table
from rap_keras.composites.routing import ROUTING, additions, products
from rap_keras.errors import InputError
from rap_keras.network import layer_types as types
from rap_keras.rules import Rule, lrp, routing
from rap_keras.support.options import read_boolean, read_number

Z: Rule = functools.partial(lrp.epsilon, epsilon=0.0)
INPUT_RULES: dict[str, Rule] = {
    "Flat": lrp.flat,
    "WSquare": lrp.w_square,
    "Z": Z,
    "Bounded": lrp.box,
}


def composite(
    kernel: Rule,
    dense: Rule | None = None,
    first: Rule | None = None,
    norm: Rule | None = None,
    add: str = "positive",
    averaging: Rule | None = None,
) -> Composite:
    """Rules of kernel layers, and what follows from them for the others.

    Args:
        kernel: The rule of convolutions, and of Dense layers if `dense` is None.
        dense: The rule of Dense layers.
        first: The rule of the first linear layer.
        norm: The rule of BatchNormalization layers that are not folded; None is `kernel`.
        add: How sums are shared: "signed", as the z rule does, with averages alike; or "positive" or
            "absolute", which conserve where signed sums cancel.
        averaging: The rule of average pooling; None follows `add`.

    Returns:
        The composite.
    """
    rules = (
        ROUTING
        | additions(add)
        | products(kernel)
        | table(
            (
                types.AVERAGING,
                averaging or (lrp.ratio if add == "signed" else routing.in_proportion),
            ),
            (types.KERNEL, kernel),
            ({"Dense", "EinsumDense"}, dense or kernel),
            (types.BATCH_NORMALIZATION | types.NORMALIZATION, norm or kernel),
        )
    )
    return Composite(rules, first=first)


def _epsilon(epsilon: float, bias: bool = True) -> Rule:
    if not read_number("epsilon", epsilon, -math.inf) > 0:
        raise InputError(f"Expected epsilon > 0, got {epsilon!r}: use lrp.z for no epsilon.")
    return functools.partial(lrp.epsilon, epsilon=float(epsilon), bias=read_boolean("bias", bias))


def _alpha_beta(alpha: float | None, beta: float | None, bias: bool = True) -> Rule:
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
    taken = "split" if read_boolean("bias", bias) else "none"
    # With beta, the formula is taken literally; without, it would lose the relevance of neurons with
    # negative contributions only, as there are behind swish.
    one_sided = beta == 0
    return functools.partial(
        lrp.alpha_beta, alpha=alpha, beta=beta, bias=taken, one_sided=one_sided
    )


def z() -> Composite:
    """LRP-z."""
    return composite(Z, add="signed")


def epsilon(epsilon: float = 1e-7, bias: bool = True) -> Composite:
    """LRP-epsilon; without `bias`, biases take no part."""
    return composite(_epsilon(epsilon, bias), add="signed")


def w_square() -> Composite:
    """The squares of the weights alone."""
    return composite(lrp.w_square, averaging=lrp.ratio)


def flat() -> Composite:
    """Equal shares, whatever the weights."""
    return composite(lrp.flat, averaging=lrp.ratio)


def alpha_beta(
    alpha: float | None = None, beta: float | None = None, bias: bool = True
) -> Composite:
    """LRP-alpha-beta with any alpha - beta = 1; without `bias`, biases take no part."""
    return composite(_alpha_beta(alpha, beta, bias))


def sequential(epsilon: float = 0.1, *, alpha: float, flat: bool) -> Composite:
    """iNNvestigate's presets: epsilon for Dense layers, alpha-beta for convolutions."""
    return composite(
        _alpha_beta(alpha, None),
        dense=_epsilon(epsilon),
        first=lrp.flat if flat else None,
    )


def epsilon_plus(epsilon: float = 1e-6) -> Composite:
    """Epsilon for Dense layers, alpha 1 beta 0 for convolutions (Montavon et al. 2019)."""
    return composite(_alpha_beta(1, 0), dense=_epsilon(epsilon))


def epsilon_gamma_box(epsilon: float = 1e-6, gamma: float = 0.25) -> Composite:
    """z^B at the input, gamma for convolutions, epsilon for Dense layers (Montavon et al. 2019)."""
    rule = functools.partial(lrp.gamma, gamma=read_number("gamma", gamma, 0), signed=True)
    return composite(rule, dense=_epsilon(epsilon), first=lrp.box)


def z_plus_fast() -> Composite:
    """z+ with iNNvestigate's short cut at the input, which takes it for non-negative."""
    return composite(_alpha_beta(1, 0, False), first=lrp.z_plus)


def deep_taylor(bounded: bool = False) -> Composite:
    """z+ for every linear layer; z^B at the input if `bounded`."""
    return composite(_alpha_beta(1, 0, False), first=lrp.box if bounded else None)
