"""Expected gradients: integrated gradients from references that are drawn from data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from rap_keras import tensors as ops
from rap_keras.analyzers.averaged import AveragedGradientAnalyzer, Copy
from rap_keras.backends.keras3.views import TokenVectors
from rap_keras.errors import InputError
from rap_keras.inputs.samples import in_order, refuse_masked
from rap_keras.network.graph import Shape
from rap_keras.support.options import read_integer
from rap_keras.support.reading import opened
from rap_keras.support.text import shown


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
        several = self._read_samples("background", background, _read_background)
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

    def _weights(self) -> np.ndarray:
        return np.full(self.draws, 1 / self.draws)

    def _copies(self, sample: list[np.ndarray], k: int) -> Iterator[Copy]:
        seed = None if self.seed is None else [self.seed, self._first + k]
        generator = np.random.default_rng(seed)
        chosen = generator.integers(len(self._background[0]), size=self.draws)
        for row, place in zip(chosen, generator.random(self.draws), strict=True):
            references = [array[row] for array in self._background]
            pairs = zip(sample, references, strict=True)
            yield Copy([r + place * (x - r) for x, r in pairs], references)


def _read_background(given: Any, shapes: list[Shape]) -> list[np.ndarray]:
    """Reads the samples of each input, float64."""
    if len(shapes) == 1:
        return [_read_samples(given, shapes[0])]
    if not isinstance(given, list | tuple) or len(given) != len(shapes):
        raise InputError(
            f"Expected background to be a list of samples for each of the {len(shapes)} inputs, got "
            f"{shown(given)}.",
            "background",
        )
    found = [_read_samples(part, shape) for part, shape in zip(given, shapes, strict=True)]
    if len({len(array) for array in found}) > 1:
        raise InputError(
            "Expected background with the same number of samples for all inputs, got "
            f"{', '.join(str(len(array)) for array in found)}.",
            "background",
        )
    return found


def _read_samples(given: Any, shape: Shape) -> np.ndarray:
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
