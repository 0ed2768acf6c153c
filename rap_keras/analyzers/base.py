"""The base class of the analyzers of the native backend."""

import json
import math
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from rap_keras import tensors as ops
from rap_keras.analyzers.batching import Batches, side_by_side
from rap_keras.analyzers.binary import CLASSES, BinaryAnalyzer
from rap_keras.analyzers.copies import CopiedAnalyzer
from rap_keras.analyzers.explanation import Explanation
from rap_keras.analyzers.layerless import LayerlessAnalyzer
from rap_keras.analyzers.registry import name_of
from rap_keras.analyzers.streams import StreamAnalyzer
from rap_keras.analyzers.zero_maps import warn_of_zero_maps
from rap_keras.backends.keras3.network import Keras3Network, open_output
from rap_keras.backends.network import not_finite
from rap_keras.errors import InputError
from rap_keras.inputs.batches import is_stream
from rap_keras.inputs.regions import is_region
from rap_keras.inputs.samples import Pack
from rap_keras.inputs.target import (
    MODES,
    Target,
    TopK,
    all_neurons,
    classes,
    first_given,
    read_target,
)
from rap_keras.network.graph import Graph
from rap_keras.network.negation import less_reference
from rap_keras.propagate import logits_of, relevance_dtype
from rap_keras.support.files import replacing_together
from rap_keras.support.options import (
    as_json,
    choose,
    parameters_of,
    read_boolean,
    read_integer,
    read_number,
)
from rap_keras.support.text import shown

Maps = tuple[list[ops.Tensor], ops.Tensor]  # the relevance of each input, and the logits


class Analyzer(BinaryAnalyzer, CopiedAnalyzer, LayerlessAnalyzer, StreamAnalyzer):
    """Explains the decisions of a Keras 3 model. `rap_keras.create_analyzer` creates analyzers.

    Args:
        model: A Keras 3 model: functional, Sequential or subclassed; built, or called once. It is not
            changed. You do not need to remove a final softmax or sigmoid: the logits are explained. Or
            an opened model (`Keras3Network`, such as `LoadedModel.network`), which several analyzers
            can share.
        neuron_selection_mode: What target=None means, as in iNNvestigate. "max_activation": the class
            with the largest logit of each sample, for models whose output is a vector. "all": the sum
            of all outputs. "index": None is an error.
        output: Which output to explain if the model has several: the name of its layer, its key if the
            model returns a dict, or its number.
        batch_size: Number of samples that are computed at once. Results do not depend on it.
        check_finite: Raise an error if inputs or results contain NaN or infinity.
        jit_compile: Compile with XLA on TensorFlow (once per batch size, slower on a CPU: docs/cost.md)
            and with `torch.compile` on PyTorch. JAX always compiles. Results differ by rounding.
        reference_output: For a regression (one output without a sigmoid): the value that the output is
            compared with. It is subtracted from the bias of the last layer (Letzgus et al. 2022), so
            f(x) - reference is explained. Gradients do not depend on it.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.
        UnknownLayerError: A layer has no rule.
    """

    # What to use instead, for methods that show only evidence for a positive output; "" for others.
    _one_sided = ""
    _method_name = ""  # if the class serves several methods
    _shares_forward_pass = False  # whether k classes of a sample are computed together

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
        choose("neuron_selection_mode", neuron_selection_mode, MODES)
        self._network = open_output(model, output, self._kept_whole())
        self.model, self.output = self._network.model, self._network.output
        self.neuron_selection_mode = neuron_selection_mode
        self.batch_size = read_integer("batch_size", batch_size, 1)
        self.check_finite = read_boolean("check_finite", check_finite)
        self.jit_compile = read_boolean("jit_compile", jit_compile)
        self.reference_output = read_number("reference_output", reference_output, -math.inf)
        self._graph = less_reference(self._prepared(self._network.graph), self.reference_output)
        self._batches = Batches(self._network, self.batch_size, self.jit_compile)
        self._call = threading.local()

    def _kept_whole(self) -> Collection[type]:
        """Classes of layers that stay whole although they could be opened, because they have rules."""
        return ()

    def _prepared(self, graph: Graph) -> Graph:
        """The graph to explain, made from the model's graph, which other analyzers may share."""
        return graph

    @property
    def name(self) -> str:
        """The method's name, as `create_analyzer` takes it."""
        return self._method_name or name_of(type(self))

    def options(self) -> dict[str, Any]:
        """JSON-serialisable options that recreate this analyzer."""
        return {name: as_json(getattr(self, name)) for name in self.option_names()}

    def __repr__(self) -> str:
        options = ", ".join(f"{key}={shown(value)}" for key, value in self.options().items())
        return f"{type(self).__name__}({self.model.name!r}, {options})"

    def analyze(
        self,
        x: Any,
        target: Any = None,
        *,
        against: Any = None,
        concepts: Any = None,
        neuron_selection: Any = None,
    ) -> Any:
        """Computes the relevance of every input element.

        Args:
            x: Samples as the model takes them: an array or tensor of shape (batch, ...), or a list or
                dict of them for several inputs. Also any iterable of batches, with one target for all:
                a batched `tf.data.Dataset`, a PyTorch DataLoader, a `keras.utils.PyDataset` or a
                generator; of pairs, the first element is used.
            target: What to explain. None: the class with the largest logit of each sample (see
                `neuron_selection_mode`). A class for all samples, or an array with one per sample: as
                numbers, as names if the model has class names, or as one-hot rows of floats. An array
                `(batch, k)` of k classes per sample, or `rap_keras.TopK(k)`: k maps per sample. "all":
                the sum of all outputs. For outputs of any shape, a region: an index of one sample's
                output as in NumPy, such as `(y, x, class)`, `np.s_[10:20, 5:9, 3]` or `(mask, class)`;
                a list of such tuples, one per sample; or a boolean array of the output's shape, with or
                without the batch axis. Of one sigmoid, class 1 has the logit z and class 0 the logit -z.
            against: The classes that the target is compared with, instead of the option `contrast` and
                in the same form. Only for methods that propagate relevance.
            concepts: Only relevance that passes through these channels, neurons or heads: a dict from
                layer names to k numbers each. See `PropagationAnalyzer.concepts`.
            neuron_selection: iNNvestigate's name for `target`.

        Returns:
            The relevance of every element: an array of the shape of x, or `(batch, k, ...)` for k
            classes per sample or k concepts. A list or dict for several inputs. For an iterable, an
            iterator over the maps of each batch.

        Raises:
            InputError: x or the target does not fit the model, or x or the result is not finite.

        Example:
            >>> model = rap_keras.bundled.load("vgg")
            >>> x = np.ones((2, 64, 64, 3), "float32")
            >>> rap_keras.create_analyzer("rap", model).analyze(x, target=7).shape
            (2, 64, 64, 3)
        """
        if concepts is not None:
            return self._conditional(x, first_given(target, neuron_selection), against, concepts)
        explained = self.explain(x, target, against=against, neuron_selection=neuron_selection)
        if is_stream(x):
            return (batch.relevance for batch in explained)
        return explained.relevance

    def __call__(self, x: Any, target: Any = None, **options: Any) -> Any:
        """The same as `analyze`."""
        return self.analyze(x, target, **options)

    def explain(
        self, x: Any, target: Any = None, *, against: Any = None, neuron_selection: Any = None
    ) -> Any:
        """Computes the relevance, the logits and the explained classes, from one forward pass.

        The arguments are those of `analyze`.

        Returns:
            An `Explanation`, which can also be plotted and saved. For an iterable, an iterator over the
            explanations of each batch.

        Raises:
            InputError: As in `analyze`.

        Example:
            >>> model = rap_keras.bundled.load("vgg")
            >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(2).images)
            >>> explanation = rap_keras.create_analyzer("rap", model).explain(x, target=[7, 3])
            >>> explanation.relevance.shape, explanation.logits.shape, explanation.neurons.tolist()
            ((2, 64, 64, 3), (2, 10), [7, 3])
        """
        self._check_call(x)
        target = first_given(target, neuron_selection)
        if is_stream(x):
            return self._each(self._stream(x, target), target, against, self._first)
        arrays, pack = self._read(x)
        wanted = self._read_target(arrays, target, against)
        found = self._explained_classes(arrays, wanted)
        self._refuse_overflow(found["maps"], found["logits"])
        explanation = self._described(pack(found["maps"]), found, wanted)
        warn_of_zero_maps(found["maps"], explanation, self._one_sided)
        return explanation

    def _check_call(self, x: Any) -> None:
        """Warns about inputs that the method cannot explain, or refuses them."""

    def _described(self, relevance: Any, found: Mapping[str, Any], target: Target) -> Explanation:
        """Relevance, with the logits and the classes that it explains."""
        logits = found["logits"]
        if self.reference_output:
            logits = (logits + self.reference_output).astype(logits.dtype)
        return Explanation(
            relevance,
            logits,
            None if target.kind == "all" else found["neurons"],
            self.name,
            head=self._network.head,
            labels=self._network.labels,
            reference_output=self.reference_output,
            against=target.contrast,
        )

    def _read(self, x: Any) -> tuple[list[np.ndarray], Pack]:
        return self._network.read(x, self.check_finite)

    def _read_target(self, arrays: list[np.ndarray], target: Any, against: Any) -> Target:
        """Reads the target and the classes that it is compared with."""
        if against is not None:
            raise InputError(
                f"Expected no against for {self.name!r}, which has no contrast, got {shown(against)}: "
                'use a method that propagates relevance, such as "rap".',
                "against",
            )
        size, shape = len(arrays[0]), self._output_shape
        region = target is not None and is_region(target, shape)
        if region and None in shape and size:  # the output's size depends on the input's
            shape = self._network.logits([a[:1] for a in arrays]).shape[1:]
        if self._graph.is_binary and not region:
            shape = CLASSES
        if isinstance(target, TopK):
            return target.read(self._logits_of(arrays), shape)
        labels = self._network.labels
        return read_target(target, size, shape, labels, self.neuron_selection_mode)

    def _explained(self, arrays: list[np.ndarray], target: Target) -> dict[str, Any]:
        """The maps, logits and explained classes for checked arrays."""
        if not len(arrays[0]):
            return self._nothing(arrays, target)
        if target.kind == "classes" and not self._shares_forward_pass:
            each = [self._explained(arrays, classes(column)) for column in target.index.T]
            return side_by_side(each) | {"neurons": target.index}
        return self._explained_some(arrays, target)

    def _explained_some(self, arrays: list[np.ndarray], target: Target) -> dict[str, Any]:
        """Like `_explained`, but not empty; k classes only where they share a forward pass."""
        found = self._batches.run(self._explaining, arrays, target)
        return found | {"neurons": target.neurons(found["logits"])}

    def _logits_of(self, arrays: list[np.ndarray]) -> np.ndarray:
        """The logits, in the precision of relevance; the batch may be empty."""
        size = len(arrays[0])
        if size:
            return self._batches.run(self._logits, arrays, all_neurons(size))
        dtype = self._dtype(self._network.outputs[self._network.position].dtype)
        return np.zeros([0, *(n or 0 for n in self._output_shape)], dtype)

    def _nothing(self, arrays: list[np.ndarray], target: Target) -> dict[str, Any]:
        """The result for an empty batch."""
        maps = [np.zeros(a.shape, self._dtype(a.dtype)) for a in arrays]
        if target.kind == "classes":
            maps = [np.repeat(m[:, None], target.index.shape[1], 1) for m in maps]
        return {"maps": maps, "logits": self._logits_of(arrays), "neurons": target.index[:0]}

    @property
    def _output_shape(self) -> tuple[int | None, ...]:
        """The output shape of one sample."""
        return self._graph.shapes[self._graph.output][1:]

    def _dtype(self, dtype: Any) -> Any:
        return ops.numpy_dtype(relevance_dtype(dtype))

    def _refuse_overflow(self, maps: list[np.ndarray], logits: np.ndarray | None = None) -> None:
        # Rules may turn NaN into 0. A logit of -inf marks a class that is masked out.
        broken = logits is not None and bool(np.isnan(logits).any())
        if self.check_finite and (broken or not all(np.isfinite(m).all() for m in maps)):
            values = ((w.path, keras.ops.convert_to_numpy(w)) for w in self.model.weights)
            raise not_finite(values)

    def _explaining(self, inputs: list[ops.Tensor], target: Target) -> dict[str, Any]:
        maps, logits = self._maps(inputs, target)
        return {"logits": logits, "maps": maps}

    def _maps(self, inputs: list[ops.Tensor], target: Target) -> Maps:
        """Computes the maps; traced by the backend."""
        raise NotImplementedError

    def _logits(self, inputs: list[ops.Tensor], target: Target | None = None) -> ops.Tensor:
        logits = logits_of(self._graph, inputs)
        return ops.cast(logits, relevance_dtype(logits.dtype))

    @classmethod
    def option_names(cls, method: str = "") -> list[str]:
        """The names of the options; `method` selects one if a class serves several methods."""
        return [n for n in parameters_of(cls) if n not in ("model", "composite", "method")]

    def save(self, folder: str | Path) -> None:
        """Saves the model, the method's name and its options; `rap_keras.load_analyzer` loads them.

        Args:
            folder: Where `model.keras` and `analyzer.json` are written. It is created if it is missing.
                An analyzer that is already there is replaced only when the new one is complete.

        Raises:
            InputError: The folder cannot be written to; or the composite is your own, which JSON cannot
                store.
        """
        with replacing_together(Path(folder)) as staging:
            self._write(staging)

    def _write(self, folder: Path) -> None:
        """Writes the files of `save`."""
        ops.attach_weights(self.model)
        self.model.save(folder / "model.keras")
        text = json.dumps({"analyzer": self.name, "options": self.options()}, indent=2)
        (folder / "analyzer.json").write_text(text + "\n", encoding="utf-8")
