"""Layer-wise relevance propagation and deep Taylor decomposition on Keras 3."""

import copy
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from rap_keras.analyzers.propagation import PropagationAnalyzer
from rap_keras.analyzers.registry import read_method
from rap_keras.composites import lrp
from rap_keras.composites.composite import Composite, table
from rap_keras.composites.innvestigate_compat import innvestigate_composite
from rap_keras.composites.routing import ADD_SHARES, ATTN_LRP, additions
from rap_keras.errors import InputError
from rap_keras.inputs.target import Target
from rap_keras.network.folding import fold
from rap_keras.network.graph import Graph
from rap_keras.network.layer_types import BATCH_NORMALIZATION, NORMALIZATION
from rap_keras.propagation import Start
from rap_keras.rules import routing
from rap_keras.support.options import choose, read_boolean
from rap_keras.support.text import shown

_SIGNED = 'use a method of both signs, such as "lrp.epsilon",'
BATCH_NORM = ("fold", "rule", "identity", "innvestigate")


class LRPAnalyzer(PropagationAnalyzer):
    """LRP or deep Taylor decomposition, by a composite: a table of rules.

    Args:
        model: See `Analyzer`.
        method: The name of a preset in `rap_keras.analyzers.registry`, such as "lrp.epsilon", or "lrp"
            for a composite of your own.
        composite: For "lrp": the rule of each layer type.
        batch_norm: "fold": folded into the linear layer next to it where that is exact, elsewhere the
            rule of convolutions, which normalizations by the sample's own statistics get too. "rule":
            that rule everywhere. "identity": relevance passes on, of those as well. With
            innvestigate_compat also "innvestigate", the default there: its rule with its wrong weights.
        add: How sums of several tensors are shared: "signed", "positive" or "absolute"; None is the
            method's own, see docs/baselines.md.
        input_layer_rule: The rule of the first linear layer: "Flat", "WSquare", "Z", "Bounded", or
            (low, high), the bounds of the input, for "Bounded".
        low: The lowest value of the input, for z^B; None is that of each image.
        high: The highest.
        innvestigate_compat: Compute what iNNvestigate 2.1 does where it departs from the definitions.
        attention: "constant": the weights of an attention are constants of the sample, and its values
            take all. "attnlrp": products of tensors and the softmax by the rules of AttnLRP (Achtibat
            et al. 2024), so that queries and keys get relevance too.
        **options: epsilon, bias, alpha, beta, gamma, where the method has them; contrast, see
            `PropagationAnalyzer`; and those of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is wrong.
        UnknownLayerError: A layer has no rule.
    """

    def __init__(
        self,
        model: keras.Model,
        method: str,
        composite: Composite | None = None,
        batch_norm: str | None = None,
        add: str | None = None,
        input_layer_rule: str | tuple[Any, Any] | None = None,
        low: Any = None,
        high: Any = None,
        innvestigate_compat: bool = False,
        attention: str = "constant",
        **options: Any,
    ) -> None:
        self._method = read_method(method)
        self.batch_norm = batch_norm or ("innvestigate" if innvestigate_compat else "fold")
        choose("batch_norm", self.batch_norm, BATCH_NORM if innvestigate_compat else BATCH_NORM[:3])
        choose("attention", attention, ("constant", "attnlrp"))
        if isinstance(input_layer_rule, tuple | list):
            low, high = input_layer_rule
            input_layer_rule = "Bounded"
        if (low is None) != (high is None):
            raise InputError(f"Expected low and high, got low={shown(low)} and high={shown(high)}.")
        self._preset = self._method.preset
        if self._preset and self._preset.deep_taylor:
            self._one_sided = _SIGNED
        if innvestigate_compat and self._preset is None:
            raise InputError(
                "Expected innvestigate_compat for a method of iNNvestigate, got it for a composite of "
                "your own: leave it out.",
                "innvestigate_compat",
            )
        known = self._preset.options if self._preset else {}
        self._own = {key: options.pop(key) for key in known if key in options}
        self.add = add
        self.input_layer_rule = input_layer_rule
        self.low, self.high = low, high
        self.innvestigate_compat = read_boolean("innvestigate_compat", innvestigate_compat)
        self.attention = attention
        rules = self._composite(composite)
        bounds = None if low is None else (low, high)
        super().__init__(model, rules, bounds=bounds, **options)

    @property
    def name(self) -> str:
        """The method's name, as `create_analyzer` takes it."""
        return self._method.name

    def _composite(self, own: Composite | None) -> Composite:
        """The composite, with the rules that the analyzer's options change."""
        if (own is None) == (self._preset is None):
            raise InputError(
                f"Expected a composite for the method 'lrp', and for no other, got {own!r} for "
                f"{self.name!r}."
            )
        if own is not None and not isinstance(own, Composite):
            raise InputError(
                f"Expected composite to be a rap_keras.Composite, got {type(own).__name__}: make it of "
                "rules, rap_keras.Composite({layer type: rule})."
            )
        rules = copy.copy(own or self._preset_composite())
        changed: dict[Any, Any] = {}
        if self.batch_norm == "identity":
            changed |= table((BATCH_NORMALIZATION | NORMALIZATION, routing.pass_on))
        if self.attention == "attnlrp":
            changed |= ATTN_LRP
        if self.add is not None:
            choose("add", self.add, ADD_SHARES)
            changed |= additions(self.add)
        rules.rules = rules.rules | changed
        if self.input_layer_rule is not None:
            choose("input_layer_rule", self.input_layer_rule, tuple(lrp.INPUT_RULES))
            rules.first = lrp.INPUT_RULES[self.input_layer_rule]
        return rules

    def _preset_composite(self) -> Composite:
        preset = self._preset
        assert preset is not None
        chosen = preset.chosen(self._own)
        if not self.innvestigate_compat:
            return lrp.composite(**chosen)
        departures = {"deep_taylor": preset.deep_taylor, **preset.innvestigate}
        wrong_norm = self.batch_norm == "innvestigate"
        return innvestigate_composite(wrong_norm=wrong_norm, **departures, **chosen)

    def _prepared(self, graph: Graph) -> Graph:
        graph = super()._prepared(graph)
        return fold(graph) if self.batch_norm == "fold" else graph

    def _start(self, target: Target) -> Start:
        if not (self._preset and self._preset.deep_taylor):
            return super()._start(target)
        # Deep Taylor decomposition is of functions that are not negative.
        return lambda logits, selected: tf.nn.relu(logits * selected)

    def options(self) -> dict[str, Any]:
        """The options that make this analyzer again, as JSON knows them."""
        own = {k: bool(v) if k == "bias" else float(v) for k, v in self._own.items()}
        told = super().options() | own
        del told["bounds"]  # low and high
        return told

    def save(self, folder: str | Path) -> None:
        """Writes the model and the analyzer's name and options to a folder, whole or not at all.

        Args:
            folder: Gets `model.keras` and `analyzer.json`. It is made where it is missing.

        Raises:
            InputError: The composite is the user's own, which JSON cannot hold; or the folder cannot be
                written to.
        """
        if self._preset is None:
            raise InputError(
                "Expected a method that has a name to save the analyzer, got a composite of your own: "
                "save the model, and make the analyzer again with the composite."
            )
        super().save(folder)
