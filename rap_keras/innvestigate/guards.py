"""Checks before and after an analysis, by the plugin's analyzers and iNNvestigate's own."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.keras.backend as kbackend
from innvestigate.analyzer.base import NotAnalyzeableModelException

from rap_keras.analyzers.zero_maps import are_zero
from rap_keras.backends.keras2.graphs import graph_scope
from rap_keras.backends.keras2.network import Keras2Network, OpaqueNetwork
from rap_keras.backends.network import explaining_tokens, not_finite
from rap_keras.errors import InputError
from rap_keras.inputs.samples import Pack
from rap_keras.inputs.target import Target, as_column, first_given, read_target
from rap_keras.network.layer_types import HEADS, activation_name
from rap_keras.support.options import read_boolean
from rap_keras.support.text import shown
from rap_keras.support.warn import warn


class Guard:
    """Raises errors for samples, models and maps that are meaningless.

    Args:
        network: The opened model.
        check_finite: Raise an error if samples or maps contain NaN or infinity.

    Raises:
        InputError: check_finite is not a boolean, or the model is stateful.
    """

    def __init__(self, network: Keras2Network, check_finite: Any) -> None:
        self.network = network
        self.check_finite = read_boolean("check_finite", check_finite)
        for layer in network.model._flatten_layers():
            if getattr(layer, "stateful", False) and hasattr(layer, "states"):
                raise InputError(
                    "Expected a model without memory of earlier samples, but layer "
                    f"{layer.name!r} remembers those of earlier calls: build it with stateful=False."
                )

    def read(self, X: Any) -> tuple[list[np.ndarray], Pack]:
        """The model's inputs as arrays, and a function that packs results like X.

        Raises:
            InputError: X does not fit the model, or the model does not compute each sample separately.
        """
        arrays, pack = self.network.read(X, self.check_finite)
        if len(arrays[0]):
            with self.network.explaining_sizes(arrays):
                self.network.check(arrays)
        return arrays, pack

    def refuse_outputs(self, head_too: bool) -> None:
        """Raises an error for outputs that iNNvestigate does not support.

        Args:
            head_too: Whether a softmax or sigmoid at the end is an error.

        Raises:
            InputError: Their size is unknown.
            NotAnalyzeableModelException: The model ends in a softmax or a sigmoid.
        """
        shape = self.network.graph.shapes[self.network.graph.output]
        if len(shape) != 2 or None in self.network.positions:
            raise InputError(
                "Expected a model with outputs of one known size, of shape (batch, neurons) or (batch, "
                f"height, width, classes), got {(None, *self.network.positions)}: build it for one size "
                "of its input, or use rap_keras.create_analyzer."
            )
        last = self.network.last
        head = activation_name(last.layer) if last else None
        if head in HEADS and head_too:
            assert last is not None
            raise NotAnalyzeableModelException(
                f"Expected a model whose output is the logits, but layer {last.name!r} ends it with "
                f"{head}: pass rap_keras.innvestigate.prepare(model, keep_head=False)."
            )

    def refuse_broken(self, arrays: Sequence[np.ndarray], maps: Sequence[np.ndarray]) -> None:
        """Raises an error for maps that are not finite, or are zero because the logits are NaN.

        Raises:
            InputError: There are such maps.
        """
        if not self.check_finite or not arrays or not len(arrays[0]):
            return
        if all(np.isfinite(m).all() for m in maps):
            # Rules, and the search for the largest logit, may turn NaN into 0.
            size = len(arrays[0])
            empty = np.logical_and.reduce([~m.reshape(size, -1).any(1) for m in maps])
            known = self.network.is_checked and not empty.any()
            if known or not np.isnan(self.network.logits(arrays)).any():
                return
        with graph_scope(self.network.model):
            weights = self.network.model.weights
            values = kbackend.batch_get_value(weights)
        raise not_finite((w.name, v) for w, v in zip(weights, values, strict=True))


@contextlib.contextmanager
def _explaining_integers(network: Keras2Network) -> Iterator[None]:
    """Explains that iNNvestigate cannot propagate to tokens; its own error only names a variable."""
    try:
        yield
    except TypeError as error:
        if "Propagated relevance" not in str(error):
            raise
        raise InputError(
            "Expected inputs that the method can propagate relevance to, but one of "
            f'{network.names} contains whole numbers, such as tokens: use "rap", or explain the '
            "model after its embedding."
        ) from error


def guarded(analyzer: Any, check_finite: bool) -> Any:
    """One of iNNvestigate's own analyzers; its `analyze` also makes our checks."""
    shape = tuple(analyzer._model.outputs[0].shape)
    if len(shape) < 2:
        raise InputError(
            f"Expected a model with outputs of shape (batch, neurons), got {shape}: end it with "
            "Reshape((1,)), or with the layer before."
        )
    guard = Guard(OpaqueNetwork(analyzer._model), check_finite)
    analyze = analyzer.analyze

    @functools.wraps(analyze)
    def checked(X: Any, target: Any = None, neuron_selection: Any = None, **options: Any) -> Any:
        arrays, _ = guard.read(X)
        target = first_given(target, neuron_selection)
        mode = analyzer._neuron_selection_mode
        everything = isinstance(target, str) and target == "all"
        _refuse_mode(target, everything, mode)
        if target is not None and not everything:
            options["neuron_selection"] = _read_target(
                target, len(arrays[0]), guard.network.positions
            )
        sizes = guard.network.explaining_sizes(arrays)
        with explaining_tokens(), sizes, _explaining_integers(guard.network):
            maps = analyze(arrays if len(arrays) > 1 else arrays[0], **options)
        guard.refuse_broken(arrays, [np.asarray(m) for m in tf.nest.flatten(maps)])
        return maps

    analyzer.analyze = checked
    return analyzer


def _refuse_mode(target: Any, everything: bool, mode: str) -> None:
    """Raises an error for a target of another mode, which iNNvestigate builds into its graph."""
    if mode == "index" and target is None:
        raise InputError(
            'Expected a target where neuron_selection_mode is "index", got none: pass a class, or one '
            "per sample.",
            "target",
        )
    wanted = "all" if everything else "index"
    if target is not None and wanted != mode:
        raise InputError(
            f"Expected a target that neuron_selection_mode={mode!r} takes, got {shown(target)}: create "
            f"the analyzer, which is one of iNNvestigate's, with neuron_selection_mode={wanted!r}.",
            ("target", "neuron_selection_mode"),
        )


def _read_target(target: Any, size: int, positions: Sequence[int | None]) -> Any:
    """The class of each sample, as iNNvestigate's wrappers take it, if the output is a vector."""
    if len(positions) > 1:
        return target
    return one_each(read_target(as_column(target), size, positions))


def one_each(target: Target) -> np.ndarray:
    """The index of the single neuron of each sample, in the flattened output.

    Raises:
        InputError: There are several neurons.
    """
    if target.kind == "class":
        return target.index
    flat = target.index.reshape(len(target.index), -1)
    if target.kind == "region" and (flat.sum(1) == 1).all():
        return flat.argmax(1)
    several = f"a region of {flat.sum(1).max()}"
    if target.kind == "classes":
        several = f"{flat.shape[1]} classes of each"
    raise InputError(
        f"Expected target to select one neuron of each sample, got {several}: iNNvestigate starts from "
        "one neuron; use rap_keras.create_analyzer for more.",
        "target",
    )


def warn_of_zero_maps(name: str, maps: Sequence[np.ndarray]) -> None:
    """Warns about samples whose maps are zero at every input."""
    count = int(are_zero(maps, maps[0].shape[:1]).sum())
    if count:
        warn(
            f"The map of {name} is zero everywhere for {count} of {len(maps[0])} samples: it finds "
            "no evidence for the class. For class 0 of a model with one sigmoid, analyze "
            "rap_keras.innvestigate.prepare(model, keep_head=False, negated=True).",
        )


def read_range(values: Any) -> Any:
    """The values to clip to: False or a tuple.

    Raises:
        InputError: They are neither False nor two numbers.
    """
    if values is False:
        return False
    try:
        low, high = (float(v) for v in values)
    except (TypeError, ValueError):
        raise InputError(
            f"Expected reverse_clip_values to be False or (low, high), got {shown(values)}."
        ) from None
    return low, high
