"""Analyzers that propagate relevance, rule by rule."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rap_keras.analyzers.base import Analyzer
from rap_keras.analyzers.conservation import ConservationReport, Row
from rap_keras.composites.composite import Composite, RuleTable
from rap_keras.errors import InputError
from rap_keras.inputs.bounds import boxes, read_bounds, refuse_outside
from rap_keras.inputs.contrast import contrasted, read_contrast, refuse_itself
from rap_keras.inputs.neurons import refuse_several
from rap_keras.network.graph import Graph, Shape, batch_axis
from rap_keras.propagate import Record, backward, forward, relevance_dtype, select


class PropagationAnalyzer(Analyzer):
    """An analyzer that propagates relevance from the logits to the inputs, rule by rule.

    Args:
        model: See `Analyzer`.
        composite: The rule of each layer.
        bounds: (low, high) of the input for rules that ask for its box, numbers or arrays that broadcast
            to a sample; None takes the minimum and maximum of each image.
        contrast: What the explained class c is set against: relevance starts from |f_c| (e_c - sum_k
            w_k e_k) in place of f_c e_c, with the logits f, the other classes k and weights w of sum 1,
            so that the map sums to 0, evidence for c is positive and for the others negative.
            "softmax": w is the softmax of the others' logits, whatever the model's head is. "uniform":
            they are all alike. The number of a class, or a list of them: these alike, and no others
            ("why c, and not these"). None: relevance starts from f_c, as the papers have it.
        **options: Those of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is wrong.
        UnknownLayerError: A layer has no rule.
    """

    def __init__(
        self,
        model: keras.Model,
        composite: Composite,
        bounds: Any = None,
        contrast: str | int | Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        self._bounds = read_bounds(bounds)
        self._kept = composite.layer_classes()
        self._composite_of_rules = composite
        super().__init__(model, **options)
        self._use_graph()
        self.contrast = read_contrast(contrast, self._output_shape[-1] if self._output_shape else 1)

    def options(self) -> dict[str, Any]:
        """The options that make this analyzer again, as JSON knows them."""
        own = list(self.contrast) if isinstance(self.contrast, tuple) else self.contrast
        return super().options() | {"contrast": own}

    def _use_graph(self) -> None:
        self._table = self._composite_of_rules.assign(self._graph)

    def _kept_whole(self) -> Collection[type]:
        return self._kept

    def _prepared(self, graph: Graph) -> Graph:
        if self._bounds is None:
            return graph
        return dataclasses.replace(graph, images=frozenset(graph.inputs))

    def _batched(
        self, key: str, function: Callable[..., Any], arrays: list[np.ndarray], selection: Any
    ) -> Any:
        refuse_outside(self._bounds, arrays)
        return super()._batched(key, function, arrays, selection)

    def _read_selection(self, arrays: list[np.ndarray], selection: Any) -> np.ndarray:
        index = super()._read_selection(arrays, selection)
        if self.neuron_selection_mode != "max_activation":
            refuse_itself(self.contrast, None if self._explains_all(selection) else index)
        return index

    def _explained(self, arrays: list[np.ndarray], selection: Any) -> dict[str, Any]:
        found = super()._explained(arrays, selection)
        if self.neuron_selection_mode == "max_activation":
            refuse_itself(self.contrast, found["neurons"])
        return found

    def _explained_each(self, arrays: list[np.ndarray], columns: Any) -> dict[str, Any]:
        each = self._explained if len(arrays[0]) else super()._explained_each
        return each(arrays, columns)

    def _bounds_option(self) -> Any:
        """The bounds as JSON knows them."""
        return None if self._bounds is None else [b.tolist() for b in self._bounds]

    def rules(self) -> RuleTable:
        """The rule of every layer, in the order of computation; prints as a table."""
        return self._table

    def analyze_layers(self, x: Any, neuron_selection: Any = None) -> dict[str, Any]:
        """The relevance at every layer's output.

        Args:
            x: As in `analyze`.
            neuron_selection: As in `analyze`.

        Returns:
            From the inputs to the logits: layer name => np.ndarray of the shape of the layer's output
            (a list where it has several). Layers of nested models are named "model/layer", further
            calls of a shared layer "layer:1".

        Raises:
            InputError: As in `analyze`.
        """
        refuse_several(neuron_selection, self.neuron_selection_mode)
        arrays, _ = self._read(x)
        if self._explains_classes(neuron_selection):
            analyzer = self._of_one_class(neuron_selection, len(arrays[0]))
            if analyzer is not self:
                return analyzer.analyze_layers(x, 0)
            neuron_selection = 0
        result = self._batched("layers", self._layers, arrays, neuron_selection)
        if result is None:
            result = {
                name: [np.zeros((0, *(n or 0 for n in shape[1:])), np.float32) for shape in shapes]
                for name, shapes in self._layer_shapes().items()
            }
        self._refuse_overflow([part for parts in result.values() for part in parts])
        order = [*self._graph.input_names, *(node.name for node in self._graph.nodes)]
        return {name: p[0] if len(p := result[name]) == 1 else p for name in order}

    def conservation(self, x: Any, neuron_selection: Any = None) -> ConservationReport:
        """How well every layer and the whole keep the sum of relevance.

        Args:
            x: As in `analyze`.
            neuron_selection: As in `analyze`.

        Returns:
            Sums at the outputs and at the inputs of every layer and of the model, per sample.

        Raises:
            InputError: As in `analyze`; x has no samples.
        """
        refuse_several(neuron_selection, self.neuron_selection_mode)
        arrays, _ = self._read(x)
        if self._explains_classes(neuron_selection):
            analyzer = self._of_one_class(neuron_selection, len(arrays[0]))
            if analyzer is not self:
                return analyzer.conservation(x, 0)
            neuron_selection = 0
        sums = self._batched("sums", self._sums, arrays, neuron_selection)
        if sums is None:
            raise InputError(
                "Expected at least one sample to sum relevance over, got a batch of 0."
            )
        constants = self._graph.constants
        nodes = reversed(self._graph.nodes)
        names = [node.name for node in nodes if not constants.issuperset(node.inputs)]
        rows = [Row(name, *sums[f"{k}"]) for k, name in enumerate(names)]
        return ConservationReport(rows, Row("model", *sums["model"]))

    def _propagate(self, inputs: list[tf.Tensor], index: tf.Tensor) -> Any:
        logits, back = self._forward(inputs)
        relevance, steps = back(index)
        return relevance, steps, logits

    def _forward(self, inputs: list[tf.Tensor]) -> tuple[tf.Tensor, Callable[[tf.Tensor], Any]]:
        """The logits, and the way back from the neurons of an index."""
        logits, _, back = self._recorded(inputs)
        return logits, back

    def _recorded(
        self, inputs: list[tf.Tensor]
    ) -> tuple[tf.Tensor, list[Record], Callable[[tf.Tensor], Any]]:
        """The logits, what each node computed, and the way back from the neurons of an index."""
        logits, records = forward(self._graph, inputs)
        logits = tf.cast(logits, relevance_dtype(logits.dtype))

        def back(index: tf.Tensor) -> Any:
            start = self._started(logits, index)
            box = boxes(self._graph, inputs, self._bounds)
            return backward(self._graph, self._table, records, box, start)

        return logits, records, back

    def _started(self, logits: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        """The relevance of the logits, for the neurons of an index, against the contrast."""
        selected = select(logits, self.neuron_selection_mode, index)
        start = self._start(logits, selected)
        if self.contrast is None:
            return start
        return contrasted(start, logits, selected, self.contrast)

    def _start(self, logits: tf.Tensor, selected: tf.Tensor) -> tf.Tensor:
        """The relevance of the logits."""
        return logits * selected

    def _maps(self, inputs: list[tf.Tensor], index: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        relevance, _, logits = self._propagate(inputs, index)
        return self._at_inputs(relevance, inputs), logits

    def _at_inputs(
        self, relevance: Mapping[int, tf.Tensor], inputs: list[tf.Tensor]
    ) -> list[tf.Tensor]:
        """Relevance of the inputs; 0 where the output does not depend on one."""
        return [
            (
                tf.cast(relevance[slot], relevance_dtype(x.dtype))
                if x.dtype.is_floating
                else relevance[slot]
            )
            if slot in relevance
            else tf.zeros_like(x, dtype=relevance_dtype(x.dtype))
            for slot, x in zip(self._graph.inputs, inputs, strict=True)
        ]

    def _layers(self, inputs: list[tf.Tensor], index: tf.Tensor) -> dict[str, list[tf.Tensor]]:
        relevance, steps, _ = self._propagate(inputs, index)
        at_inputs = self._at_inputs(relevance, inputs)
        result = {name: [r] for name, r in zip(self._graph.input_names, at_inputs, strict=True)}
        return result | {node.name: given for node, given, _ in steps}

    def _layer_shapes(self) -> dict[str, list[Shape]]:
        shapes = self._graph.shapes
        names = zip(self._graph.input_names, self._graph.inputs, strict=True)
        return {name: [shapes[slot]] for name, slot in names} | {
            node.name: [shapes[slot] for slot in node.outputs] for node in self._graph.nodes
        }

    def _sums(self, inputs: list[tf.Tensor], index: tf.Tensor) -> dict[str, list[tf.Tensor]]:
        relevance, steps, _ = self._propagate(inputs, index)
        constants = self._graph.constants
        sharing = [
            (out, [r for r, slot in zip(into, node.inputs, strict=True) if slot not in constants])
            for node, out, into in steps
            if not constants.issuperset(node.inputs)
        ]
        size = tf.shape(inputs[0])[0]
        result = {str(k): _three_sums(out, into, size) for k, (out, into) in enumerate(sharing)}
        start = [relevance[self._graph.output]]
        return result | {"model": _three_sums(start, self._at_inputs(relevance, inputs), size)}


def _three_sums(given: list[tf.Tensor], taken: list[tf.Tensor], size: tf.Tensor) -> list[tf.Tensor]:
    """Sum at the outputs, sum at the inputs, absolute sum at the inputs; each of shape (batch,)."""

    def summed(tensors: list[tf.Tensor]) -> tf.Tensor:
        return tf.add_n([tf.reduce_sum(_by_sample(t, size), 1) for t in tensors])

    return [summed(given), summed(taken), summed([tf.abs(t) for t in taken])]


def _by_sample(relevance: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Relevance of shape (batch, all the rest), wherever a layer has its samples.

    Windows of an image may lie side by side on the first axis; heads and the like before it.
    """
    wide = tf.cast(relevance, tf.float64)
    axis = batch_axis(relevance.shape) or 0
    if axis:
        wide = tf.transpose(wide, [axis, *(k for k in range(wide.shape.rank) if k != axis)])
    return tf.reshape(wide, [size, -1])
