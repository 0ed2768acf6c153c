"""Estimates the patterns of PatternNet and PatternAttribution from data.

A kernel layer computes y = w^T x of a patch x of its input. Its pattern a, of the kernel's shape,
describes how the signal in x changes when y changes (Kindermans et al., "Learning how to explain neural
networks: PatternNet and PatternAttribution", ICLR 2018, arXiv 1705.05598). Over all samples and
positions:

    linear          a = (E[x y] - E[x] E[y]) / (E[y^2] - E[y]^2)
    relu.positive   a = (E+[x y] - E+[x] E[y]) / (E+[y^2] - E+[y] E[y])
    relu.negative   the same with E-

E+ is the mean over the cases in which the neuron is active (y plus bias > 0, after BatchNormalization),
E- over the others, and E over both. The denominators are w^T times the numerators, so w^T a = 1.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from rap_keras.backends.choice import open_network
from rap_keras.backends.network import Run
from rap_keras.errors import InputError
from rap_keras.inputs.batches import batches, image_batches, joined
from rap_keras.patterns.cases import CASES, CASES_OF, PATTERN_TYPES
from rap_keras.patterns.patterns import Patterns, check_shapes, dtype_of, kernel_shapes
from rap_keras.patterns.sums import Sums, batch_sums
from rap_keras.support.files import write_arrays
from rap_keras.support.images import collect_images
from rap_keras.support.options import choose
from rap_keras.support.progress import track
from rap_keras.support.reading import read_headed

_DTYPES = ("float32", "float64")


class Statistics:
    """Sums over samples that patterns are computed from, in float64.

    They can be updated batch by batch, saved, loaded and resumed, and merged over shards of the data.

    Args:
        model: A Keras 3 model, built, or a Keras 2 model as iNNvestigate takes it; or an opened model
            (`LoadedModel.network`).
        pattern_type: The type of pattern to compute; None: all types. "relu" takes half of the time and
            memory.

    Attributes:
        samples: The number of samples so far.

    Raises:
        InputError: The pattern type is unknown, or the model cannot be traced or has no kernel layer.

    Example:
        >>> statistics = rap_keras.patterns.Statistics(rap_keras.bundled.load("vgg"), "relu")
        >>> for batch in np.random.default_rng(0).random((2, 4, 64, 64, 3)):
        ...     statistics.update(batch)
        >>> statistics.samples, statistics.patterns().pattern_type
        (8, 'relu')
    """

    def __init__(self, model: Any, pattern_type: str | None = None) -> None:
        if pattern_type is not None:
            choose("pattern_type", pattern_type, PATTERN_TYPES)
        self.samples = 0
        self._cases = CASES_OF[pattern_type or "linear"]
        self._dtype = "float32"
        self._sums: Sums = {}
        self._network = None if model is None else open_network(model)
        self._run: Run | None = None
        if self._network is not None:
            kernel_shapes(self._network.graph)  # raises an error if there are no patterns

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_run": None}  # a copy compiles its own

    def update(self, x: Any) -> None:
        """Adds the sums over one batch, which is computed at once.

        Args:
            x: Samples as the model takes them, (batch, ...); a list or dict for several inputs.

        Raises:
            InputError: x does not fit the model or is not finite, or the model's values overflow.
        """
        network = self._network
        if network is None:
            raise InputError(
                "Expected statistics with a model to update, got some that were loaded without one: "
                "pass it, Statistics.load(path, model)."
            )
        arrays, _ = network.read(x)
        if not len(arrays[0]):
            return
        if self._run is None:
            self._run = network.compiled(lambda x: batch_sums(network.graph, x, self._cases))
        sums = self._run(arrays)
        if not all(np.isfinite(a).all() for one in sums.values() for a in one.values()):
            raise InputError(
                "Expected finite statistics, got NaN or infinity from finite data: the model's own "
                "values overflow; scale the data as the model expects it."
            )
        self._dtype = dtype_of(network.graph)
        self._add(sums, len(arrays[0]))

    def feed(
        self,
        data: Any,
        batch_size: int = 32,
        progress: bool = True,
        preprocess: Callable[[Any], Any] | None = None,
    ) -> None:
        """Adds the sums over data, batch by batch. Only one batch is in memory at a time.

        Args:
            data: As in `fit`.
            batch_size: As in `fit`.
            progress: As in `fit`.
            preprocess: As in `fit`.

        Raises:
            InputError: As in `fit`.
        """
        if isinstance(data, str | Path):
            parts, total = self._images(data, batch_size, preprocess)
        elif preprocess is not None:
            raise InputError(
                "Expected the path of a folder of images with preprocess, got "
                f"{type(data).__name__}: preprocess the data first."
            )
        else:
            parts, total = batches(self._one_array(data), batch_size)
        before = self.samples
        for batch in track(parts, "statistics", total, progress):
            self.update(batch)
        if self.samples == before:
            raise InputError("Expected data to estimate patterns from, got no samples.")

    def _one_array(self, data: Any) -> Any:
        several = self._network is None or len(self._network.inputs) > 1
        return data if several else joined(data)

    def _images(
        self, source: str | Path, batch_size: int, preprocess: Callable[[Any], Any] | None
    ) -> tuple[Iterator[Any], int | None]:
        """The images of a folder as batches, resized to the size that the model takes."""
        paths = collect_images([source])
        if not callable(preprocess):
            raise InputError(
                f"Expected preprocess with the images of {str(source)!r}, got {preprocess!r}: pass the "
                "function that turns uint8 RGB images into the model's input."
            )
        size = None
        if self._network is not None:  # otherwise `update` raises the error
            shapes = [self._network.graph.shapes[slot] for slot in self._network.graph.inputs]
            if len(shapes) != 1 or len(shapes[0]) != 4:
                raise InputError(
                    f"Expected a model with one input of images to read {str(source)!r}, got "
                    f"inputs of shape {', '.join(map(str, shapes))}: pass arrays."
                )
            _, *sides = shapes[0]
            channels_first = sides[0] in (1, 3) and sides[2] not in (1, 3)
            height, width = sides[1:] if channels_first else sides[:2]
            size = (height, width) if height and width else None
        return image_batches(paths, preprocess, batch_size, size)

    def _add(self, sums: Sums, samples: int) -> None:
        for name, one in sums.items():
            mine = self._sums.setdefault(name, {})
            for key, value in one.items():
                if key in mine:
                    mine[key] += value
                else:
                    mine[key] = np.array(value, np.float64)
        self.samples += samples

    def merge(self, other: "Statistics") -> None:
        """Adds the statistics of other data for the same model.

        Args:
            other: The other statistics. They are not changed.

        Raises:
            InputError: They belong to another model or another pattern type.
        """
        if self._cases != other._cases:
            raise InputError(
                "Expected statistics for the same pattern types, got sums over "
                f"{' and '.join(self._cases)} cases and over {' and '.join(other._cases)} ones: gather "
                "both with the same pattern_type."
            )
        if self._sums and other._sums:
            check_shapes("statistics", other.shapes(), self.shapes())
        self._dtype = max(self._dtype, other._dtype)
        self._add(other._sums, other.samples)

    def __add__(self, other: "Statistics") -> "Statistics":
        result = Statistics(None)
        result._cases, result._network = self._cases, self._network
        result.merge(self)
        result.merge(other)
        return result

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of the pattern of each layer, by name."""
        return {name: one[f"x.{self._cases[0]}"].shape for name, one in self._sums.items()}

    def patterns(self, pattern_type: str = "relu") -> Patterns:
        """The patterns computed from the statistics.

        Args:
            pattern_type: One of `PATTERN_TYPES`; "relu" is "relu.positive".

        Returns:
            The patterns. That of a neuron is 0 if none of the type's cases occurred, or if its value
            does not vary.

        Raises:
            InputError: The type is unknown or not covered by the statistics, or there are no samples.
        """
        choose("pattern_type", pattern_type, PATTERN_TYPES)
        cases = CASES_OF[pattern_type]
        if not set(cases) <= set(self._cases):
            raise InputError(
                f"Expected statistics for pattern_type={pattern_type!r}, got sums over {self._cases[0]} "
                "cases only: gather them with pattern_type=None."
            )
        if not self.samples:
            raise InputError(
                "Expected statistics of at least one sample, got none: update them first."
            )
        arrays = {
            name: _pattern(one, cases).astype(self._dtype) for name, one in self._sums.items()
        }
        return Patterns(arrays, pattern_type)

    def save(self, path: str | Path) -> None:
        """Saves the statistics to a `.npz` file, without pickle.

        Args:
            path: The file. Its folder is created if it is missing.

        Raises:
            InputError: It cannot be written.
        """
        header = {
            "kind": "statistics",
            "samples": self.samples,
            "cases": list(self._cases),
            "dtype": self._dtype,
        }
        sums = self._sums.items()
        arrays = {f"{key}/{name}": array for name, one in sums for key, array in one.items()}
        write_arrays(Path(path), header, arrays)

    @classmethod
    def load(cls, path: str | Path, model: Any = None) -> Self:
        """Loads statistics that `save` wrote.

        Args:
            path: The file.
            model: The model, to add more data.

        Returns:
            The statistics.

        Raises:
            InputError: The file was not written by `save`, or belongs to another model.
        """
        expected = {"samples": int, "cases": list, "dtype": str}
        header, arrays = read_headed(Path(path), "statistics", expected)
        result = cls(model)
        result.samples, result._cases = header["samples"], tuple(header["cases"])
        result._dtype = header["dtype"]
        for key, array in arrays.items():
            field, _, name = key.partition("/")
            result._sums.setdefault(name, {})[field] = array
        _check_sums(path, result._cases, result._dtype, result._sums)
        if result._network is not None and result._sums:
            check_shapes("statistics", result.shapes(), kernel_shapes(result._network.graph))
        return result


def fit(
    model: Any,
    data: Any,
    pattern_type: str = "relu",
    batch_size: int = 32,
    progress: bool = True,
    preprocess: Callable[[Any], Any] | None = None,
    output: str | int | None = None,
) -> Patterns:
    """Estimates the patterns of a model's kernel layers in one pass over data.

    Use `Statistics` for statistics of all types, or to save, merge or resume them.

    Args:
        model: A Keras 3 model, built, or a Keras 2 model as iNNvestigate takes it. It is not changed.
        data: The training data, or a large part of it, as the model takes it: arrays, a batched
            `tf.data.Dataset` or another iterable of batches; or the path of a folder of images. Of
            pairs (x, y), x is used.
        pattern_type: "relu" (or "relu.positive"), "relu.negative" or "linear"; see this module.
        batch_size: Number of samples per batch, if data are arrays or a folder.
        progress: Show a progress bar, on a terminal.
        preprocess: For a folder: the function that turns RGB images of the model's size, uint8 `(n,
            height, width, 3)`, into the model's input.
        output: The output to explain, by name or number. Only layers that lead to it get patterns.

    Returns:
        The pattern of each layer, by layer name.

    Raises:
        InputError: The type is unknown; the model cannot be traced or has no kernel layer; the data are
            empty, do not fit or are not finite; an image cannot be read; or only one of a folder and
            `preprocess` is given.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(4).images)
        >>> patterns = rap_keras.patterns.fit(model, x, progress=False)
        >>> rap_keras.create_analyzer("pattern.attribution", model, patterns=patterns).analyze(x).shape
        (4, 64, 64, 3)
    """
    statistics = Statistics(open_network(model, output), pattern_type)
    statistics.feed(data, batch_size, progress, preprocess)
    return statistics.patterns(pattern_type)


def _pattern(sums: Mapping[str, np.ndarray], cases: Sequence[str]) -> np.ndarray:
    """The pattern of one layer, by the equations above, from its sums."""

    def summed(key: str, over: Sequence[str] = cases) -> np.ndarray:
        return sum(sums[f"{key}.{case}"] for case in over[1:]) + sums[f"{key}.{over[0]}"]

    mean_y = summed("y", CASES) / summed("count", CASES)
    covariance = summed("xy") - summed("x") * mean_y
    part, whole = summed("yy"), summed("y") * mean_y
    variance = part - whole
    varies = np.abs(variance) > 1e-12 * (part + np.abs(whole))  # else it is rounding
    where = np.broadcast_to(varies, covariance.shape)
    return np.divide(covariance, variance, out=np.zeros_like(covariance), where=where)


def _check_sums(path: str | Path, cases: Sequence[str], dtype: str, sums: Sums) -> None:
    keys = {f"{key}.{case}" for key in ("count", "y", "yy") for case in CASES}
    keys |= {f"{key}.{case}" for key in ("x", "xy") for case in cases}
    known = cases in CASES_OF.values() and dtype in _DTYPES
    if not known or any(set(one) != keys for one in sums.values()):
        raise InputError(f"Expected all sums in the statistics {str(path)!r}, got only some.")
