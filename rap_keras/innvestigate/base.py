"""The base class of the analyzers for iNNvestigate."""

import contextlib
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tensorflow.keras.models as kmodels
from innvestigate.analyzer.reverse_base import ReverseAnalyzerBase

from rap_keras.backends.keras2.graphs import (
    graph_scope,
    new_graph,
    reserve_names,
    safe_loading,
)
from rap_keras.backends.keras2.network import Keras2Network
from rap_keras.backends.network import explaining_tokens
from rap_keras.composites.composite import Composite, RuleTable
from rap_keras.errors import InputError
from rap_keras.innvestigate.files import as_loaded, partly_frozen, read_npz, write_npz
from rap_keras.innvestigate.guards import Guard, one_each, read_range, warn_of_zero_maps
from rap_keras.innvestigate.reversing import ReversingAnalyzer
from rap_keras.innvestigate.step import Step
from rap_keras.inputs.bounds import read_bounds, refuse_outside
from rap_keras.inputs.contrast import read_contrast, refuse_itself
from rap_keras.inputs.target import (
    MODES,
    Target,
    as_column,
    first_given,
    read_target,
)
from rap_keras.propagation import Propagation, contrasted, select
from rap_keras.support.options import choose, read_boolean


class PropagationAnalyzer(ReversingAnalyzer):
    """An analyzer that propagates relevance by the rules of a composite.

    Args:
        model: A Keras 2 model whose output is the logits. Nested models are flattened into a copy.
        composite: The rule of each layer.
        bounds: (low, high), the bounds of the input for rules that need them; None: the minimum and
            maximum of each image.
        contrast: The classes that the explained class is compared with: None, "softmax", "uniform", or
            the number of a class or a list of numbers, as in `rap_keras.create_analyzer`.
        check_finite: Raise an error if samples or maps contain NaN or infinity.
        **options: Options of iNNvestigate's `ReverseAnalyzerBase`: neuron_selection_mode,
            reverse_keep_tensors, reverse_check_finite, ...

    Raises:
        InputError: The model cannot be traced, or is in no graph.
        UnknownLayerError: A layer has no rule.
        NotAnalyzeableModelException: The model ends in a softmax or a sigmoid.
    """

    _array_states: ClassVar[tuple[str, ...]] = ()  # parts of the state that are dicts of arrays

    def __init__(
        self,
        model: Any,
        composite: Composite,
        bounds: Any = None,
        contrast: Any = None,
        check_finite: bool = True,
        **options: Any,
    ) -> None:
        choose("neuron_selection_mode", options.get("neuron_selection_mode", MODES[0]), MODES)
        options["reverse_clip_values"] = read_range(options.get("reverse_clip_values", False))
        with graph_scope(model):
            network = Keras2Network(model, as_vector=True)
            super().__init__(network.model, **options)
            self._bounds = read_bounds(bounds)
            self._guard = Guard(network, check_finite)
            self._graph, self._positions = network.graph, network.positions
            self._guard.refuse_outputs(head_too=not self._disable_model_checks)
            self._contrast = read_contrast(contrast, self._positions[-1])
            if self._neuron_selection_mode == "all":
                refuse_itself(self._contrast, None)
            self._propagation = Propagation(self._graph, composite, self._bounds)
            self._do_model_checks()  # last: our errors are more specific
        self._relevances: dict[int, dict[str, Any]] = {}
        self._built_model: Any = None
        self._layers_model: Any = None
        self._modes: dict[str, Any] = {}

    def __new__(cls, *args: Any, **options: Any) -> Any:
        """Keeps the arguments, to create the analyzer again for another mode."""
        self = super().__new__(cls)
        self._made_of = args, options
        return self

    def rules(self) -> RuleTable:
        """The rule of every layer, in the order of computation; prints as a table."""
        return self._propagation.table

    # iNNvestigate calls these methods to build the analysis.

    def create_analyzer_model(self) -> None:
        """Builds the graph of the analysis; the first call of `analyze` does this."""
        with graph_scope(self._model):
            reserve_names(self._model)
            super().create_analyzer_model()
        self._built_model = self._analyzer_model

    def _reverse_mapping(self, layer: Any) -> Callable[..., list[Any]]:
        if layer in self._special_helper_layers:
            return self._select
        return self._propagate

    def _select(self, Xs: Any, Ys: Any, reversed_Ys: Any, reverse_state: Any) -> list[Any]:
        """Back through the selection of a neuron: its logit at its position, 0 elsewhere."""
        logits, *index = Xs

        def start(tensors: list[tf.Tensor]) -> tf.Tensor:
            logits, logit, *index = tensors
            # iNNvestigate's MaxNeuronSelection gives the logits the shape (1, batch).
            logit = tf.reshape(tf.cast(logit, logits.dtype), [-1, 1])
            target = Target("class", index[0][:, 1]) if index else Target("largest", None)
            selected = select(logits, target)
            # For a map of classes, the other classes are those at the same position.
            shape = [-1, *self._positions]
            begin, at, of = (tf.reshape(t, shape) for t in (selected * logit, logits, selected))
            return tf.reshape(contrasted(begin, at, of, self._contrast), tf.shape(logits))

        return [Step(start, "start")([logits, *reversed_Ys, *index])]

    def _propagate(self, Xs: Any, Ys: Any, reversed_Ys: Any, reverse_state: Any) -> list[Any]:
        node = self._graph.producers[self._guard.network.slots[id(Ys[0])]]
        inputs = self._model.inputs if self._propagation.takes_box(node) else []
        step = Step(lambda tensors: self._propagation.share(node, tensors), node.name)
        return tf.nest.flatten(step([*Xs, *reversed_Ys, *inputs]))

    # Public methods.

    def analyze(self, X: Any, target: Any = None, *, neuron_selection: Any = None) -> Any:
        """Computes the relevance of every input element.

        Args:
            X: Samples as the model takes them: an array of shape (batch, ...), or a list or dict of
                them for several inputs.
            target: The class to explain: a number for all samples or one per sample, or one-hot rows of
                floats. If the output is not a vector: the index of one neuron, such as (y, x, class),
                or a list of such tuples, one per sample. None: see neuron_selection_mode.
            neuron_selection: iNNvestigate's name for `target`.

        Returns:
            The relevance of every element: an array of the shape of X, or a list or dict for several
            inputs.

        Raises:
            InputError: X or the target does not fit the model; X or the result is not finite; or the
                model does not compute each sample separately.
        """
        target = first_given(target, neuron_selection)
        if self._mode_of(target) != self._neuron_selection_mode:
            return self._with_mode(self._mode_of(target)).analyze(X, target)
        with graph_scope(self._model):
            samples, index, pack = self._feed(X, target)
            if not len(samples[0]):
                return pack([np.zeros(x.shape, x.dtype) for x in samples])
            maps = self._computed(self._analyzer_model, samples, index)
            if self._n_debug_output:
                self._handle_debug_output(maps[-self._n_debug_output :])
                maps = maps[: -self._n_debug_output]
            self._guard.refuse_broken(samples, maps)
            warn_of_zero_maps(type(self).__name__, maps)
            return pack(maps)

    def _mode_of(self, target: Any) -> str:
        """The mode of the analysis that a target requires."""
        if target is None:
            return self._neuron_selection_mode
        return "all" if isinstance(target, str) and target == "all" else "index"

    @property
    def _is_wrapped(self) -> bool:
        """Whether one of iNNvestigate's wrappers changes the samples after the input."""
        return self._analyzer_model is not self._built_model

    def _with_mode(self, mode: str) -> Any:
        """The same analyzer in another mode, which iNNvestigate builds into its graph.

        Raises:
            InputError: One of iNNvestigate's wrappers has changed this analyzer, for example to average
                over noise.
        """
        if self._is_wrapped:
            raise InputError(
                f"Expected a target that neuron_selection_mode={self._neuron_selection_mode!r} of the "
                f"wrapped analyzer takes, got another: create it, and its wrapper, with "
                f"neuron_selection_mode={mode!r}.",
                ("target", "neuron_selection_mode"),
            )
        if mode not in self._modes:
            args, options = self._made_of
            self._modes[mode] = type(self)(*args, **options | {"neuron_selection_mode": mode})
            self._modes[mode]._keeper = self
        return self._modes[mode]

    def analyze_layers(
        self, X: Any, target: Any = None, *, neuron_selection: Any = None
    ) -> dict[str, Any]:
        """Computes the relevance at every layer's output.

        Args:
            X: As in `analyze`.
            target: As in `analyze`.
            neuron_selection: As in `analyze`.

        Returns:
            A dict from layer names to arrays of the shape of the layer's output (lists if it has
            several), in order from the inputs to the logits. Further calls of a shared layer are named
            "layer:1".

        Raises:
            InputError: As in `analyze`.
        """
        target = first_given(target, neuron_selection)
        if self._mode_of(target) != self._neuron_selection_mode:
            return self._with_mode(self._mode_of(target)).analyze_layers(X, target)
        with graph_scope(self._model):
            samples, index, _ = self._feed(X, target)
            names = zip(self._graph.input_names, self._graph.inputs, strict=True)
            slots = {name: [slot] for name, slot in names}
            slots |= {node.name: list(node.outputs) for node in self._graph.nodes}
            if not len(samples[0]):
                return {name: self._no_maps(parts) for name, parts in slots.items()}
            if self._layers_model is None:
                known = self._guard.network.slots.items()
                made = self._relevances
                tensors = {slot: made[i]["final_tensor"] for i, slot in known if i in made}
                outputs = [tensors[slot] for parts in slots.values() for slot in parts]
                inputs = self._analyzer_model.inputs
                self._layers_model = kmodels.Model(inputs, outputs, name="relevance_of_layers")
            found = self._computed(self._layers_model, samples, index)
            self._guard.refuse_broken(samples, found[: len(self._graph.inputs)])
            maps = iter(found)
        layers = {name: [next(maps) for _ in parts] for name, parts in slots.items()}
        return {name: parts[0] if len(parts) == 1 else parts for name, parts in layers.items()}

    def _no_maps(self, slots: Sequence[int]) -> Any:
        shapes = [[0, *(n or 0 for n in self._graph.shapes[slot][1:])] for slot in slots]
        maps = [np.zeros(shape, np.float32) for shape in shapes]
        return maps[0] if len(maps) == 1 else maps

    def _computed(
        self, model: Any, samples: list[np.ndarray], index: list[np.ndarray]
    ) -> list[np.ndarray]:
        with explaining_tokens(), self._guard.network.explaining_sizes(samples):
            found = model.predict_on_batch([*samples, *index])
        return found if isinstance(found, list) else [found]

    def _feed(self, X: Any, target: Any) -> tuple[list[np.ndarray], list[np.ndarray], Any]:
        """The samples, the index of the target if there is one, and a function that packs results."""
        if not self._analyzer_model_done:
            self.create_analyzer_model()
        arrays, pack = self._guard.read(X)
        refuse_outside(self._bounds, arrays)
        size = len(arrays[0])
        if isinstance(X, list | tuple) and len(arrays) == 1:
            pack = operator.itemgetter(0)  # as iNNvestigate does
        if not size:
            return arrays, [], pack
        if len(self._positions) == 1:
            target = as_column(target)
        count = max(size, np.size(target)) if self._is_wrapped else size
        wanted = read_target(target, count, self._positions, none=self._neuron_selection_mode)
        if wanted.kind in ("largest", "all"):
            return arrays, [], pack
        index = one_each(wanted)
        refuse_itself(self._contrast, wanted.index)
        return arrays, [self._get_neuron_selection_array(index, size)], pack

    # Saving.

    def _get_state(self) -> dict[str, Any]:
        with graph_scope(self._model):
            state = super()._get_state() | {"trainable": partly_frozen(self._model)}
        given = self._contrast
        contrast = list(given) if isinstance(given, tuple) else given
        return state | {"contrast": contrast, "check_finite": self._guard.check_finite}

    @classmethod
    def _state_to_kwargs(cls, state: dict[str, Any]) -> dict[str, Any]:
        state = dict(state)
        options = {"contrast": state.pop("contrast", None)}
        options["check_finite"] = state.pop("check_finite", True)  # older files do not have it
        trainable = state.pop("trainable", None)
        with new_graph() if tf.executing_eagerly() else contextlib.nullcontext():
            if trainable:
                state["model_weights"] = as_loaded(
                    state["model_json"], state["model_weights"], trainable
                )
            return super()._state_to_kwargs(state) | options

    def save_npz(self, fname: Any) -> None:
        """Saves the analyzer and its model to one file, without pickle.

        Args:
            fname: The path. ".npz" is added if it is missing, as in `numpy.savez`.

        Raises:
            InputError: The file cannot be written.
        """
        class_name, state = self.save()
        write_npz(Path(fname), class_name, state, self._array_states)

    @staticmethod
    def load_npz(fname: Any, safe_mode: bool = True) -> Any:
        """Loads an analyzer that `save_npz` wrote.

        Args:
            fname: The path of the file.
            safe_mode: Reject Lambda layers of Python code, as Keras does. Set it to False only if you
                trust the author of the file.

        Raises:
            InputError: The file was not written by `save_npz`.
        """
        class_name, state = read_npz(fname)
        with safe_loading(read_boolean("safe_mode", safe_mode)):
            return ReverseAnalyzerBase.load(class_name, state)
