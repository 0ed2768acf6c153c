"""The tensors of the way back: those that nothing takes, and those that are kept for debugging."""

from typing import Any

import innvestigate.backend.graph as igraph
import tensorflow as tf
import tensorflow.keras.models as kmodels
from innvestigate.analyzer.reverse_base import ReverseAnalyzerBase

from rap_keras.innvestigate.step import Step
from rap_keras.network.graph import Graph
from rap_keras.propagate import relevance_dtype


class ReversingAnalyzer(ReverseAnalyzerBase):
    """An analyzer that works for any inputs and layers, also with reverse_keep_tensors and targets.

    iNNvestigate's fails if nothing takes an input, and loses the relevance of a layer that returns a
    tuple, or of which one output is not taken. It keeps no tensors that have the same id: those of
    several inputs, and of a target.
    """

    _model: Any
    _graph: Graph
    _guard: Any
    _relevances: dict[int, dict[str, Any]]
    _reverse_keep_tensors: bool
    _keeper: Any = None  # the analyzer that this one is the same as, in another mode

    def _reverse_model(
        self,
        model: Any,
        stop_analysis_at_tensors: Any = None,
        return_all_reversed_tensors: bool = False,
    ) -> tuple[list[Any], Any]:
        """The way back, from the output and, with zeros, from the tensors that nothing takes.

        It keeps the relevance of every tensor, for questions about layers.
        """
        self._unused = self._not_taken()
        if self._unused:
            model = kmodels.Model(model.inputs, [*model.outputs, *self._unused])
        by_depth = model._nodes_by_depth
        nodes = [node for depth in sorted(by_depth) for node in by_depth[depth]]
        calls = [
            (n.layer, *map(tf.nest.flatten, (n.input_tensors, n.outputs))) for n in nodes[::-1]
        ]
        maps, self._relevances = igraph.reverse_model(
            model,
            reverse_mappings=self._reverse_mapping,
            default_reverse_mapping=self._default_reverse_mapping,
            head_mapping=self._head_mapping,
            stop_mapping_at_tensors=stop_analysis_at_tensors,
            verbose=self._reverse_verbose,
            clip_all_reversed_tensors=self._reverse_clip_values,
            project_bottleneck_tensors=self._reverse_project_bottleneck_layers,
            return_all_reversed_tensors=True,
            execution_trace=(model.layers, calls, model.outputs),
        )
        maps = self._at_inputs(maps)
        return maps, self._relevances if return_all_reversed_tensors else None

    def _at_inputs(self, maps: list[Any]) -> list[Any]:
        """The relevance of the inputs, from the maps that the rules give."""
        return maps

    def _head_mapping(self, X: Any) -> Any:
        if not any(X is tensor for tensor in self._unused):
            return X
        dtype = relevance_dtype(self._model.outputs[0].dtype)
        return Step(lambda given: tf.zeros_like(given[0], dtype), "zeros")([X])

    def _not_taken(self) -> list[Any]:
        """The inputs and outputs of layers on which the output does not depend."""
        taken = {slot for node in self._graph.nodes for slot in node.inputs} | {self._graph.output}
        made = [*self._graph.inputs, *(slot for node in self._graph.nodes for slot in node.outputs)]
        nodes = (node for group in self._model._nodes_by_depth.values() for node in group)
        slots = self._guard.network.slots
        tensors = {slots.get(id(t)): t for node in nodes for t in tf.nest.flatten(node.outputs)}
        return [tensors[slot] for slot in made if slot not in taken]

    def _handle_debug_output(self, debug_values: Any) -> None:
        keep, self._reverse_keep_tensors = self._reverse_keep_tensors, False
        super()._handle_debug_output(debug_values)
        self._reverse_keep_tensors = keep
        if keep:
            first, last = self._debug_tensors_indices["keep"]
            ids, kept = self._reverse_tensors_mapping, debug_values[first:last]
            pairs = [(ids[k], tensor) for k, tensor in enumerate(kept)]
            self._reversed_tensors = sorted(pairs, key=lambda pair: pair[0])
            if self._keeper is not None:
                self._keeper._reversed_tensors = self._reversed_tensors
