"""Descriptions of methods that can be read without loading Keras."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rap_keras.errors import InputError
from rap_keras.support.text import did_you_mean

Options = Mapping[str, Any]
Signs = bool | Callable[[Options], bool]

# What negative relevance (blue in figures) means.
LESS = "what has less influence than the rest"
AGAINST = "what speaks against the class"
LESS_OR_AGAINST = "what speaks against the class or has less influence than the rest"
OTHERS = "what speaks for the other classes"
SLOPE = "where a larger value would lower the score"

# Options that several analyzers share.
SHARED = "neuron_selection_mode output batch_size check_finite jit_compile reference_output"
LRP = "batch_norm add input_layer_rule low high innvestigate_compat attention positions contrast"


@dataclass(frozen=True)
class Preset:
    """A preset of LRP: the rules of kernel layers and their options."""

    kernel: str  # the rule of convolutions: a key of `rap_keras.composites.lrp.CHOICES`
    dense: str = ""  # the rule of Dense layers; "" means `kernel`
    first: str = ""  # the rule of the first linear layer; "" means the rule of its type
    fixed: Options = field(default_factory=dict)  # options of the rules that the preset sets
    options: Options = field(default_factory=dict)  # for the user, with their defaults
    deep_taylor: bool = False  # whether it explains only the positive part of the logit
    innvestigate: Options = field(default_factory=dict)  # arguments of `innvestigate_composite`
    attention: str = ""  # the rule around attention, which then gets AttnLRP's rules

    def chosen(self, given: Options) -> dict[str, Any]:
        """The rules and all options, as `rap_keras.composites.lrp.composite` takes them."""
        rules = {"kernel": self.kernel, "dense": self.dense, "first": self.first}
        rules |= {"attention": self.attention}
        return {**rules, **self.fixed, **self.options, **given}

    @property
    def summary(self) -> str:
        """The rules in a few words."""
        if self.attention:
            return f"AttnLRP (Achtibat et al. 2024): {self.kernel}, {self.attention} in attention"
        parts = [
            self.kernel,
            f"{self.dense} for Dense" if self.dense else "",
            f"{self.first} at the input" if self.first else "",
            ", ".join(f"{key}={value}" for key, value in self.fixed.items()),
        ]
        name = "Deep Taylor" if self.deep_taylor else "LRP"
        return f"{name}: {', '.join(filter(None, parts))}"


@dataclass(frozen=True)
class Method:
    """A method: its name, its analyzer and its properties."""

    name: str
    home: str  # "module:class" of its analyzer; ".module" is a module of this package
    summary: str = ""
    options: str | None = None  # names separated by spaces; None: read from the signatures
    signs: Signs = True  # whether its maps have both signs for a logit of one sign
    cut: bool = False  # whether negative values are cut, also with a contrast
    seeded: bool = False  # whether it uses random numbers and has the option `seed`
    needs_patterns: bool = False  # whether it requires the option `patterns`
    negative: str = ""  # what negative relevance means; "" if it has no clear meaning
    preset: Preset | None = None  # the rules of a preset of LRP
    function: Callable[..., Any] | None = None  # of a custom method, see `register_method`

    def signed(self, options: Options) -> bool:
        """Whether its maps have both signs for a logit of one sign, with the given options."""
        contrasted = options.get("contrast") is not None and options.get("postprocess") is None
        signs = self.signs(options) if callable(self.signs) else self.signs
        return signs or (contrasted and not self.cut)

    def negative_means(self, options: Options) -> str:
        """What negative relevance means; "" if unclear, or if there is none for a positive logit."""
        if not self.signed(options):
            return ""
        contrasted = options.get("contrast") is not None
        return (
            OTHERS
            if contrasted and self.negative in (LESS, AGAINST, LESS_OR_AGAINST)
            else self.negative
        )

    def description(self) -> str:
        """Its documentation. Loads Keras."""
        documented = self.function or self.load()
        parts = [documented, *filter(None, [getattr(documented, "settings", None)])]
        return "\n\n".join(filter(None, map(inspect.getdoc, parts))) or self.summary

    def load(self) -> type[Any]:
        """The class of its analyzer."""
        module, _, name = self.home.partition(":")
        return getattr(importlib.import_module(module, __package__), name)

    def option_names(self) -> list[str]:
        """The names of its analyzer's options."""
        if self.options is None:
            return self.load().option_names(self.name)
        return self.options.split()

    def check_options(self, options: Iterable[str]) -> None:
        """Raises an error for options that the method does not have. Does not load Keras."""
        if self.options is not None:
            refuse_unknown(self.name, options, self.option_names())


def refuse_unknown(name: str, options: Iterable[str], known: Sequence[str]) -> None:
    """Raises an error for options that a method does not have."""
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known, 1)
            raise InputError(
                f"Expected options of {name!r} among {', '.join(known)}, got {option!r}"
                + (f": {hint}" if hint else ".")
            )
