"""The composites of Relative Attributing Propagation."""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from rap_keras.composites.composite import Composite, table
from rap_keras.composites.routing import ADD_SHARES, ROUTING, additions, products
from rap_keras.errors import InputError
from rap_keras.network import layer_types as types
from rap_keras.rules import Rule, lrp, rap, rap_released, routing
from rap_keras.support.options import choose, read_number


def _paper(inner: Rule) -> dict[Any, Rule]:
    return ROUTING | additions("absolute") | products(inner) | table((types.KERNEL, inner))


RAP = _paper(rap.inner)
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
# LRP-epsilon that gives nothing to biases: the sum is kept up to epsilon.
EPSILON: Rule = functools.partial(lrp.epsilon, epsilon=1e-6, bias=False)
DENSE: dict[str, Rule | None] = {"rap": None, "epsilon": EPSILON}
HEADS: dict[str, Rule] = {
    "absolute": rap.head,
    "epsilon": EPSILON,
    "positive": functools.partial(lrp.alpha_beta, alpha=1.0, beta=0.0, bias="none", one_sided=True),
}


# What each method sets, apart from the defaults of `RAPOptions`.
PRESETS: dict[str, dict[str, Any]] = {
    "rap": {},
    "rap.epsilon": {"dense": "epsilon", "local": 0.75},
}


@dataclass(frozen=True)
class RAPOptions:
    """The options of RAP that choose its rules.

    Attributes:
        variant: "paper": eqs. 5-10 of arXiv 1904.00605. "released": the authors' released code.
        add: How the relevance of a sum is distributed among its terms: "absolute", "positive", "signed"
            or "gamma", see `rap_keras.rules.routing.share_sum`. None: "absolute" for the paper's
            variant, which does not cover sums, and "signed" for the released one.
        input_rule: "box": eq. 10 at the first linear layer, if the input has spatial axes. "inner":
            eqs. 7-9 there too. The released variant has its own input rule.
        dense: How the linear layers of vectors distribute relevance, those after the last pooling.
            "rap": eqs. 5-9. "epsilon": LRP-epsilon without biases, in proportion to signed
            contributions, which tells classes apart (`rap.epsilon`). Dense layers of sequences, as in
            transformers, keep eqs. 7-9.
        head: How the last linear layer distributes relevance. "absolute": eqs. 5-6, by the magnitudes
            of contributions. "positive": only by positive contributions (by the negative ones if there
            are none), which separates classes (docs/contrast.md). "epsilon": as for `dense`. None:
            "epsilon" with dense="epsilon", otherwise "absolute".
        local: Which part of the excess that eqs. 7-8 give to the inputs of a neuron is taken from these
            inputs, by their influence, from 0 to 1. 0 is the paper: eq. 9 takes all of it from all
            activated neurons in equal parts. See `rap_keras.rules.rap.inner`. Only for the paper's
            variant.

    Raises:
        InputError: The value of an option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> analyzer = rap_keras.create_analyzer("rap", model, head="positive", input_rule="inner")
        >>> analyzer.head, analyzer.variant
        ('positive', 'paper')
    """

    variant: str = "paper"
    add: str | None = None
    input_rule: str = "box"
    dense: str = "rap"
    head: str | None = None
    local: float = 0.0

    def __post_init__(self) -> None:
        choose("variant", self.variant, VARIANTS)
        choose("input_rule", self.input_rule, ("box", "inner"))
        choose("dense", self.dense, tuple(DENSE))
        if self.head is not None:
            choose("head", self.head, tuple(HEADS))
        if self.add is not None:
            choose("add", self.add, ADD_SHARES)
        if read_number("local", self.local, 0) > 1:
            raise InputError(f"Expected local from 0 to 1, got {self.local:g}.", "local")
        if self.local and self.variant == "released":
            raise InputError(
                f'Expected local=0 for variant="released", which has no eq. 9, got {self.local:g}: pass '
                "local=0.",
                ("local", "variant"),
            )

    @classmethod
    def names(cls) -> list[str]:
        """The names of the options."""
        return [field.name for field in dataclasses.fields(cls)]

    @classmethod
    def taken_from(cls, options: dict[str, Any], method: str = "rap") -> "RAPOptions":
        """Removes these options from an analyzer's options; adds those that the method sets."""
        given = {name: options.pop(name) for name in cls.names() if name in options}
        return cls(**{**PRESETS[method], **given})

    def composite(self) -> Composite:
        """The rule of each layer."""
        released = self.variant == "released"
        inner = functools.partial(rap.inner, local=float(self.local)) if self.local else rap.inner
        rules = dict(RAP_RELEASED if released else _paper(inner))
        if self.add is not None:
            rules |= additions(self.add)
        in_box = self.input_rule == "box" and not released
        head = self.head or ("epsilon" if self.dense == "epsilon" else "absolute")
        return Composite(
            rules,
            first=rap.first if in_box else None,
            last=HEADS[head],
            dense=DENSE[self.dense],
        )


def rap_composite(method: str = "rap", **options: Any) -> Composite:
    """The composite of Relative Attributing Propagation.

    Args:
        method: "rap" or "rap.epsilon".
        **options: The options of `RAPOptions`.

    Returns:
        The composite.

    Raises:
        InputError: The value of an option is invalid.

    Example:
        >>> composite = rap_keras.composites.rap_composite(head="positive")
        >>> model = rap_keras.bundled.load("vgg")
        >>> rap_keras.create_analyzer("lrp", model, composite=composite).name
        'lrp'
    """
    choose("method", method, tuple(PRESETS))
    return RAPOptions(**{**PRESETS[method], **options}).composite()
