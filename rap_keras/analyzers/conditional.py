"""Relevance of the channels of a layer, and maps of relevance that passes through some of them."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rap_keras import tensors as ops
from rap_keras.analyzers.concepts import Concepts
from rap_keras.errors import InputError
from rap_keras.inputs.batches import is_stream
from rap_keras.inputs.target import Target
from rap_keras.inputs.tensors import readable
from rap_keras.network.graph import Graph, Node
from rap_keras.network.node import nodes_to
from rap_keras.network.units import Units, find_units
from rap_keras.propagate import Record, relevance_dtype
from rap_keras.propagation import started
from rap_keras.support.text import counted, shown


class ConditionalAnalyzer:
    """The part of a propagating analyzer that separates the channels of a layer (CRP).

    Achtibat et al., "From attribution maps to human-understandable explanations through Concept
    Relevance Propagation", Nature Machine Intelligence 2023: relevance is propagated to a layer, set to
    0 in all channels except one, and propagated on from there.
    """

    _distributes = True  # whether relevance is a part of the logit

    def concepts(
        self,
        x: Any,
        layer: str,
        target: Any = None,
        *,
        against: Any = None,
        neuron_selection: Any = None,
    ) -> Concepts:
        """Computes the relevance of every channel of a layer's output.

        Args:
            x: As in `analyze`, but no iterable of batches.
            layer: The name of a layer, as `rules()` lists it. Its channels are the last axis of its
                output (the second with channels first). For the product of attention weights and
                values, or the name of an attention layer that the graph opens, they are the heads.
            target: As in `analyze`, but one class per sample.
            against: As in `analyze`.
            neuron_selection: As in `analyze`.

        Returns:
            The relevance, `(batch, channels)`, with sorted lists and shares of the logit.

        Raises:
            InputError: As in `analyze_layers`, or the layer has no channels.

        Example:
            >>> model = rap_keras.bundled.load("vgg")
            >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
            >>> analyzer = rap_keras.create_analyzer("rap", model)
            >>> found = analyzer.concepts(x, "block3_conv2", target=7)
            >>> bool(np.isclose(found.shares.sum(), 1, rtol=1e-3))
            True
            >>> maps = analyzer.analyze(x, target=7, concepts={"block3_conv2": found.order[:, :2]})
            >>> maps.shape
            (1, 2, 64, 64, 3)
        """
        this: Any = self
        self._refuse_other_starts()
        analyzer, arrays, wanted, _ = this._of_layers(x, target, against, neuron_selection)
        units = find_units(analyzer._graph, layer)
        size = len(arrays[0])
        if size:
            compute = analyzer._relevance_of(units)
            found = analyzer._batches.run(compute, arrays, wanted, f"concepts of {units.node.name}")
        else:
            found = {"relevance": np.zeros((0, units.count), np.float32)}
            found |= {"largest": found["relevance"], "logits": analyzer._logits_of(arrays)}
            found["places"] = np.zeros((0, units.count, len(units.shape) - 2), np.int32)
        this._refuse_overflow([found["relevance"]], found["logits"])
        neurons = wanted.neurons(found["logits"])
        if this._graph.is_binary and wanted.kind in ("class", "largest"):
            found["logits"] = analyzer._sign * found["logits"]
            neurons = np.full(size, int(analyzer._sign > 0), np.int32)
        explanation = this._described(found["relevance"], found | {"neurons": neurons}, wanted)
        three = found["relevance"], found["largest"], found["places"]
        return Concepts(layer, units.kind, *three, explanation)

    def _conditional(self, x: Any, target: Any, against: Any, concepts: Any) -> Any:
        """The maps of `analyze(concepts=...)`."""
        this: Any = self
        self._refuse_other_starts()
        if is_stream(x):
            each = this._stream(x, target)
            _refuse_concepts_of_each(concepts)
            return (self._conditional(batch, target, against, concepts) for batch in each)
        analyzer, arrays, wanted, pack = this._of_layers(x, target, against, None)
        units, columns = read_concepts(analyzer._graph, concepts, len(arrays[0]))
        if not len(arrays[0]):
            shapes = [(0, columns.shape[1], *a.shape[1:]) for a in arrays]
            kinds = [this._dtype(a.dtype) for a in arrays]
            return pack([np.zeros(s, d) for s, d in zip(shapes, kinds, strict=True)])
        name = " > ".join(one.node.name for one in units)
        compute = analyzer._through(units)
        found = analyzer._batches.run_by_column(compute, f"maps of {name}", arrays, wanted, columns)
        maps = [np.stack(parts, 1) for parts in zip(*found, strict=True)]
        this._refuse_overflow(maps)
        return pack(maps)

    def _refuse_other_starts(self) -> None:
        this: Any = self
        if this._has_layers and not self._distributes:
            raise InputError(
                f"The method {this.name!r} has no relevance of channels, because it does not distribute "
                'the logit: use one that does, such as "rap" or "lrp.epsilon".'
            )

    def _relevance_of(self, units: Units) -> Callable[..., dict[str, ops.Tensor]]:
        """A function of the inputs and the target: the relevance of each unit, and where it is."""

        def compute(inputs: list[ops.Tensor], target: Target) -> dict[str, ops.Tensor]:
            logits, _, relevance = self._at_units(inputs, target, units)
            size = ops.shape(inputs[0])[0]
            parts = units.by_unit(relevance, size)
            return {
                "logits": logits,
                "relevance": ops.sum(parts, 1),
                "largest": ops.max(parts, 1),
                "places": units.places(relevance, size),
            }

        return compute

    def _through(self, units: Sequence[Units]) -> Callable[..., Any]:
        """A function of the inputs and the target: a function from units of each layer to the maps."""
        this: Any = self

        def compute(inputs: list[ops.Tensor], target: Target) -> Any:
            propagation = this._propagation_to(target)
            _, records, at_first = self._at_units(inputs, target, units[0])
            size = ops.shape(inputs[0])[0]

            def maps(column: ops.Tensor) -> list[ops.Tensor]:
                relevance = at_first
                for k, one in enumerate(units):
                    kept = {one.slot: one.only(relevance, column[:, k], size)}
                    following = units[k + 1].node if k + 1 < len(units) else None
                    passed, steps = propagation.between(records, inputs, kept, one.node, following)
                    if following is not None:
                        relevance = _relevance(passed, records, units[k + 1])
                whole = this._with_shares(passed, steps, inputs)
                return this._at_inputs(whole, inputs, target)

            return maps

        return compute

    def _at_units(
        self, inputs: list[ops.Tensor], target: Target, units: Units
    ) -> tuple[ops.Tensor, list[Record], ops.Tensor]:
        """The logits, the records of the forward pass, and the relevance of a layer's output."""
        this: Any = self
        propagation = this._propagation_to(target)
        logits, records = propagation.forward(inputs)
        start = {this._graph.output: started(logits, target, this._start(target))}
        passed, _ = propagation.between(records, inputs, start, end=units.node)
        return logits, records, _relevance(passed, records, units)


def _relevance(
    passed: Mapping[int, ops.Tensor], records: Sequence[Record], units: Units
) -> ops.Tensor:
    """The relevance of a layer's output; 0 if none arrives there."""
    if units.slot in passed:
        return passed[units.slot]
    output = next(r for r in records if r.node.name == units.node.name).outputs[0]
    return ops.zeros_like(output, dtype=relevance_dtype(output.dtype))


def read_concepts(graph: Graph, concepts: Any, size: int) -> tuple[tuple[Units, ...], np.ndarray]:
    """The layers that relevance passes through, from the output to the input, and their channels.

    For each layer a number is given, k numbers for all samples, or `(batch, k)` numbers; layers may
    have one if others have k. Returned are int32 `(batch, k, layers)`.
    """
    if not isinstance(concepts, Mapping) or not concepts:
        raise InputError(
            "Expected concepts as a dict from layers to numbers of channels, such as "
            f'{{"conv": [50, 12]}}, got {shown(concepts)}.',
            "concepts",
        )
    units = [find_units(graph, name, "concepts") for name in concepts]
    numbers = [
        _read_numbers(name, given, one, size)
        for (name, given), one in zip(concepts.items(), units, strict=True)
    ]
    count = max(array.shape[1] for array in numbers)
    if any(array.shape[1] not in (1, count) for array in numbers):
        each = ", ".join(
            f"{array.shape[1]} of {name!r}" for name, array in zip(concepts, numbers, strict=True)
        )
        raise InputError(
            f"Expected the same number of concepts of each layer, or one, got {each}: the first of each "
            "layer make the first map, and so on.",
            "concepts",
        )
    places = [graph.nodes.index(one.node) for one in units]
    order = sorted(range(len(units)), key=lambda k: -places[k])
    _refuse_parallel(graph, [units[k].node for k in order])
    wide = [np.broadcast_to(numbers[k], (size, count)) for k in order]
    return tuple(units[k] for k in order), np.stack(wide, -1).astype(np.int32)


def _refuse_concepts_of_each(concepts: Any) -> None:
    """Raises an error for concepts per sample of a data set: every batch would get the first ones."""
    for name, given in concepts.items() if isinstance(concepts, Mapping) else ():
        shape = np.shape(given) if hasattr(given, "shape") else np.asarray(given, object).shape
        if len(shape) == 2 and shape[0] > 1:
            raise InputError(
                f"Expected the same concepts of {name!r} for all samples of a data set, got those of "
                f"{shape[0]} samples: explain each batch in a separate call, with its concepts.",
                "concepts",
            )


def _read_numbers(name: str, given: Any, units: Units, size: int) -> np.ndarray:
    try:
        array = np.asarray(readable(given))
    except ValueError:  # lists of different lengths
        array = np.asarray(None)
    fits = array.ndim < 2 or (array.ndim == 2 and array.shape[0] == size)
    if array.dtype.kind not in "iu" or (size and not array.size) or not fits:
        raise InputError(
            f"Expected concepts of {name!r} to be the number of a {units.kind}, k numbers, or an array "
            f"of shape ({size}, k), got {shown(given)}.",
            "concepts",
        )
    if array.size and not 0 <= array.min() <= array.max() < units.count:
        raise InputError(
            f"Expected concepts of {name!r} from 0 to {units.count - 1}, got {shown(given)}: the layer "
            f"has {counted(units.count, units.kind)}.",
            "concepts",
        )
    return array.reshape(-1, array.shape[-1] if array.ndim else 1)


def _refuse_parallel(graph: Graph, nodes: Sequence[Node]) -> None:
    """Raises an error if a layer is named twice, or does not lead to the one before."""
    for later, earlier in itertools.pairwise(nodes):
        leading = nodes_to(later.outputs[0], graph.nodes)
        if earlier is later or not any(node.name == earlier.name for node in leading):
            raise InputError(
                "Expected concepts of layers that follow one another, got "
                f"{earlier.name!r}, which does not lead to {later.name!r}: no relevance passes through "
                "both.",
                "concepts",
            )
