"""The analyzers of the native backend."""

import contextlib
import inspect
import json
import math
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rap_keras.analyzers.binary import BinaryAnalyzer
from rap_keras.analyzers.conservation import ConservationReport
from rap_keras.analyzers.explanation import Explanation
from rap_keras.analyzers.registry import name_of
from rap_keras.analyzers.zero_maps import warn_of_zero_maps
from rap_keras.backends.keras3.network import Keras3Network, open_output
from rap_keras.backends.network import Run
from rap_keras.composites.composite import RuleTable
from rap_keras.errors import InputError
from rap_keras.inputs.batches import as_batches
from rap_keras.inputs.neurons import (
    MODES,
    TOP_K,
    are_several,
    index_of_one,
    is_region,
    read_selection,
)
from rap_keras.inputs.samples import Pack, refuse_single_samples
from rap_keras.network.graph import Graph
from rap_keras.network.turning import less_reference
from rap_keras.propagate import explained_neurons, forward, relevance_dtype
from rap_keras.support.files import replacing_together
from rap_keras.support.options import choose, read_boolean, read_integer, read_number
from rap_keras.support.text import shown


class Analyzer(BinaryAnalyzer):
    """Explains the decisions of a Keras 3 model. The model is never changed.

    Args:
        model: A Keras 3 model: functional, Sequential, or subclassed; built, or called once. A softmax
            or sigmoid at its end is left out: its logits are explained. Or a model that is open already
            (`Keras3Network`, as `LoadedModel.network`), which several analyzers share: it is traced and
            checked once.
        neuron_selection_mode: "max_activation": the neuron with the largest logit of each sample, where
            the output is a vector. "index": the neuron or the region passed to `analyze`; for one output
            with a sigmoid the class, 1 for its logit z and 0 for -z. "all": every output neuron at
            once, or of a region. "top_k": the neurons with the largest logits of each sample, a map of
            each.
        output: Which output of a model with several is explained: the name of its layer, its key where
            the model returns a dict, or its number.
        batch_size: Samples that are computed at a time. Results do not depend on it.
        reference_output: The value that a regression, one output without a sigmoid, is compared with.
            It is subtracted from the bias of the last layer (Letzgus et al. 2022), so that f(x) -
            reference is explained. Gradients do not depend on it.
        check_finite: Refuse inputs and results with NaN or infinity. False lets them through.
        jit_compile: Compile what is computed by XLA, for each size of a batch. On a CPU it is slower
            than TensorFlow's own kernels (docs/cost.md); results differ by rounding, but those of
            `random`, whose noise is another.

    Raises:
        InputError: The model cannot be explained, or an option is wrong.
        UnknownLayerError: A layer has no rule.
    """

    def __init__(
        self,
        model: keras.Model | Keras3Network,
        neuron_selection_mode: str = "max_activation",
        output: str | int | None = None,
        batch_size: int = 32,
        check_finite: bool = True,
        jit_compile: bool = False,
        reference_output: float = 0.0,
    ) -> None:
        choose("neuron_selection_mode", neuron_selection_mode, (*MODES, TOP_K))
        self._network = open_output(model, output, self._kept_whole())
        self.model = self._network.model
        self.neuron_selection_mode = neuron_selection_mode
        self.batch_size = read_integer("batch_size", batch_size, 1)
        self.check_finite = read_boolean("check_finite", check_finite)
        self.jit_compile = read_boolean("jit_compile", jit_compile)
        self.reference_output = read_number("reference_output", reference_output, -math.inf)
        self._graph = less_reference(self._prepared(self._network.graph), self.reference_output)
        shape = self._graph.shapes[self._graph.output]
        if neuron_selection_mode in ("max_activation", TOP_K) and len(shape) > 2:
            raise InputError(
                "Expected a model with outputs of shape (batch, neurons) to explain the neuron with the "
                f'largest logit, got {shape}: use neuron_selection_mode="all", or "index" and tell '
                f"analyze the region, neuron_selection={index_of_one(shape[1:])} or a boolean array.",
                ("neuron_selection_mode", "neuron_selection"),
            )
        self._functions: dict[tuple[str, bool, bool], Run] = {}
        self._first = 0

    def _kept_whole(self) -> Collection[type]:
        """Classes of layers that stay whole where they could be opened, for they have rules."""
        return ()

    def _prepared(self, graph: Graph) -> Graph:
        """The graph that is explained, made of the model's, which others may share."""
        return graph

    @property
    def name(self) -> str:
        """The method's name, as `create_analyzer` takes it."""
        return name_of(type(self))

    def options(self) -> dict[str, Any]:
        """The options that make this analyzer again, as JSON knows them."""
        return {
            "neuron_selection_mode": self.neuron_selection_mode,
            "output": self._network.output,
            "batch_size": self.batch_size,
            "check_finite": self.check_finite,
            "jit_compile": self.jit_compile,
            "reference_output": self.reference_output,
        }

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={shown(value)}" for key, value in self.options().items())
        return f"{type(self).__name__}({self.model.name!r}, {options})"

    def analyze(self, x: Any, neuron_selection: Any = None) -> Any:
        """Explains samples.

        Args:
            x: Array or tensor of shape (batch, ...), as the model takes it; a list or dict of them for
                several inputs; or a batched `tf.data.Dataset` of them (of pairs, the first counts).
            neuron_selection: In mode "index": the output neuron, an integer for all samples or one
                per sample; or k per sample, of shape (batch, k), which share a forward pass. For one
                output with a sigmoid, class 0 or 1: class 0 is explained by the negated logit, as if
                the last layer had its kernel and bias negated. In mode
                "top_k": how many neurons, 5 if nothing is said. In modes "index" and "all", for outputs
                of any shape, a region: what indexes the output of one sample as NumPy does,
                `(y, x, class)`, `np.s_[10:20, 5:9, 3]` or `(mask, class)`, or a list of such tuples,
                one per sample; or a boolean array of the output's shape, with or without the batch
                axis. Relevance then starts at the logits of the region.

        Returns:
            np.ndarray of the shape of x: the relevance (or attribution) of every element; of k neurons
            per sample of shape (batch, k, ...). A list or dict for several inputs; for a dataset an
            iterator over the maps of each batch.

        Raises:
            InputError: x or the neuron does not fit the model; x or the result is not finite.
        """
        explained = self.explain(x, neuron_selection)
        if isinstance(x, tf.data.Dataset):
            return (batch.relevance for batch in explained)
        return explained.relevance

    def __call__(self, x: Any, neuron_selection: Any = None) -> Any:
        """As `analyze`."""
        return self.analyze(x, neuron_selection)

    def explain(self, x: Any, neuron_selection: Any = None) -> Any:
        """Explains samples, and tells the logits and the neurons that are explained.

        Args:
            x: As in `analyze`.
            neuron_selection: As in `analyze`.

        Returns:
            `Explanation(relevance, logits, neurons, method)`, from one forward pass: the arrays of
            `analyze`, the logits `(batch, classes)` (for other outputs, in their shape), and the neuron
            of each sample, `(batch,)` or `(batch, k)`, or its region, a boolean array of the shape of
            the logits; None in mode "all" without a region. For one output with a sigmoid the neuron is
            the class, 0 or 1. For a dataset an iterator over the explanations of each batch.

        Raises:
            InputError: As in `analyze`.
        """
        if isinstance(x, tf.data.Dataset):
            refuse_single_samples(x, self._network.inputs)
            return self._explain_dataset(x, neuron_selection)
        arrays, pack = self._read(x)
        if self.neuron_selection_mode == TOP_K:
            neuron_selection = self._largest(arrays, neuron_selection)
        if self._explains_classes(neuron_selection):
            found = self._explained_classes(arrays, neuron_selection)
        else:
            explained = self._explained_each if are_several(neuron_selection) else self._explained
            found = explained(arrays, neuron_selection)
            if self._graph.is_binary and found["neurons"].dtype != bool:
                found["neurons"] = np.ones_like(found["neurons"])  # the class of the logit
        self._refuse_overflow(found["maps"], found["logits"])
        neurons = None if self._explains_all(neuron_selection) else found["neurons"]
        logits = found["logits"]
        if self.reference_output:
            logits = (logits + self.reference_output).astype(logits.dtype)
        told = Explanation(
            pack(found["maps"]),
            logits,
            neurons,
            self.name,
            head=self._network.head,
            reference_output=self.reference_output,
        )
        warn_of_zero_maps(found["maps"], told, self._one_sided())
        return told

    @contextlib.contextmanager
    def counting_from(self, position: int) -> Iterator[None]:
        """Within it, the samples of a call get the noise of samples position, position + 1, ...

        So samples that are explained part by part are explained as in one call.
        """
        before, self._first = self._first, position
        try:
            yield
        finally:
            self._first = before

    def rules(self) -> RuleTable:
        """The rule of every layer, of methods that propagate by rules; see `PropagationAnalyzer`."""
        raise self._no_layers()

    def analyze_layers(self, x: Any, neuron_selection: Any = None) -> dict[str, Any]:
        """Relevance layer by layer, of methods that have it; see `PropagationAnalyzer`."""
        raise self._no_layers()

    def conservation(self, x: Any, neuron_selection: Any = None) -> ConservationReport:
        """Sums of relevance layer by layer, of methods that have it; see `PropagationAnalyzer`."""
        raise self._no_layers()

    def _no_layers(self) -> InputError:
        return InputError(
            f"The method {self.name!r} has no relevance of layers: use one that propagates relevance, "
            'such as "rap".'
        )

    def _one_sided(self) -> str:
        """What to use instead of a method that shows only what speaks for a positive output.

        Empty for other methods.
        """
        return ""

    def _read(self, x: Any) -> tuple[list[np.ndarray], Pack]:
        return self._network.read(x, self.check_finite)

    def _explain_dataset(
        self, dataset: tf.data.Dataset, neuron_selection: Any
    ) -> Iterator[Explanation]:
        for element in dataset:
            x = element[0] if isinstance(element, tuple) else element
            yield self.explain(x, neuron_selection)

    def _explained(self, arrays: list[np.ndarray], selection: Any) -> dict[str, Any]:
        """The maps of arrays as the model takes them, unchecked; their logits and neurons."""
        found = self._batched("maps", self._explaining, arrays, selection)
        return self._nothing(arrays, selection) if found is None else found

    def _largest(self, arrays: list[np.ndarray], count: Any) -> np.ndarray:
        """The neurons with the largest logits of each sample, `(batch, count)`, the largest first."""
        count = read_integer("neuron_selection", 5 if count is None else count, 1)
        size = len(arrays[0])
        found = self._batched("logits", self._selecting, arrays, np.zeros(size, np.int32))
        logits = self._nothing(arrays, None)["logits"] if found is None else found["logits"]
        order = np.argsort(-logits.reshape(size, int(np.prod(logits.shape[1:]))), 1, kind="stable")
        return order[:, :count].astype(np.int32)

    def _explained_each(self, arrays: list[np.ndarray], columns: Any) -> dict[str, Any]:
        """As `_explained`, of k neurons of each sample, `(batch, k)`."""
        columns = read_selection(
            columns, self.neuron_selection_mode, len(arrays[0]), self._output_shape
        )
        return _side_by_side([self._explained(arrays, column) for column in columns.T], columns)

    def _nothing(self, arrays: list[np.ndarray], selection: Any) -> dict[str, Any]:
        """What is explained of no samples."""
        shape = [0, *(n or 0 for n in self._output_shape)]
        return {
            "maps": [np.zeros(a.shape, self._dtype(a.dtype)) for a in arrays],
            "logits": np.zeros(
                shape, self._dtype(self._network.outputs[self._network.position].dtype)
            ),
            "neurons": np.zeros(shape, bool) if is_region(selection) else np.zeros(0, np.int32),
        }

    @property
    def _output_shape(self) -> tuple[int | None, ...]:
        """Of one sample."""
        return self._graph.shapes[self._graph.output][1:]

    def _explains_all(self, selection: Any) -> bool:
        return self.neuron_selection_mode == "all" and selection is None

    def _dtype(self, dtype: Any) -> Any:
        return relevance_dtype(dtype).as_numpy_dtype

    def _refuse_overflow(self, maps: list[np.ndarray], logits: np.ndarray | None = None) -> None:
        # Rules may cut NaN to 0. A logit of -inf is a class that is masked out.
        broken = logits is not None and bool(np.isnan(logits).any())
        if self.check_finite and (broken or not all(np.isfinite(m).all() for m in maps)):
            self._refuse_broken_weights()
            raise InputError(
                "Expected finite relevance, got NaN or infinity from finite inputs: the model's own "
                "values overflow, or its slope is infinite there, as of a square root at 0; scale the "
                "input as the model expects it, or set check_finite=False."
            )

    def _refuse_broken_weights(self) -> None:
        for weight in self.model.weights:
            if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
                layer = weight.path.rpartition("/")[0]
                raise InputError(
                    f"Expected a model with finite weights, but those of layer {layer!r} hold NaN or "
                    "infinity: train the model again, or load earlier weights."
                )

    def _batched(
        self, key: str, function: Callable[..., Any], arrays: list[np.ndarray], selection: Any
    ) -> Any:
        """The function's results over all batches, joined along the first axis; None for no samples."""
        size = len(arrays[0])
        index = self._read_selection(arrays, selection)
        if size == 0:
            return None
        # An index for neurons, so that no array of the output's size is made for them.
        region = index.dtype == bool
        several = not region and index.ndim == 2
        kind = (key, region, several)
        if kind not in self._functions:
            shape = self._output_shape if region else ()
            spec = tf.TensorSpec([None, *shape], bool if region else tf.int32)
            self._functions[kind] = self._compiled(function, spec, several)
        run = self._functions[kind]
        try:
            parts = [
                run([a[chunk] for a in arrays], index[chunk] if len(index) == size else index)
                for chunk in as_batches(size, self.batch_size)
            ]
        except tf.errors.InvalidArgumentError as error:
            unknown = sorted(set(re.findall(r"(\w+) \(No registered .* for XLA", str(error))))
            if not self.jit_compile or not unknown:
                raise
            raise InputError(
                "Expected a model whose operations XLA compiles, but it knows none of type "
                f"{', '.join(unknown)}: leave jit_compile=False."
            ) from None
        if len(parts) == 1:
            return parts[0]
        return tf.nest.map_structure(lambda *p: np.concatenate(p), *parts)

    def _compiled(self, function: Callable[..., Any], spec: tf.TensorSpec, several: bool) -> Run:
        """The function, compiled; of several neurons of each sample `(batch, k)` for one at a time."""
        if not several:
            if self.jit_compile:
                function = tf.function(function, autograph=False, jit_compile=True)
            return self._network.compiled(function, spec)
        run = self._network.compiled_by_column(function, spec, self.jit_compile)
        return lambda arrays, columns: _side_by_side(run(arrays, columns), columns)

    def _read_selection(self, arrays: list[np.ndarray], selection: Any) -> np.ndarray:
        """What `read_selection` makes of a selection, for outputs of any size."""
        size = len(arrays[0])
        shape = self._output_shape
        if None in shape and size and is_region(selection):
            # The output is as large as the input lets it be.
            shape = self._network.logits([a[:1] for a in arrays]).shape[1:]
        return read_selection(selection, self.neuron_selection_mode, size, shape)

    # What is compiled.

    def _explaining(self, inputs: list[tf.Tensor], index: tf.Tensor) -> dict[str, Any]:
        maps, logits = self._maps(inputs, index)
        return self._told(logits, index) | {"maps": maps}

    def _selecting(self, inputs: list[tf.Tensor], index: tf.Tensor) -> dict[str, Any]:
        """Without maps."""
        return self._told(self._logits(inputs), index)

    def _told(self, logits: tf.Tensor, index: tf.Tensor) -> dict[str, Any]:
        neurons = explained_neurons(logits, self.neuron_selection_mode, index)
        return {"logits": logits, "neurons": neurons}

    def _maps(self, inputs: list[tf.Tensor], index: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The relevance of each input, and the logits."""
        raise NotImplementedError

    def _logits(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        logits, _ = forward(self._graph, inputs)
        return tf.cast(logits, relevance_dtype(logits.dtype))

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
        """Writes the model and the analyzer's name and options to a folder, whole or not at all.

        Args:
            folder: Gets `model.keras` and `analyzer.json`. It is made where it is missing; an analyzer
                that it holds is replaced when the new one is complete, and only then.

        Raises:
            InputError: The folder cannot be written to.
        """
        with replacing_together(Path(folder)) as staging:
            self._write(staging)

    def _write(self, folder: Path) -> None:
        """Writes the files of `save`."""
        self.model.save(folder / "model.keras")
        text = json.dumps({"analyzer": self.name, "options": self.options()}, indent=2)
        (folder / "analyzer.json").write_text(text + "\n", encoding="utf-8")


def _side_by_side(found: list[dict[str, Any]], columns: np.ndarray) -> dict[str, Any]:
    """What is explained of k neurons of each sample, of what is of each of them."""
    parts = [{key: each[key] for key in each if key != "logits"} for each in found]
    stacked = tf.nest.map_structure(lambda *p: np.stack(p, 1), *parts)
    return found[0] | stacked | {"neurons": columns}
