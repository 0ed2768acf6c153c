"""The analyzers of the native backend."""

import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from rap_keras.bounds import boxes, read_bounds, refuse_outside
from rap_keras.composites import Composite, RuleTable
from rap_keras.conservation import ConservationReport, Row
from rap_keras.errors import InputError
from rap_keras.graph import Graph, Shape
from rap_keras.inputs import MODES, Pack, as_batches, read_inputs, read_selection
from rap_keras.keras3.trace import input_names, own_output, trace
from rap_keras.options import choose
from rap_keras.propagate import (
    backward,
    forward,
    relevance_dtype,
    select,
)


class Analyzer:
    """Explains the decisions of a Keras 3 model. The model is never changed.

    Args:
        model: A functional or Sequential Keras 3 model with one output. A softmax or sigmoid at its
            end is left out: its logits are explained.
        neuron_selection_mode: "max_activation": the neuron with the largest logit of each sample.
            "index": the neuron that `analyze` is told. "all": every output neuron at once.
        batch_size: Samples that are computed at a time. Results do not depend on it.
        check_finite: Refuse inputs and results with NaN or infinity. False lets them through.

    Raises:
        InputError: The model cannot be explained, or an option is wrong.
        UnknownLayerError: A layer has no rule.
    """

    name: ClassVar[str]

    def __init__(
        self,
        model: keras.Model,
        neuron_selection_mode: str = "max_activation",
        batch_size: int = 32,
        check_finite: bool = True,
    ) -> None:
        choose("neuron_selection_mode", neuron_selection_mode, MODES)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"Expected batch_size to be a positive integer, got {batch_size!r}.")
        self.model = model
        self.neuron_selection_mode = neuron_selection_mode
        self.batch_size = batch_size
        self.check_finite = check_finite
        self._graph = self._trace(model)
        shape = self._graph.shapes[self._graph.output]
        if neuron_selection_mode != "all" and len(shape) != 2:
            raise InputError(
                "Expected a model with outputs of shape (batch, neurons) to select a neuron, got "
                f'{shape}: use neuron_selection_mode="all", or flatten the output.'
            )
        self._functions: dict[str, Any] = {}
        self._checked = False

    def _trace(self, model: keras.Model) -> Graph:
        return trace(model)

    def options(self) -> dict[str, Any]:
        """The options that make this analyzer again, as JSON knows them."""
        return {
            "neuron_selection_mode": self.neuron_selection_mode,
            "batch_size": self.batch_size,
            "check_finite": self.check_finite,
        }

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={value!r}" for key, value in self.options().items())
        return f"{type(self).__name__}({self.model.name!r}, {options})"

    def analyze(self, x: Any, neuron_selection: Any = None) -> Any:
        """Explains samples.

        Args:
            x: Array or tensor of shape (batch, ...), as the model takes it; a list or dict of them for
                several inputs; or a batched `tf.data.Dataset` of them (of pairs, the first counts).
            neuron_selection: In mode "index": the output neuron, an integer for all samples or one
                per sample.

        Returns:
            np.ndarray of the shape of x: the relevance (or attribution) of every element; a list or
            dict for several inputs; for a dataset an iterator over the maps of each batch.

        Raises:
            InputError: x or the neuron does not fit the model; x or the result is not finite.
        """
        if isinstance(x, tf.data.Dataset):
            return self._analyze_dataset(x, neuron_selection)
        arrays, pack = self._read(x)
        maps = self._batched("maps", self._maps, arrays, neuron_selection)
        if maps is None:
            maps = [np.zeros(a.shape, self._dtype(a.dtype)) for a in arrays]
        self._refuse_overflow(maps)
        return pack(maps)

    def _read(self, x: Any) -> tuple[list[np.ndarray], Pack]:
        return read_inputs(self.model.inputs, input_names(self.model), x, self.check_finite)

    def _analyze_dataset(self, dataset: tf.data.Dataset, neuron_selection: Any) -> Iterator[Any]:
        for element in dataset:
            x = element[0] if isinstance(element, tuple) else element
            yield self.analyze(x, neuron_selection)

    def _dtype(self, dtype: Any) -> Any:
        return relevance_dtype(dtype).as_numpy_dtype

    def _refuse_overflow(self, maps: list[np.ndarray]) -> None:
        if self.check_finite and not all(np.isfinite(m).all() for m in maps):
            raise InputError(
                "Expected finite relevance, got NaN or infinity from finite inputs: the model's own "
                "values overflow; scale the input as the model expects it, or set check_finite=False."
            )

    def _batched(
        self, key: str, function: Callable[..., Any], arrays: list[np.ndarray], selection: Any
    ) -> Any:
        """The function's results over all batches, joined along the first axis; None for no samples."""
        size = len(arrays[0])
        neurons = self._graph.shapes[self._graph.output][-1]
        index = read_selection(selection, self.neuron_selection_mode, size, neurons)
        if size == 0:
            return None
        self._check_trace([a[:1] for a in arrays])
        compiled = self._compiled(key, function)
        parts = []
        for chunk in as_batches(size, self.batch_size):
            inputs = [tf.constant(a[chunk]) for a in arrays]
            parts.append(
                tf.nest.map_structure(_to_numpy, compiled(inputs, tf.constant(index[chunk])))
            )
        return tf.nest.map_structure(lambda *p: np.concatenate(p), *parts)

    def _check_trace(self, sample: list[np.ndarray]) -> None:
        """Refuses, at the first call, a model whose graph does not compute what the model does."""
        if self._checked or not all(np.isfinite(a).all() for a in sample):
            return
        inputs = [tf.constant(a) for a in sample]
        expected = np.asarray(tf.nest.flatten(own_output(self.model, inputs))[0], np.float64)
        got = np.asarray(forward(trace(self.model, keep_head=True), inputs)[0], np.float64)
        if not np.isfinite(expected).all():
            return  # a matter of the numbers, which is told elsewhere
        dtypes = {getattr(node.layer, "compute_dtype", "float32") for node in self._graph.nodes}
        coarse = 5e-2 if dtypes & {"float16", "bfloat16"} else 1e-3
        if not np.allclose(got, expected, rtol=coarse, atol=coarse * abs(expected).max()):
            raise InputError(
                "Expected the graph of the model's layers to compute what the model computes, got "
                f"outputs that differ by up to {abs(got - expected).max():.3g}: masks, casts or other "
                "effects cross the border of a nested model; flatten it."
            )
        self._checked = True

    def _compiled(self, key: str, function: Callable[..., Any]) -> Any:
        if key not in self._functions:
            signature = [tf.TensorSpec((None, *t.shape[1:]), t.dtype) for t in self.model.inputs]
            traced = tf.function(
                function,
                input_signature=[signature, tf.TensorSpec([None], tf.int32)],
                autograph=False,
            )
            self._functions[key] = traced.get_concrete_function()
        return self._functions[key]

    def raw_maps(self, arrays: list[np.ndarray], neuron_selection: Any = None) -> list[np.ndarray]:
        """The maps of arrays as the model takes them, unchecked, one per input."""
        return self._batched("maps", self._maps, arrays, neuron_selection)

    def _maps(self, inputs: list[tf.Tensor], index: tf.Tensor) -> list[tf.Tensor]:
        raise NotImplementedError

    def _logits(self, inputs: list[tf.Tensor], index: tf.Tensor) -> tf.Tensor:
        return forward(self._graph, inputs)[0]

    @classmethod
    def option_names(cls, method: str = "") -> list[str]:
        """The names of the options; of one method where a class has several."""
        names: dict[str, None] = {}
        for base in cls.__mro__[:-1]:
            if "__init__" not in vars(base):
                continue
            for parameter in inspect.signature(vars(base)["__init__"]).parameters.values():
                if parameter.kind is not parameter.VAR_KEYWORD:
                    names[parameter.name] = None
        return [n for n in names if n not in ("self", "model", "composite")]

    def save(self, folder: str | Path) -> None:
        """Writes the model and the analyzer's name and options to a folder.

        Args:
            folder: Gets `model.keras` and `analyzer.json`. It is made where it is missing.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save(folder / "model.keras")
        text = json.dumps({"analyzer": self.name, "options": self.options()}, indent=2)
        (folder / "analyzer.json").write_text(text + "\n", encoding="utf-8")


class PropagationAnalyzer(Analyzer):
    """An analyzer that propagates relevance from the logits to the inputs, rule by rule.

    Args:
        model: See `Analyzer`.
        composite: The rule of each layer.
        bounds: (low, high) of the input for rules that ask for its box, numbers or arrays that broadcast
            to a sample; None takes the minimum and maximum of each image.
        **options: Those of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is wrong.
        UnknownLayerError: A layer has no rule.
    """

    def __init__(
        self, model: keras.Model, composite: Composite, bounds: Any = None, **options: Any
    ) -> None:
        self._bounds = read_bounds(bounds)
        super().__init__(model, **options)
        self._table = composite.assign(self._graph)

    def _trace(self, model: keras.Model) -> Graph:
        graph = super()._trace(model)
        if self._bounds is None:
            return graph
        return dataclasses.replace(graph, images=frozenset(graph.inputs))

    def _batched(
        self, key: str, function: Callable[..., Any], arrays: list[np.ndarray], selection: Any
    ) -> Any:
        refuse_outside(self._bounds, arrays)
        return super()._batched(key, function, arrays, selection)

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
        arrays, _ = self._read(x)
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
        arrays, _ = self._read(x)
        sums = self._batched("sums", self._sums, arrays, neuron_selection)
        if sums is None:
            raise InputError(
                "Expected at least one sample to sum relevance over, got a batch of 0."
            )
        names = [node.name for node in reversed(self._graph.nodes) if node.inputs]
        rows = [Row(name, *sums[f"{k}"]) for k, name in enumerate(names)]
        return ConservationReport(rows, Row("model", *sums["model"]))

    def _propagate(self, inputs: list[tf.Tensor], index: tf.Tensor) -> Any:
        logits, records = forward(self._graph, inputs)
        logits = tf.cast(logits, relevance_dtype(logits.dtype))
        start = self._start(logits, select(logits, self.neuron_selection_mode, index))
        box = boxes(self._graph, inputs, self._bounds)
        relevance, steps = backward(self._graph, self._table, records, box, start)
        return relevance, steps, records

    def _start(self, logits: tf.Tensor, selected: tf.Tensor) -> tf.Tensor:
        """The relevance of the logits."""
        return logits * selected

    def _maps(self, inputs: list[tf.Tensor], index: tf.Tensor) -> list[tf.Tensor]:
        relevance, _, _ = self._propagate(inputs, index)
        return self._at_inputs(relevance, inputs)

    def _at_inputs(
        self, relevance: Mapping[int, tf.Tensor], inputs: list[tf.Tensor]
    ) -> list[tf.Tensor]:
        """Relevance of the inputs; 0 where the output does not depend on one."""
        return [
            relevance[slot]
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
        sharing = [(out, into) for _, out, into in steps if into]
        result = {str(k): _three_sums(out, into) for k, (out, into) in enumerate(sharing)}
        start = [relevance[self._graph.output]]
        return result | {"model": _three_sums(start, self._at_inputs(relevance, inputs))}


def _three_sums(given: list[tf.Tensor], taken: list[tf.Tensor]) -> list[tf.Tensor]:
    """Sum at the outputs, sum at the inputs, absolute sum at the inputs; each of shape (batch,)."""

    def summed(tensors: list[tf.Tensor], size: bool) -> tf.Tensor:
        values = [tf.cast(t, tf.float64) for t in tensors]
        axes = [list(range(1, t.shape.rank)) for t in values]
        parts = [
            tf.reduce_sum(tf.abs(t) if size else t, a) for t, a in zip(values, axes, strict=True)
        ]
        return tf.add_n(parts)

    return [summed(given, False), summed(taken, False), summed(taken, True)]


def _to_numpy(tensor: tf.Tensor) -> np.ndarray:
    return tensor.numpy()
