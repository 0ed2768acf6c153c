"""The base class of analyzers that propagate relevance, rule by rule."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from rap_keras import tensors as ops
from rap_keras.analyzers.base import Analyzer, Maps
from rap_keras.analyzers.conditional import ConditionalAnalyzer
from rap_keras.analyzers.conservation import ConservationReport, Row
from rap_keras.backends.keras3.views import TokenVectors
from rap_keras.composites.composite import Composite, RuleTable
from rap_keras.errors import InputError
from rap_keras.inputs.bounds import read_bounds, refuse_outside
from rap_keras.inputs.contrast import Contrast, read_contrast, refuse_itself
from rap_keras.inputs.samples import Pack
from rap_keras.inputs.target import Target, first_given, refuse_several
from rap_keras.network.graph import Shape, batch_axis
from rap_keras.propagate import relevance_dtype
from rap_keras.propagation import Propagation, Start, Steps, only_selected, started
from rap_keras.rules import Rule, gradient


class PropagationAnalyzer(ConditionalAnalyzer, Analyzer):
    """An analyzer that propagates relevance from the logits to the inputs, rule by rule.

    Args:
        model: See `Analyzer`.
        composite: The rule of each layer. None: the rule of the method.
        bounds: (low, high), the bounds of the input for rules that need them: numbers, or arrays that
            broadcast to a sample. None: the minimum and maximum of each image.
        contrast: The classes that the explained class c is compared with. Relevance then starts from
            |f_c| (e_c - sum_k w_k e_k) instead of f_c e_c, with the logits f, the other classes k and
            weights w of sum 1; gradients, which start from 1, from e_c - sum_k w_k e_k. Evidence for c
            is positive, evidence for the others negative, and conserved relevance sums to 0. "softmax":
            w is the softmax of the others' logits, whatever the model's head is. "uniform": all have the
            same weight. The number of a class, or a list of numbers: these classes have the same weight
            and all others none ("why c and not these"). None: relevance starts from f_c, as in the
            papers.
        **options: Options of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.
        UnknownLayerError: A layer has no rule.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> analyzer = rap_keras.create_analyzer("rap", model, contrast="softmax")
        >>> abs(float(analyzer.analyze(x, target=7).sum())) < 1e-2
        True
    """

    _shares_forward_pass = True
    _has_layers = True  # whether relevance is meaningful at every layer
    _rule: ClassVar[Rule] = staticmethod(gradient.gradient)  # of all layers without a composite
    _from_logit = True  # whether relevance starts from the logit; gradients start from 1

    def __init__(
        self,
        model: keras.Model,
        composite: Composite | None = None,
        /,
        bounds: Any = None,
        contrast: str | int | Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        self.bounds = read_bounds(bounds)
        self._composite_of_rules = composite or Composite({}, default=self._rule)
        super().__init__(model, **options)
        self._use_graph()
        self.contrast = self._read_contrast(contrast)

    def _use_graph(self) -> None:
        self._propagation = Propagation(self._graph, self._composite_of_rules, self.bounds)

    def _propagation_to(self, target: Target) -> Propagation:
        return self._propagation

    def _kept_whole(self) -> Collection[type]:
        return self._composite_of_rules.layer_classes()

    def _read(self, x: Any) -> tuple[list[np.ndarray], Pack]:
        arrays, pack = super()._read(x)
        refuse_outside(self.bounds, arrays)
        return arrays, pack

    def _read_target(self, arrays: list[np.ndarray], target: Any, against: Any) -> Target:
        wanted = super()._read_target(arrays, target, None)
        contrast = self.contrast
        if against is not None:
            contrast = self._read_contrast(against, "against")
        if wanted.kind != "largest":
            self._refuse_itself(contrast, None if wanted.kind == "all" else wanted.index)
        return dataclasses.replace(wanted, contrast=contrast)

    def _read_contrast(self, contrast: Any, argument: str = "contrast") -> Contrast:
        count = self._output_shape[-1] if self._output_shape else 1
        return read_contrast(contrast, count, self._network.labels, argument)

    def _refuse_itself(self, contrast: Contrast, neurons: np.ndarray | None) -> None:
        refuse_itself(contrast, neurons, "contrast" if contrast == self.contrast else "against")

    def _explained(self, arrays: list[np.ndarray], target: Target) -> dict[str, Any]:
        found = super()._explained(arrays, target)
        if target.kind == "largest":
            self._refuse_itself(target.contrast, found["neurons"])
        return found

    def rules(self) -> RuleTable:
        """The rule of every layer, in the order of computation. Printing it shows a table.

        Example:
            >>> model = rap_keras.bundled.load("vgg")
            >>> print(rap_keras.create_analyzer("rap", model).rules())
            layer ...
        """
        return self._propagation.table

    def analyze_layers(
        self, x: Any, target: Any = None, *, against: Any = None, neuron_selection: Any = None
    ) -> dict[str, Any]:
        """Computes the relevance at every layer's output.

        The arguments are those of `analyze`, but with one class per sample.

        Returns:
            A dict from layer names to arrays of the shape of the layer's output (lists if it has
            several), in order from the inputs to the logits. Layers of nested models are named
            "model/layer", further calls of a shared layer "layer:1", and an input that has the name of
            a layer "layer (input)".

        Raises:
            InputError: As in `analyze`, or the method has no relevance of layers.

        Example:
            >>> model = rap_keras.bundled.load("vgg")
            >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
            >>> layers = rap_keras.create_analyzer("rap", model).analyze_layers(x)
            >>> list(layers.values())[0].shape
            (1, 64, 64, 3)
        """
        analyzer, arrays, wanted, _ = self._of_layers(x, target, against, neuron_selection)
        shapes = self._layer_shapes()
        if len(arrays[0]):
            axes = {name: [batch_axis(s) or 0 for s in each] for name, each in shapes.items()}
            result = analyzer._batches.run(analyzer._layers, arrays, wanted, axes=axes)
        else:
            result = {name: list(map(_no_samples, each)) for name, each in shapes.items()}
        self._refuse_overflow([part for parts in result.values() for part in parts])
        order = [*self._input_names, *(node.name for node in self._graph.nodes)]
        found = {name: p[0] if len(p := result[name]) == 1 else p for name in order}
        if isinstance(self._network, TokenVectors):  # gradients of tokens
            maps = [found[name] for name in self._input_names]
            found |= zip(self._input_names, self._network.of_tokens(arrays, maps), strict=False)
        return found

    def conservation(
        self, x: Any, target: Any = None, *, against: Any = None, neuron_selection: Any = None
    ) -> ConservationReport:
        """Shows how well every layer and the whole model keep the sum of relevance.

        The arguments are those of `analyze`, but with one class per sample.

        Returns:
            The sums at the outputs and at the inputs of every layer and of the model, per sample.

        Raises:
            InputError: As in `analyze_layers`, or x has no samples.
        """
        analyzer, arrays, wanted, _ = self._of_layers(x, target, against, neuron_selection)
        if not len(arrays[0]):
            raise InputError(
                "Expected at least one sample to sum relevance over, got a batch of 0."
            )
        sums = analyzer._batches.run(analyzer._sums, arrays, wanted)
        self._refuse_overflow([part for parts in sums.values() for part in parts])
        constants = self._graph.constants
        nodes = reversed(self._graph.nodes)
        names = [node.name for node in nodes if not constants.issuperset(node.inputs)]
        rows = [Row(name, *sums[f"{k}"]) for k, name in enumerate(names)]
        return ConservationReport(rows, Row("model", *sums["model"]))

    def _of_layers(
        self, x: Any, target: Any, against: Any, neuron_selection: Any
    ) -> tuple[Any, list[np.ndarray], Target, Pack]:
        """The analyzer for the explained class, the arrays, the target and how results are packed."""
        if not self._has_layers:
            raise self._no_layers()
        arrays, pack = self._read(x)
        target = first_given(target, neuron_selection)
        wanted = self._read_target(arrays, target, against)
        refuse_several(wanted)
        if wanted.kind == "largest" and isinstance(wanted.contrast, tuple):
            self._refuse_itself(wanted.contrast, wanted.neurons(self._logits_of(arrays)))
        if wanted.kind == "class" and self._graph.is_binary:
            of_logit = wanted.at(np.zeros(len(arrays[0]), np.int32))
            return self._of_one_class(wanted.index), arrays, of_logit, pack
        return self, arrays, wanted, pack

    def _propagate(self, inputs: list[ops.Tensor], target: Target) -> Any:
        propagation = self._propagation_to(target)
        logits, records = propagation.forward(inputs)
        start = started(logits, target, self._start(target))
        relevance, steps = propagation.backward(records, inputs, start)
        return self._with_shares(relevance, steps, inputs), steps, logits

    def _with_shares(
        self, relevance: Mapping[int, ops.Tensor], steps: Steps, inputs: list[ops.Tensor]
    ) -> Mapping[int, ops.Tensor]:
        """The relevance of every slot, with what inputs get that no rule passes on to them."""
        return relevance

    def _start(self, target: Target) -> Start:
        """A function of the logits and of 1 at the explained neurons: the relevance of the logits."""
        return ops.multiply if self._from_logit else only_selected

    def _maps(self, inputs: list[ops.Tensor], target: Target) -> Maps:
        relevance, _, logits = self._propagate(inputs, target)
        return self._at_inputs(relevance, inputs, target), logits

    def _at_inputs(
        self, relevance: Mapping[int, ops.Tensor], inputs: list[ops.Tensor], target: Target
    ) -> list[ops.Tensor]:
        """The relevance of the inputs; 0 if the output does not depend on an input."""
        return [
            (
                ops.cast(relevance[slot], relevance_dtype(x.dtype))
                if ops.is_floating(x.dtype)
                else relevance[slot]
            )
            if slot in relevance
            else ops.zeros_like(x, dtype=relevance_dtype(x.dtype))
            for slot, x in zip(self._graph.inputs, inputs, strict=True)
        ]

    def _layers(self, inputs: list[ops.Tensor], target: Target) -> dict[str, list[ops.Tensor]]:
        relevance, steps, _ = self._propagate(inputs, target)
        at_inputs = self._at_inputs(relevance, inputs, target)
        result = {name: [r] for name, r in zip(self._input_names, at_inputs, strict=True)}
        return result | {node.name: given for node, given, _ in steps}

    @property
    def _input_names(self) -> list[str]:
        """The inputs' names among those of layers; a subclassed model may use a name for both."""
        names, own = self._graph.input_names, len(self._network.own_inputs)
        layers = {*names[own:], *(node.name for node in self._graph.nodes)}
        same = [k < own and name in layers for k, name in enumerate(names)]
        return [f"{n} (input)" if twice else n for n, twice in zip(names, same, strict=True)]

    def _layer_shapes(self) -> dict[str, list[Shape]]:
        shapes = self._graph.shapes
        names = zip(self._input_names, self._graph.inputs, strict=True)
        return {name: [shapes[slot]] for name, slot in names} | {
            node.name: [shapes[slot] for slot in node.outputs] for node in self._graph.nodes
        }

    def _sums(self, inputs: list[ops.Tensor], target: Target) -> dict[str, list[ops.Tensor]]:
        relevance, steps, _ = self._propagate(inputs, target)
        constants, shapes = self._graph.constants, self._graph.shapes
        size = ops.shape(inputs[0])[0]

        def by_sample(relevances: list[ops.Tensor], slots: Sequence[int]) -> list[ops.Tensor]:
            pairs = zip(relevances, slots, strict=True)
            return [_by_sample(r, shapes[s], size) for r, s in pairs if s not in constants]

        sharing = [
            (by_sample(out, node.outputs), by_sample(into, node.inputs))
            for node, out, into in steps
            if not constants.issuperset(node.inputs)
        ]
        at_inputs = self._at_inputs(relevance, inputs, target)
        start = [_by_sample(relevance[self._graph.output], (None,), size)]
        ends = start, [_by_sample(r, (None,), size) for r in at_inputs]
        result = {str(k): _three_sums(*both) for k, both in enumerate(sharing)}
        return result | {"model": _three_sums(*ends)}


def _no_samples(shape: Shape) -> np.ndarray:
    """The relevance of a layer for an empty batch."""
    batch = batch_axis(shape) or 0
    return np.zeros([0 if k == batch else n or 0 for k, n in enumerate(shape)], np.float32)


def _three_sums(given: list[ops.Tensor], taken: list[ops.Tensor]) -> list[ops.Tensor]:
    """Sums at the outputs and at the inputs, and of absolute values there, each `(batch,)`."""

    def summed(tensors: list[ops.Tensor]) -> ops.Tensor:
        return ops.add_n([ops.sum(ops.cast(t, "float64"), 1) for t in tensors])

    with ops.wide():
        return [summed(given), summed(taken), summed([ops.abs(t) for t in taken])]


def _by_sample(relevance: ops.Tensor, shape: Shape, size: ops.Tensor) -> ops.Tensor:
    """Relevance as (batch, all others), wherever the batch axis of its slot is.

    Windows of an image may be placed along the first axis; heads and the like before the batch axis.
    """
    axis = batch_axis(shape) or 0
    if axis:
        others = (k for k in range(len(shape)) if k != axis)
        relevance = ops.transpose(relevance, [axis, *others])
    return ops.reshape(relevance, [size, -1])
