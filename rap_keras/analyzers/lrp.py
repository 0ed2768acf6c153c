"""Layer-wise relevance propagation and deep Taylor decomposition on Keras 3."""

import copy
from pathlib import Path
from typing import Any

import keras

from rap_keras import tensors as ops
from rap_keras.analyzers.positions import PositionAnalyzer
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


class LRPAnalyzer(PositionAnalyzer):
    """LRP or deep Taylor decomposition, with a composite: a table of rules.

    Args:
        model: See `Analyzer`.
        method: The name of a preset, such as "lrp.epsilon", or "lrp" for your own composite.
        composite: Only for "lrp": the rule of each layer type, a `rap_keras.Composite`.
        batch_norm: What happens to BatchNormalization. "fold": it is folded into the linear layer next
            to it where this is exact; elsewhere it gets the rule of convolutions, as do normalizations
            by the sample's own statistics. "rule": this rule everywhere. "identity": relevance passes
            through, also in those other normalizations. "innvestigate", the default with
            innvestigate_compat and only possible there: iNNvestigate's rule with its incorrect weights.
        add: How the relevance of a sum is distributed among its terms: "signed", "positive", "absolute"
            or "gamma", see docs/rules.md. None: the default of the method, see docs/baselines.md.
        input_layer_rule: The rule of the first linear layer: "Flat", "WSquare", "Z", "Bounded", or
            (low, high): "Bounded" with these bounds of the input.
        low: The lowest value of the input, for "Bounded" (z^B). None: the minimum of each image.
        high: The highest value of the input. None: the maximum of each image.
        innvestigate_compat: Compute what iNNvestigate 2.1 computes where it deviates from the
            definitions.
        attention: "constant": attention weights count as constants of the sample, and the values get
            all relevance. "attnlrp": products of tensors and the softmax follow the rules of AttnLRP
            (Achtibat et al. 2024), so queries and keys get relevance too. None: "attnlrp" for
            "lrp.attnlrp", "constant" for the others.
        **options: epsilon, bias, alpha, beta, gamma and dense_gamma, if the method has them;
            positions, see `PositionAnalyzer`; contrast, see `PropagationAnalyzer`; and options of
            `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.
        UnknownLayerError: A layer has no rule.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> analyzer = rap_keras.create_analyzer("lrp.epsilon_plus", model, contrast="softmax")
        >>> analyzer.analyze(x, target=7).shape
        (1, 64, 64, 3)
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
        attention: str | None = None,
        **options: Any,
    ) -> None:
        self._method_name, self._preset = method, read_method(method).preset
        self.batch_norm = batch_norm or ("innvestigate" if innvestigate_compat else "fold")
        choose("batch_norm", self.batch_norm, BATCH_NORM if innvestigate_compat else BATCH_NORM[:3])
        if isinstance(input_layer_rule, tuple | list):
            if len(input_layer_rule) != 2 or low is not None or high is not None:
                raise InputError(
                    "Expected input_layer_rule=(low, high), without the options low and high, got "
                    f"{shown(input_layer_rule)}, low={shown(low)} and high={shown(high)}.",
                    "input_layer_rule",
                )
            low, high = input_layer_rule
            input_layer_rule = "Bounded"
        if (low is None) != (high is None):
            raise InputError(f"Expected low and high, got low={shown(low)} and high={shown(high)}.")
        if self._preset and self._preset.deep_taylor:
            self._one_sided = _SIGNED
        preset_attention = self._preset.attention if self._preset else ""
        self.attention = attention or ("attnlrp" if preset_attention else "constant")
        choose("attention", self.attention, ("constant", "attnlrp"))
        if innvestigate_compat and (self._preset is None or preset_attention):
            got = repr(self.name) if preset_attention else "your own composite"
            raise InputError(
                "Expected innvestigate_compat for a method of iNNvestigate, got it for "
                f"{got}: leave it out.",
                "innvestigate_compat",
            )
        known = self._preset.options if self._preset else {}
        self._rule_options = {key: options.pop(key) for key in known if key in options}
        self.add = add
        self.input_layer_rule = input_layer_rule
        self.low, self.high = low, high
        self.innvestigate_compat = read_boolean("innvestigate_compat", innvestigate_compat)
        rules = self._composite(composite)
        bounds = None if low is None else (low, high)
        super().__init__(model, rules, bounds=bounds, **options)

    def _composite(self, given: Composite | None) -> Composite:
        """The composite, with the rules that the analyzer's options change."""
        if (given is None) == (self._preset is None):
            raise InputError(
                f"Expected a composite for the method 'lrp', and for no other, got {given!r} for "
                f"{self.name!r}."
            )
        if given is not None and not isinstance(given, Composite):
            raise InputError(
                f"Expected composite to be a rap_keras.Composite, got {type(given).__name__}: create it "
                "from rules, rap_keras.Composite({layer type: rule})."
            )
        rules = copy.copy(given or self._preset_composite())
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
        chosen = preset.chosen(self._rule_options)
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
        # Deep Taylor decomposition explains functions that are not negative.
        return lambda logits, selected: ops.relu(logits * selected)

    def options(self) -> dict[str, Any]:
        """JSON-serialisable options that recreate this analyzer."""
        options = super().options()
        for name, value in self._rule_options.items():
            kind = bool if name == "bias" else float
            options[name] = None if value is None else kind(value)
        del options["bounds"]  # low and high
        return options

    def _write(self, folder: Path) -> None:
        if self._preset is None:
            raise InputError(
                "Expected a method that has a name to save the analyzer, got your own composite: save "
                "the model, and create the analyzer again with the composite."
            )
        super()._write(folder)
