"""Gradients averaged over changed copies of the input."""

from typing import Any

import keras
import numpy as np

from rap_keras.analyzers.base import Analyzer
from rap_keras.analyzers.gradient import GradientAnalyzer
from rap_keras.errors import InputError
from rap_keras.support.options import choose, read_integer, read_number


class _AveragedGradientAnalyzer(Analyzer):
    """The gradient, averaged over changed copies of each sample; the neuron is that of the sample."""

    def __init__(self, model: keras.Model, postprocess: str | None = None, **options: Any) -> None:
        super().__init__(model, **options)
        mode = "all" if self.neuron_selection_mode == "all" else "index"
        inner = options | {"neuron_selection_mode": mode}
        self._gradient = GradientAnalyzer(self._network, postprocess=postprocess, **inner)

    def options(self) -> dict[str, Any]:
        """The options that make this analyzer again, as JSON knows them."""
        return super().options() | {"postprocess": self._gradient.postprocess}

    def _copies(
        self, sample: list[np.ndarray], position: int
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """The copies of one sample, one array per input, and the weight of each."""
        raise NotImplementedError

    def _explained(self, arrays: list[np.ndarray], selection: Any) -> dict[str, Any]:
        found = self._batched("logits", self._selecting, arrays, selection)
        if found is None:
            return self._nothing(arrays)
        every = self.neuron_selection_mode == "all"
        maps = []
        for k, chosen in enumerate(found["neurons"]):
            copies, weights = self._copies([a[k] for a in arrays], k)
            neuron = None if every else np.full(len(weights), chosen)
            gradients = self._gradient.raw_maps(copies, neuron)
            maps.append([np.tensordot(weights, g, 1) for g in gradients])
        stacked = [
            np.stack(parts).astype(self._dtype(a.dtype))
            for a, parts in zip(arrays, zip(*maps, strict=True), strict=True)
        ]
        return found | {"maps": stacked}


class IntegratedGradientsAnalyzer(_AveragedGradientAnalyzer):
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
        self.reference_inputs = reference_inputs
        self._references = self._read_references(reference_inputs)

    def _read_references(self, given: Any) -> list[np.ndarray]:
        shapes = [self._graph.shapes[slot][1:] for slot in self._graph.inputs]
        several = isinstance(given, list | tuple) and len(shapes) > 1
        try:
            parts = given if several else [given] * len(shapes)
            references = [np.asarray(r, np.float64) for r in parts]
        except (TypeError, ValueError):
            references = []
        fits = len(references) == len(shapes)
        for reference, shape in zip(references, shapes, strict=False):
            known = [n or 1 for n in shape]
            try:
                fits &= np.broadcast_shapes(reference.shape, known) == tuple(known)
            except ValueError:
                fits = False
        if not fits or not all(np.isfinite(r).all() for r in references):
            raise InputError(
                f"Expected finite reference_inputs that broadcast to samples of shape {shapes}, got "
                f"{given!r}."
            )
        return references

    def options(self) -> dict[str, Any]:
        """The options that make this analyzer again, as JSON knows them."""
        references = [r.tolist() for r in self._references]
        return super().options() | {
            "steps": self.steps,
            "integration": self.integration,
            "reference_inputs": references if len(references) > 1 else references[0],
        }

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

    def convergence_delta(self, x: Any, neuron_selection: Any = None) -> np.ndarray:
        """How far the sum of each map is from the difference of the logits (completeness).

        Args:
            x: As in `analyze`.
            neuron_selection: As in `analyze`.

        Returns:
            np.ndarray of shape (batch,): sum of the map - (logit of the sample - of the reference).

        Raises:
            InputError: As in `analyze`.
        """
        arrays, _ = self._read(x)
        at_samples = self._explained(arrays, neuron_selection)
        references = [
            np.broadcast_to(r, a.shape).astype(a.dtype)
            for a, r in zip(arrays, self._references, strict=True)
        ]
        at_references = self._batched("logits", self._selecting, references, neuron_selection)
        if at_references is None:
            return np.zeros(0)
        ends = []
        for end in (at_samples, at_references):
            logits = end["logits"].reshape(len(arrays[0]), -1).astype(np.float64)
            if self.neuron_selection_mode == "all":
                ends.append(logits.sum(1))
            else:
                ends.append(logits[np.arange(len(logits)), at_samples["neurons"]])
        sums = sum(m.reshape(len(m), -1).sum(1, dtype=np.float64) for m in at_samples["maps"])
        return sums - (ends[0] - ends[1])


class SmoothGradAnalyzer(_AveragedGradientAnalyzer):
    """SmoothGrad (Smilkov et al., 2017): the mean gradient of copies with Gaussian noise.

    Args:
        model: See `Analyzer`.
        augment_by_n: Copies of each sample.
        noise_scale: Standard deviation of the noise, in the units of the input.
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
        noise_scale: float = 1.0,
        seed: int | None = 0,
        postprocess: str | None = None,
        **options: Any,
    ) -> None:
        augment_by_n = read_integer("augment_by_n", augment_by_n, 1)
        noise_scale = read_number("noise_scale", noise_scale, 0)
        seed = None if seed is None else read_integer("seed", seed, 0)
        super().__init__(model, postprocess, **options)
        self.augment_by_n = augment_by_n
        self.noise_scale = noise_scale
        self.seed = seed

    def options(self) -> dict[str, Any]:
        """The options that make this analyzer again, as JSON knows them."""
        return super().options() | {
            "augment_by_n": self.augment_by_n,
            "noise_scale": self.noise_scale,
            "seed": self.seed,
        }

    def _copies(
        self, sample: list[np.ndarray], position: int
    ) -> tuple[list[np.ndarray], np.ndarray]:
        generator = np.random.default_rng(None if self.seed is None else [self.seed, position])
        n = self.augment_by_n
        copies = [
            (x + generator.normal(0, self.noise_scale, (n, *x.shape))).astype(x.dtype)
            for x in sample
        ]
        return copies, np.full(n, 1 / n)
