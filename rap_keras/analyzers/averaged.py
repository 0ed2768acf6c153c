"""Gradients averaged over changed copies of the input."""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from rap_keras import tensors as ops
from rap_keras.analyzers.differentiating import DifferentiatingAnalyzer
from rap_keras.analyzers.gradient import GradientAnalyzer
from rap_keras.analyzers.references import ReferenceAnalyzer, read_background
from rap_keras.backends.keras3.views import TokenVectors
from rap_keras.errors import InputError
from rap_keras.inputs.batches import as_batches
from rap_keras.inputs.samples import in_order
from rap_keras.inputs.target import Target
from rap_keras.support.options import choose, read_integer, read_number
from rap_keras.support.text import shown

NOISE_LEVEL = 0.15  # default of smoothgrad; its paper recommends 10 % to 20 %


class Copy(NamedTuple):
    """A changed copy of a sample, one array per input."""

    inputs: list[np.ndarray]
    references: list[np.ndarray] | None = None  # gradients are times sample minus these


class AveragedGradientAnalyzer(DifferentiatingAnalyzer):
    """The gradient of the explained logit, averaged over changed copies of each sample.

    Copies are made and summed batch by batch, so memory use does not depend on their number.
    """

    seed: int | None = None

    def __init__(self, model: keras.Model, postprocess: str | None = None, **options: Any) -> None:
        super().__init__(model, **options)
        inner = options | {"output": None}  # `_network` has selected it already
        self.postprocess = postprocess
        self._gradient = GradientAnalyzer(self._network, postprocess=postprocess, **inner)

    def _use_graph(self) -> None:
        self._gradient = self._gradient._of_class(0)

    def _weights(self) -> np.ndarray:
        """The weight of each copy."""
        raise NotImplementedError

    def _generator(self, k: int) -> np.random.Generator:
        """Random numbers for sample k of a call."""
        return np.random.default_rng(None if self.seed is None else [self.seed, self._first + k])

    def _copies(self, sample: list[np.ndarray], k: int) -> Iterator[Copy]:
        """Yields the copies of sample k of a call, one per weight."""
        raise NotImplementedError

    def _explained_some(self, arrays: list[np.ndarray], target: Target) -> dict[str, Any]:
        logits = self._logits_of(arrays)
        neurons = target.neurons(logits)
        known = target.known(neurons)
        maps = [np.empty(a.shape, self._dtype(a.dtype)) for a in arrays]
        for k in range(len(logits)):
            means = self._mean([a[k] for a in arrays], k, known.of_sample(k))
            for one, mean in zip(maps, means, strict=True):
                one[k] = mean
        return {"maps": maps, "logits": logits, "neurons": neurons}

    def _mean(self, sample: list[np.ndarray], k: int, target: Target) -> list[np.ndarray]:
        """The weighted sum of the gradients at the copies of a sample: float64, one array per input."""
        totals = [np.zeros(x.shape) for x in sample]
        weights, copies = self._weights(), self._copies(sample, k)
        for chunk in as_batches(len(weights), self.batch_size):
            some = weights[chunk]
            batch = [np.empty((len(some), *x.shape), x.dtype) for x in sample]
            references = []
            for row in range(len(some)):
                one = next(copies)
                references.append(one.references)
                for to, values in zip(batch, self._varied(one.inputs, sample), strict=True):
                    to[row] = values
            gradients = self._gradient.raw_maps(batch, target.repeated(len(some)))
            for row, (weight, those) in enumerate(zip(some, references, strict=True)):
                for n, (total, x, gradient) in enumerate(
                    zip(totals, sample, gradients, strict=True)
                ):
                    factor = 1 if those is None else x - those[n]
                    total += weight * (factor * gradient[row])
        return totals


class IntegratedGradientsAnalyzer(ReferenceAnalyzer, AveragedGradientAnalyzer):
    """Integrated gradients (Sundararajan et al., 2017): the mean gradient on a path from a reference.

    The map sums to the difference between the logits of sample and reference, up to an error that
    `convergence_delta` returns.

    Args:
        model: See `Analyzer`.
        steps: Number of points on the straight line from the reference to the sample.
        reference_inputs: The reference: a number, or an array that broadcasts to a sample. With two
            axes in front, (samples, references), each sample has its own references, and the map is the
            mean over them: `(batch, 1, ...)` is one per sample, `(1, k, ...)` is k for all. Of tokens,
            the reference tokens. For several inputs a list or dict of these.
        integration: "trapezoid": both ends are used, with half the weight. "left": the left sum, as in
            iNNvestigate.
        postprocess: What to do with each gradient: None, "abs" or "square".
        **options: Options of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> analyzer = rap_keras.create_analyzer("integrated_gradients", model, steps=32)
        >>> analyzer.analyze(x).shape, analyzer.convergence_delta(x).shape
        ((1, 64, 64, 3), (1,))
    """

    def __init__(
        self,
        model: keras.Model,
        steps: int = 64,
        reference_inputs: Any = 0,
        integration: str = "trapezoid",
        postprocess: str | None = None,
        **options: Any,
    ) -> None:
        steps = read_integer("steps", steps, 2)
        choose("integration", integration, ("trapezoid", "left"))
        super().__init__(model, postprocess, **options)
        self.steps = steps
        self.integration = integration
        self._use_references(reference_inputs)

    def _weights(self) -> np.ndarray:
        if self.integration == "left":
            return np.full(self.steps, 1 / self.steps)
        weights = np.full(self.steps, 1 / (self.steps - 1))
        weights[[0, -1]] /= 2
        return weights

    def _copies(self, sample: list[np.ndarray], k: int) -> Iterator[Copy]:
        places = np.arange(self.steps) / self.steps
        if self.integration == "trapezoid":
            places = np.linspace(0, 1, self.steps)
        ways = [(r[k], x - r[k]) for x, r in zip(sample, self._call.references, strict=True)]
        return (Copy([start + place * way for start, way in ways]) for place in places)

    def _explained_some(self, arrays: list[np.ndarray], target: Target) -> dict[str, Any]:
        each = []
        for references in self._references_of(arrays):
            self._call.references = references
            found = super()._explained_some(arrays, target)
            for maps, samples, those in zip(found["maps"], arrays, references, strict=True):
                maps *= samples - those
            each.append(found["maps"])
        found["maps"] = [sum(maps) / len(maps) for maps in zip(*each, strict=True)]
        if self._gradient.postprocess is None:
            self._check_sums(arrays, target, found)
        return found


class SmoothGradAnalyzer(AveragedGradientAnalyzer):
    """SmoothGrad (Smilkov et al., 2017): the mean gradient of copies with Gaussian noise.

    Args:
        model: See `Analyzer`.
        augment_by_n: Number of copies of each sample.
        noise_level: Standard deviation of the noise, relative to the range (maximum - minimum) of each
            sample (and of each input). Default: 0.15, within the range that the paper recommends,
            unless noise_scale is given.
        noise_scale: Standard deviation of the noise in the units of the input, instead of noise_level.
            iNNvestigate uses 1.
        seed: Seed of the noise: sample i of a call gets the same noise each time. None: new noise.
        postprocess: What to do with each gradient: None, "abs" or "square".
        **options: Options of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("smoothgrad", model, augment_by_n=8).analyze(x).shape
        (1, 64, 64, 3)
    """

    def __init__(
        self,
        model: keras.Model,
        augment_by_n: int = 64,
        noise_level: float | None = None,
        noise_scale: float | None = None,
        seed: int | None = 0,
        postprocess: str | None = None,
        **options: Any,
    ) -> None:
        augment_by_n = read_integer("augment_by_n", augment_by_n, 1)
        if noise_level is not None and noise_scale is not None:
            raise InputError(
                f"Expected noise_level or noise_scale, got both, {shown(noise_level)} and "
                f"{shown(noise_scale)}: the first is relative to the range of each sample, the second "
                "in units of the input."
            )
        if noise_scale is not None:
            noise_scale = read_number("noise_scale", noise_scale, 0)
        else:
            noise_level = read_number(
                "noise_level", NOISE_LEVEL if noise_level is None else noise_level, 0
            )
        seed = None if seed is None else read_integer("seed", seed, 0)
        super().__init__(model, postprocess, **options)
        self.augment_by_n = augment_by_n
        self.noise_level = noise_level
        self.noise_scale = noise_scale
        self.seed = seed

    def _weights(self) -> np.ndarray:
        return _equal(self.augment_by_n)

    def _copies(self, sample: list[np.ndarray], k: int) -> Iterator[Copy]:
        generators = [self._generator(k)]
        for x in sample[:-1]:  # all noise of one input is drawn before that of the next
            generators.append(copy.deepcopy(generators[-1]))
            for _ in range(self.augment_by_n):
                generators[-1].standard_normal(x.shape)
        noise = [(x, self._deviation(x), g) for x, g in zip(sample, generators, strict=True)]
        for _ in range(self.augment_by_n):
            yield Copy([x + g.normal(0, deviation, x.shape) for x, deviation, g in noise])

    def _deviation(self, x: np.ndarray) -> float:
        """The standard deviation of the noise for one input of one sample."""
        if self.noise_scale is not None:
            return self.noise_scale
        assert self.noise_level is not None  # one of the two is given
        wide = x.astype(np.float64)
        return self.noise_level * float(wide.max() - wide.min())


class ExpectedGradientsAnalyzer(AveragedGradientAnalyzer):
    """Expected gradients (Erion et al., 2021, arXiv 1906.10670, eq. 3).

    The mean, over references x' of a background and a in [0, 1], of (x - x') times the gradient at x' +
    a (x - x'). The map sums to the logit of the sample minus the mean logit of the background, up to
    sampling error.

    Args:
        model: See `Analyzer`.
        background: Samples of the data as the model takes them, `(n, ...)`, or the path of a .npy file
            with them. For several inputs a list or dict of these; rows of the same number belong
            together.
        draws: Number of pairs of a reference and a value a that are drawn for each sample.
        seed: Seed of the draws: sample i of a call gets the same draws each time. None: new draws.
        **options: Options of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(9).images)
        >>> options = {"background": x[1:], "draws": 8}
        >>> rap_keras.create_analyzer("expected_gradients", model, **options).analyze(x[:1]).shape
        (1, 64, 64, 3)
    """

    def __init__(
        self,
        model: keras.Model,
        background: Any = None,
        draws: int = 64,
        seed: int | None = 0,
        **options: Any,
    ) -> None:
        draws = read_integer("draws", draws, 1)
        seed = None if seed is None else read_integer("seed", seed, 0)
        super().__init__(model, **options)
        self.draws = draws
        self.seed = seed
        background = in_order("background", background, self._network.names)
        several = self._read_samples("background", background, read_background)
        self.background = several if len(several) > 1 else several[0]
        self._background = several
        if isinstance(self._network, TokenVectors):
            self._network.refuse_unknown(several)
            specs = self._network.own_inputs
            rows = [a.astype(ops.numpy_dtype(s.dtype)) for a, s in zip(several, specs, strict=True)]
            self._background = several + self._network.with_vectors(rows)[len(specs) :]

    @classmethod
    def option_names(cls, method: str = "") -> list[str]:
        """The names of the options. `postprocess` is not one of them."""
        return [name for name in super().option_names(method) if name != "postprocess"]

    def _explained_some(self, arrays: list[np.ndarray], target: Target) -> dict[str, Any]:
        for samples, rows in zip(arrays, self._background, strict=True):
            try:
                np.broadcast_to(rows[0], samples.shape[1:])
            except ValueError:
                raise InputError(
                    f"Expected background of the size of the samples, {samples.shape[1:]}, got "
                    f"{rows.shape[1:]}: the model takes any size, but differences need the same.",
                    "background",
                ) from None
        return super()._explained_some(arrays, target)

    def _weights(self) -> np.ndarray:
        return _equal(self.draws)

    def _copies(self, sample: list[np.ndarray], k: int) -> Iterator[Copy]:
        generator = self._generator(k)
        chosen = generator.integers(len(self._background[0]), size=self.draws)
        for row, place in zip(chosen, generator.random(self.draws), strict=True):
            references = [array[row] for array in self._background]
            pairs = zip(sample, references, strict=True)
            yield Copy([r + place * (x - r) for x, r in pairs], references)


def _equal(count: int) -> np.ndarray:
    """Equal weights of sum 1."""
    return np.full(count, 1 / count)
