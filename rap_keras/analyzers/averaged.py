"""Gradients averaged over changed copies of the input."""

from typing import Any

import keras
import numpy as np

from rap_keras.analyzers.base import Analyzer
from rap_keras.analyzers.gradient import GradientAnalyzer
from rap_keras.analyzers.references import ReferenceAnalyzer
from rap_keras.errors import InputError
from rap_keras.support.options import choose, read_integer, read_number

NOISE_LEVEL = 0.15  # of smoothgrad: between the 10 % and 20 % that its paper advises


class AveragedGradientAnalyzer(Analyzer):
    """The gradient, averaged over changed copies of each sample; the neuron is that of the sample."""

    def __init__(self, model: keras.Model, postprocess: str | None = None, **options: Any) -> None:
        super().__init__(model, **options)
        mode = "all" if self.neuron_selection_mode == "all" else "index"
        inner = options | {"neuron_selection_mode": mode, "output": None}  # the network knows it
        self._gradient = GradientAnalyzer(self._network, postprocess=postprocess, **inner)

    def options(self) -> dict[str, Any]:
        """The options that make this analyzer again, as JSON knows them."""
        return super().options() | {"postprocess": self._gradient.postprocess}

    def _copies(
        self, sample: list[np.ndarray], position: int
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """The copies of one sample, one array per input, and the weight of each."""
        raise NotImplementedError

    def _factors(self, sample: list[np.ndarray], position: int) -> list[Any]:
        """What the gradients at the copies are multiplied by, one array per input."""
        return [1] * len(sample)

    def _explained(self, arrays: list[np.ndarray], selection: Any) -> dict[str, Any]:
        found = self._batched("logits", self._selecting, arrays, selection)
        if found is None:
            return self._nothing(arrays, selection)
        every = self._explains_all(selection)
        maps = []
        for k, chosen in enumerate(found["neurons"]):
            sample = [a[k] for a in arrays]
            copies, weights = self._copies(sample, k)
            gradients = self._gradient.raw_maps(copies, None if every else chosen)
            factors = self._factors(sample, k)
            maps.append(
                [np.tensordot(weights, f * g, 1) for f, g in zip(factors, gradients, strict=True)]
            )
        stacked = [
            np.stack(parts).astype(self._dtype(a.dtype))
            for a, parts in zip(arrays, zip(*maps, strict=True), strict=True)
        ]
        return found | {"maps": stacked}


class IntegratedGradientsAnalyzer(ReferenceAnalyzer, AveragedGradientAnalyzer):
    """Integrated gradients (Sundararajan et al., 2017): the mean gradient on the way from a reference.

    The map sums to the difference of the logits of sample and reference, up to `convergence_delta`.

    Args:
        model: See `Analyzer`.
        steps: Points on the straight line from the reference to the sample.
        reference_inputs: The reference: a number, or an array that broadcasts to a sample; a list of
            them for several inputs.
        integration: "trapezoid": both ends take part, with half the weight. "left": the left sum, as in
            iNNvestigate.
        postprocess: None, "abs" or "square": what is done to each gradient.
        **options: Those of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is wrong.
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

    def options(self) -> dict[str, Any]:
        """The options that make this analyzer again, as JSON knows them."""
        return super().options() | {"steps": self.steps, "integration": self.integration}

    def _copies(
        self, sample: list[np.ndarray], position: int
    ) -> tuple[list[np.ndarray], np.ndarray]:
        weights = np.full(self.steps, 1 / self.steps)
        places = np.arange(self.steps) / self.steps
        if self.integration == "trapezoid":
            places = np.linspace(0, 1, self.steps)
            weights = np.full(self.steps, 1 / (self.steps - 1))
            weights[[0, -1]] /= 2
        copies = []
        for x, reference in zip(sample, self._references, strict=True):
            along = places.reshape(-1, *[1] * x.ndim)
            copies.append((reference + along * (x - reference)).astype(x.dtype))
        return copies, weights

    def _explained(self, arrays: list[np.ndarray], selection: Any) -> dict[str, Any]:
        found = super()._explained(arrays, selection)
        differences = [a - r for a, r in zip(arrays, self._references, strict=True)]
        scaled = zip(found["maps"], differences, strict=True)
        return found | {"maps": [(m * d).astype(m.dtype) for m, d in scaled]}


class SmoothGradAnalyzer(AveragedGradientAnalyzer):
    """SmoothGrad (Smilkov et al., 2017): the mean gradient of copies with Gaussian noise.

    Args:
        model: See `Analyzer`.
        augment_by_n: Copies of each sample.
        noise_level: Standard deviation of the noise, as a share of the range (maximum - minimum) of each
            sample (of each input of it); None is 0.15, as the paper has it, unless noise_scale is given.
        noise_scale: Standard deviation of the noise in the units of the input, in place of noise_level;
            iNNvestigate's is 1.
        seed: Of the noise: sample i of a call gets the same noise each time. None: new noise.
        postprocess: None, "abs" or "square": what is done to each gradient.
        **options: Those of `Analyzer`.

    Raises:
        InputError: The model cannot be explained, or an option is wrong.
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
                f"Expected noise_level or noise_scale, got both, {noise_level!r} and {noise_scale!r}: "
                "the first is relative to the range of each sample, the second in units of the input."
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

    def options(self) -> dict[str, Any]:
        """The options that make this analyzer again, as JSON knows them."""
        relative = self.noise_scale is None
        noise = {"noise_level": self.noise_level} if relative else {"noise_scale": self.noise_scale}
        return super().options() | {"augment_by_n": self.augment_by_n, "seed": self.seed} | noise

    def _copies(
        self, sample: list[np.ndarray], position: int
    ) -> tuple[list[np.ndarray], np.ndarray]:
        generator = np.random.default_rng(None if self.seed is None else [self.seed, position])
        n = self.augment_by_n
        copies = [
            (x + generator.normal(0, self._deviation(x), (n, *x.shape))).astype(x.dtype)
            for x in sample
        ]
        return copies, np.full(n, 1 / n)

    def _deviation(self, x: np.ndarray) -> float:
        """Standard deviation of the noise for one input of one sample."""
        if self.noise_scale is not None:
            return self.noise_scale
        assert self.noise_level is not None  # one of both is
        wide = x.astype(np.float64)
        return self.noise_level * float(wide.max() - wide.min())
