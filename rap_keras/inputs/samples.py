"""Checks and reads the samples that the user passes to an analyzer. They are never changed."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rap_keras import tensors as ops
from rap_keras.errors import InputError
from rap_keras.inputs.batches import is_stream
from rap_keras.inputs.regions import is_region
from rap_keras.inputs.tensors import readable
from rap_keras.network.graph import Graph
from rap_keras.network.layer_types import EMBEDDING, is_a
from rap_keras.support.text import first_line
from rap_keras.tensors.datasets import is_dataset, shapes

# Layers whose output has the values of the input in another form.
_RESHAPED = {
    *("Cast", "Identity", "Flatten", "Reshape", "ExpandDims", "Squeeze", "Permute", "Transpose")
}

Pack = Callable[[list[np.ndarray]], Any]


def read_inputs(
    specs: Sequence[Any], names: Sequence[str], x: Any, check_finite: bool = False
) -> tuple[list[np.ndarray], Pack]:
    """Reads the model's inputs as arrays of the right shapes and dtypes, in the model's order.

    Returned with a function that packs results in the same way as x (in a list for several inputs).
    `check_finite` rejects NaN and infinity, including values that overflow in the model's dtype.
    """
    names = list(names)
    if is_stream(x) and not hasattr(x, "__array__"):
        kind = "tf.data.Dataset" if is_dataset(x) else type(x).__name__
        raise InputError(
            f"Expected arrays, got a {kind}: only analyze and explain accept batches one after the "
            "other."
        )
    pack: Pack
    if isinstance(x, dict):
        if set(x) != set(names):
            raise InputError(f"Expected inputs named {names}, got {list(x)}.")
        values, pack = [x[name] for name in names], lambda maps: dict(zip(names, maps, strict=True))
    elif isinstance(x, list | tuple) and (
        len(specs) > 1 or (len(x) == 1 and hasattr(x[0], "shape"))
    ):  # for one input, Keras accepts [tensor]
        values, pack = list(x), list
    else:
        values, pack = [x], lambda maps: maps[0]
    if len(values) != len(specs):
        raise InputError(
            f"Expected {len(specs)} inputs, {names}, got {len(values)}: pass a list of that length."
        )
    arrays = [
        _read(v, s, name, check_finite) for v, s, name in zip(values, specs, names, strict=True)
    ]
    sizes = sorted({len(a) for a in arrays})
    if len(sizes) > 1:
        raise InputError(f"Expected inputs with the same number of samples, got {sizes}.")
    return arrays, pack


def in_order(option: str, given: Any, names: Sequence[str]) -> Any:
    """An option's values in the order of the inputs, if given by name; one value is in no list."""
    if not isinstance(given, dict):
        return given
    if set(given) != set(names):
        raise InputError(
            f"Expected {option} for inputs named {list(names)}, got {list(given)}.", option
        )
    values = [given[name] for name in names]
    return values if len(values) > 1 else values[0]


def refuse_single_samples(dataset: Any, specs: Sequence[Any]) -> None:
    """Raises an error if the elements of a `tf.data.Dataset` are samples instead of batches."""
    if not is_dataset(dataset):
        return
    found = shapes(dataset)
    if [len(shape) for shape in found] == [len(spec.shape) - 1 for spec in specs]:
        raise InputError(
            "Expected a tf.data.Dataset of batches, got one of single samples of shape "
            f"{', '.join(map(str, found))}: "
            "batch it, dataset.batch(32)."
        )


def refuse_targets_of_each(target: Any, shape: Sequence[int | None]) -> None:
    """Raises an error for a target per sample of a dataset: every batch would get the first ones."""
    if isinstance(target, str) or not hasattr(target, "__len__"):
        return
    array = np.empty(0) if isinstance(target, tuple) else np.asarray(target, object)
    each = array.ndim > 0
    if is_region(target, shape) and not (isinstance(target, list) and isinstance(target[0], tuple)):
        each = array.ndim > len(shape)
    if each and len(target) > 1:
        raise InputError(
            f"Expected one target for all samples of a data set, got {len(target)}: explain each "
            "batch in a separate call, with its targets.",
            "target",
        )


def refuse_missing_rows(numbers: np.ndarray, rows: int, from_end: bool, place: str) -> None:
    """Raises an error for indices beyond the rows of a table; negative ones may count from the end."""
    whole = np.trunc(numbers)
    unknown = whole[(whole < (-rows if from_end else 0)) | (whole >= rows)]
    if unknown.size:
        raise InputError(
            f"Expected tokens from 0 to {rows - 1} for {place} has {rows} rows, got {unknown[0]:g}: use "
            "the vocabulary of the model."
        )


def refuse_unknown_tokens(graph: Graph, arrays: Sequence[np.ndarray], from_end: bool) -> None:
    """Raises an error for tokens that an embedding of an input, in any form, does not have."""
    for node in graph.nodes:
        if not is_a(node.layer, EMBEDDING):
            continue
        slot = node.inputs[0]
        while slot in graph.producers and is_a(graph.producers[slot].layer, _RESHAPED):
            slot = graph.producers[slot].inputs[0]
        if slot not in graph.inputs:
            continue
        k = graph.inputs.index(slot)
        place = f"input {graph.input_names[k]!r}, as layer {node.name!r}"
        refuse_missing_rows(arrays[k], node.layer.input_dim, from_end, place)


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(
        want is None or want == got for want, got in zip(expected, shape, strict=True)
    )


def _read(value: Any, spec: Any, name: str, check_finite: bool) -> np.ndarray:
    refuse_masked(value, f"input {name!r}")
    try:
        array = np.asarray(readable(value))
    except (TypeError, ValueError, RuntimeError) as error:
        why = "whose parts have different shapes: pass samples of one shape"
        if hasattr(value, "shape"):  # a symbolic, traced, sparse or deleted tensor
            why = (
                f"that NumPy cannot read ({first_line(error)}): pass a dense array of values, outside "
                "of functions that are traced or compiled"
            )
        raise InputError(
            f"Expected an array for input {name!r}, got a {type(value).__name__} {why}."
        ) from None
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        hint = "read images and preprocess them" if array.dtype.kind == "U" else "convert them"
        raise InputError(
            f"Expected real numbers for input {name!r}, got dtype {array.dtype}: {hint}."
        )
    expected = tuple(spec.shape)
    if not _fits(array.shape[1:], expected[1:]) or array.ndim != len(expected):
        hint = ": preprocess the samples as for model.predict"
        if array.ndim == len(expected) - 1 and _fits(array.shape, expected[1:]):
            hint = ": a single sample needs a batch axis, x[np.newaxis]"
        raise InputError(
            f"Expected input {name!r} of shape {('batch', *expected[1:])}, got "
            f"{array.shape}{hint}.".replace("'batch'", "batch")
        )
    return as_dtype(array, spec.dtype, f"input {name!r}", check_finite)


def as_dtype(array: np.ndarray, dtype: Any, name: str, check_finite: bool = True) -> np.ndarray:
    """Converts an array to the model's dtype. Values may change only by rounding.

    `check_finite` rejects NaN and infinity, including values that overflow in this dtype.
    """
    dtype = ops.numpy_dtype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype, copy=False)
    if check_finite and not np.isfinite(array).all():
        count = int(array.size - np.isfinite(array).sum())
        raise InputError(
            f"Expected finite values for {name}, got {count} NaN or infinite ones: "
            "remove them, or set check_finite=False to accept them."
        )
    kind = np.dtype(dtype).name
    if check_finite and cast is not array and not np.isfinite(cast).all():
        value = array[~np.isfinite(cast)][0]
        raise InputError(
            f"Expected values for {name} that fit into the model's {kind}, got {value:g}, which "
            "overflows: scale them as the model expects."
        )
    if np.dtype(dtype).kind in "iub" and cast is not array:
        with np.errstate(over="ignore", invalid="ignore"):
            same = (cast.astype(array.dtype) == array) & ((cast < 0) == (array < 0))
        if not same.all():
            numbers = (
                "0 and 1, or booleans," if kind == "bool" else f"whole numbers that fit into {kind}"
            )
            value = array[~same][0]
            raise InputError(f"Expected {numbers} for {name}, got {value}: convert them first.")
    return cast


def refuse_masked(value: Any, name: str) -> None:
    """Raises an error for masked arrays, also in a list, because NumPy would drop the mask."""
    parts = value if isinstance(value, list | tuple) else [value]
    count = sum(int(np.ma.count_masked(p)) for p in parts if isinstance(p, np.ma.MaskedArray))
    if count:
        raise InputError(
            f"Expected an array without masked values for {name}, got {count} of them: fill them by "
            "x.filled(value), with the value that the model was trained with."
        )
