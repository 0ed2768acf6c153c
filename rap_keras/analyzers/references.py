"""The base class of methods that explain the difference between a sample and a reference."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rap_keras.analyzers.binary import chosen
from rap_keras.analyzers.differentiating import DifferentiatingAnalyzer
from rap_keras.analyzers.explanation import explained_sum
from rap_keras.backends.keras3.views import TokenVectors
from rap_keras.errors import InputError
from rap_keras.inputs.batches import is_stream
from rap_keras.inputs.samples import in_order, refuse_masked
from rap_keras.inputs.target import Target, first_given, refuse_several
from rap_keras.inputs.tensors import readable
from rap_keras.network.graph import Shape
from rap_keras.support.reading import opened
from rap_keras.support.text import shown
from rap_keras.support.warn import warn

# A warning is shown if a sum misses the difference of the logits by more than this share of them.
_MISSED = 0.1


def read_references(given: Any, shapes: Sequence[Shape]) -> list[np.ndarray]:
    """Reads references as float64 arrays `(samples, references, ...)` that broadcast to samples.

    The two axes in front may be missing.
    """
    several = isinstance(given, list | tuple) and len(shapes) > 1
    try:
        parts = given if several else [given] * len(shapes)
        given_arrays = [np.asarray(r) for r in parts]
        references = [a.astype(np.float64) for a in given_arrays if a.dtype.kind != "b"]
    except (TypeError, ValueError):
        references = []
    whole = [_with_two_axes(r, shape) for r, shape in zip(references, shapes, strict=False)]
    fits = len(references) == len(shapes) and all(r is not None for r in whole)
    found = [r for r in whole if r is not None]
    if not fits or not all(np.isfinite(r).all() for r in found):
        raise InputError(
            f"Expected finite reference_inputs that broadcast to samples of shape {shapes}, got "
            f"{shown(given)}{' with NaN or infinity' if fits else ''}."
        )
    for axis, what in enumerate(("samples", "references")):
        sizes = {r.shape[axis] for r in found} - {1}
        if len(sizes) > 1:
            raise InputError(
                f"Expected reference_inputs of the same number of {what} for all inputs, got "
                f"{' and '.join(map(str, sorted(sizes)))}.",
                "reference_inputs",
            )
    return found


def _with_two_axes(reference: np.ndarray, shape: Shape) -> np.ndarray | None:
    """A reference with the axes (samples, references) in front; None if it does not fit samples.

    The meaning of a single axis in front is unknown, so it is an error unless its size is 1.
    """
    further = max(reference.ndim - len(shape), 0)
    missing = max(len(shape) - reference.ndim, 0)
    inner = (*[1] * missing, *reference.shape[further:])
    # Samples of any size may have references of any size.
    known = [n or m for n, m in zip(shape, inner, strict=True)]
    try:
        fits = further < 3 and np.broadcast_shapes(inner, known) == tuple(known)
    except ValueError:
        fits = False
    if fits and further == 1 and len(reference) > 1:
        raise InputError(
            "Expected reference_inputs to broadcast to a sample, or to have two axes in front of it, "
            f"(samples, references), got one axis of {len(reference)} in front of a sample of shape "
            f"{shape}: pass reference_inputs[:, None] for one reference per sample, or "
            f"reference_inputs[None] for the mean over {len(reference)} references.",
            "reference_inputs",
        )
    if not fits:
        return None
    front = reference.shape[:2] if further == 2 else (1, 1)
    return reference.reshape(*front, *inner)


def read_background(given: Any, shapes: list[Shape]) -> list[np.ndarray]:
    """Reads the samples of each input, float64."""
    if len(shapes) == 1:
        return [_read_data(given, shapes[0])]
    if not isinstance(given, list | tuple) or len(given) != len(shapes):
        raise InputError(
            f"Expected background to be a list of samples for each of the {len(shapes)} inputs, got "
            f"{shown(given)}.",
            "background",
        )
    found = [_read_data(part, shape) for part, shape in zip(given, shapes, strict=True)]
    if len({len(array) for array in found}) > 1:
        raise InputError(
            "Expected background with the same number of samples for all inputs, got "
            f"{', '.join(str(len(array)) for array in found)}.",
            "background",
        )
    return found


def _read_data(given: Any, shape: Shape) -> np.ndarray:
    if isinstance(given, str | Path):
        try:
            with opened(given, "file of background samples") as file:
                given = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"Expected background to be samples or a .npy file of them, but {str(given)!r} cannot "
                f"be read ({error}).",
                "background",
            ) from error
    refuse_masked(given, "background")
    given = readable(given)
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    fits = array.ndim == len(shape) + 1 and len(array) and np.isfinite(array).all()
    if not fits or any(e not in (None, n) for e, n in zip(shape, array.shape[1:], strict=True)):
        broken = "" if np.isfinite(array).all() else " with NaN or infinity"
        what = "none" if given is None else f"an array of shape {array.shape}{broken}"
        raise InputError(
            f"Expected background to be finite samples of shape (n, {', '.join(map(str, shape))}), as "
            f"the model takes them, got {what}: pass some of the training data, or the "
            "path of a .npy file of them.",
            "background",
        )
    return array


class ReferenceAnalyzer(DifferentiatingAnalyzer):
    """An analyzer with the option `reference_inputs`, whose maps sum to a difference of logits.

    Tokens have reference tokens. Other inputs without a derivative are the same in the reference as in
    the sample.
    """

    _references: list[np.ndarray]

    def _use_references(self, given: Any) -> None:
        given = readable(in_order("reference_inputs", given, self._network.names))
        self.reference_inputs = given
        refuse_masked(given, "reference_inputs")
        self._references = self._read_samples("reference_inputs", given, read_references)
        if isinstance(self._network, TokenVectors):
            self._network.refuse_unknown([r.ravel() for r in self._references])

    def _check_call(self, x: Any) -> None:
        if is_stream(x):
            self._refuse_references_of(None)
        super()._check_call(x)

    def _refuse_references_of(self, count: int | None) -> None:
        """Raises an error if there are references of each sample, for another number of samples."""
        known = max(len(r) for r in self._references)
        if known not in (1, count):
            what = "batches of a data set" if count is None else f"{count} samples"
            raise InputError(
                f"Expected reference_inputs for {what}, got those of {known} samples: pass the samples "
                "that they belong to, in one call, or one reference for all.",
                "reference_inputs",
            )

    def _references_of(self, arrays: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
        """Yields the references of all samples, one array per input, which may be float64."""
        own = arrays[: len(self._references)]
        self._refuse_references_of(len(own[0]))
        for k in range(max(r.shape[1] for r in self._references)):
            parts = [r[:, k if r.shape[1] > 1 else 0] for r in self._references]
            try:
                whole = [np.broadcast_to(r, a.shape) for r, a in zip(parts, own, strict=True)]
            except ValueError:
                raise InputError(
                    "Expected reference_inputs that broadcast to samples of shape "
                    f"{[a.shape[1:] for a in own]}, got {[r.shape[1:] for r in parts]}.",
                    "reference_inputs",
                ) from None
            if isinstance(self._network, TokenVectors):
                tokens = [r.astype(a.dtype) for r, a in zip(whole, own, strict=True)]
                whole += self._network.with_vectors(tokens)[len(own) :]
            yield whole

    def _as_samples(
        self, references: list[np.ndarray], arrays: list[np.ndarray]
    ) -> list[np.ndarray]:
        """References in the dtypes of samples; inputs without a derivative stay unchanged."""
        cast = [r.astype(a.dtype) for r, a in zip(references, arrays, strict=True)]
        return self._varied(cast, arrays)

    def _logits_of_references(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The logits of each reference of all samples."""
        any_number = all(self._graph.shapes[slot][0] is None for slot in self._graph.inputs)
        shared = (
            any_number and all(self._differentiable) and all(len(r) == 1 for r in self._references)
        )
        some = [a[:1] for a in arrays] if shared else arrays  # all samples have the same reference
        found = []
        for references in self._references_of(some):
            logits = self._logits_of(self._as_samples(references, some))
            found.append(np.broadcast_to(logits, (len(arrays[0]), *logits.shape[1:])))
        return found

    def _warn_of_delta(self, delta: np.ndarray, size: np.ndarray, logits: np.ndarray) -> None:
        """Warns if sums, less the differences of the logits, are large compared with the logits' size.

        Where the size is NaN, the output at the reference is NaN, which is an error.
        """
        if self.check_finite and np.isnan(size).any() and not np.isnan(logits).any():
            raise InputError(
                "Expected reference_inputs at which the model has a value, got NaN: the model divides 0 "
                "by 0, for example to normalize a vector of zeros; use another reference, such as the "
                "mean of the data.",
                "reference_inputs",
            )
        if (abs(delta) > _MISSED * size).any():
            warn(
                f"The maps of {self.name!r} do not sum to the difference of the logits of sample and "
                f"reference: they differ from it by more than {_MISSED:.0%} of the logits. See "
                "convergence_delta(x), and try other reference_inputs or another method."
            )

    def _check_sums(self, arrays: list[np.ndarray], target: Target, found: dict[str, Any]) -> None:
        """Like `_warn_of_delta`, for methods that have not computed the logits of the reference."""
        if len(arrays[0]):
            self._warn_of_delta(*self._deltas(arrays, target, found), found["logits"])

    def _deltas(
        self, arrays: list[np.ndarray], target: Target, found: dict[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the maps minus the differences of the logits, and the size of the logits."""
        neurons = None if target.kind == "all" else found["neurons"]
        sums = sum(m.reshape(len(m), -1).sum(1, dtype=np.float64) for m in found["maps"])
        of_sample, largest = _explained(found["logits"], neurons)
        ends = [_explained(end, neurons) for end in self._logits_of_references(arrays)]
        of_reference, of_largest = (np.mean(part, 0) for part in zip(*ends, strict=True))
        size = np.maximum(largest + of_largest, abs(of_sample) + abs(of_reference))
        return sums - (of_sample - of_reference), size

    def convergence_delta(
        self, x: Any, target: Any = None, *, neuron_selection: Any = None
    ) -> np.ndarray:
        """How far the sum of each map is from the difference of the logits (completeness).

        The arguments are those of `analyze`, but with one class per sample.

        Returns:
            An array of shape (batch,): sum of the map - (logit of the sample - logit of the reference).

        Raises:
            InputError: As in `analyze`, or there is a contrast.
        """
        contrast = getattr(self, "contrast", None)  # DeepLIFT may have one
        if contrast is not None:
            raise InputError(
                "Expected no contrast, because the sum is compared with a logit, got "
                f"{shown(contrast)}: create the analyzer without contrast.",
                "contrast",
            )
        self._check_call(x)
        arrays, _ = self._read(x)
        wanted = self._read_target(arrays, first_given(target, neuron_selection), None)
        refuse_several(wanted)
        if not len(arrays[0]):
            return np.zeros(0)
        if wanted.kind == "class" and self._graph.is_binary:
            of_logit = wanted.at(np.zeros(len(arrays[0]), np.int32))
            each = {k: self._of_class(k)._delta(arrays, of_logit) for k in (0, 1)}
            return chosen(wanted.index, each)
        return self._delta(arrays, wanted)

    def _delta(self, arrays: list[np.ndarray], target: Target) -> np.ndarray:
        return self._deltas(arrays, target, self._explained(arrays, target))[0]


def _explained(logits: np.ndarray, neurons: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The explained logit of each sample, and its largest absolute one."""
    return explained_sum(logits, neurons), abs(logits.reshape(len(logits), -1)).max(1)
