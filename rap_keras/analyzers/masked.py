"""Methods that run the model on inputs with windows or random parts masked."""

import copy
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from rap_keras.analyzers.masking import MaskedAnalyzer, Sample
from rap_keras.errors import InputError
from rap_keras.inputs.batches import as_batches
from rap_keras.support.options import choose, read_integer, read_number
from rap_keras.support.text import shown
from rap_keras.support.warn import warn


class OcclusionAnalyzer(MaskedAnalyzer):
    """Occlusion (Zeiler and Fergus, ECCV 2014, section 4.2): how much the logit drops.

    A window slides over the image and is replaced by `value`. A pixel gets the mean drop of the logit
    over the windows that cover it, divided among the channels. At the bottom and right border, the last
    window is moved to fit, so that all pixels are covered. Series, volumes and videos have a window of
    as many axes. Of rows of numbers and of tokens, one element at a time is replaced. Of several
    inputs, one at a time is occluded, and the others stay as they are.

    Args:
        model: See `Analyzer`; channels last.
        window: Height and width of the window in pixels, one number, or one for each axis. None: an
            eighth of the image; 1 for rows and tokens. For several inputs one value for all, or a list
            with one per input.
        stride: Pixels from one window to the next, one number, or one for each axis, at most the
            window. None: half the window. For several inputs as `window`.
        value: What replaces the window, in the units of the model's input: a number, or one per
            channel; for tokens, a token. For several inputs a number for all, or a list with one of
            these per input.
        **options: Options of `Analyzer`; `batch_size` counts masked samples.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("occlusion", model, window=16).analyze(x).shape
        (1, 64, 64, 3)
        >>> row, image = keras.Input((5,)), keras.Input((8, 8, 1))
        >>> both = keras.layers.Concatenate()([row, keras.layers.Flatten()(image)])
        >>> two = keras.Model([row, image], keras.layers.Dense(2)(both))
        >>> analyzer = rap_keras.create_analyzer("occlusion", two, window=[1, (4, 2)])
        >>> [m.shape for m in analyzer.analyze([np.ones((1, 5)), np.ones((1, 8, 8, 1))])]
        [(1, 5), (1, 8, 8, 1)]
    """

    def __init__(
        self,
        model: keras.Model,
        window: Any = None,
        stride: Any = None,
        value: Any = 0,
        **options: Any,
    ) -> None:
        super().__init__(model, value, **options)
        self.window, self._windows = self._read_sizes("window", window)
        self.stride, self._strides = self._read_sizes("stride", stride)
        for place in self._masked:
            shape = self._shapes[place]
            size = shape[:-1] if self._has_channels(place) else shape
            if None not in size:
                self._steps([n or 1 for n in size], place)

    def _masked_inputs(self) -> list[int]:
        inputs = enumerate(self._graph.inputs)
        return [k for k, slot in inputs if slot not in self._graph.booleans]

    def _left_out(self) -> str:
        return "which have only the values True and False"

    def _read_sizes(self, option: str, given: Any) -> tuple[Any, list[list[int] | None]]:
        """Reads a length along each axis of each input."""
        each = []
        for place, value in enumerate(self._of_inputs(option, given)):
            axes = len(self._shapes[place]) - self._has_channels(place)
            parts = list(value) if isinstance(value, list | tuple) else [value] * axes
            if len(parts) != axes:
                raise InputError(
                    f"Expected {option} to be one number of pixels, or one for each of the {axes} axes "
                    f"without channels, got {shown(value)}.",
                    option,
                )
            masked = value is not None and place in self._masked
            each.append([read_integer(option, n, 1) for n in parts] if masked else None)
        return (None if given is None else each[0] if len(each) == 1 else each), each

    def _steps(self, size: Sequence[int], place: int) -> tuple[list[int], list[list[int]]]:
        """The lengths of the window of an input, and where windows begin on each axis."""
        eighth = [max(1, n // 8) if self._has_channels(place) else 1 for n in size]
        window = self._windows[place] or eighth
        stride = self._strides[place] or [max(1, n // 2) for n in window]
        if any(w > n for w, n in zip(window, size, strict=True)) or any(
            s > w for s, w in zip(stride, window, strict=True)
        ):
            several = (
                f" of input {self._graph.input_names[place]!r}" if len(self._shapes) > 1 else ""
            )
            raise InputError(
                "Expected a window no larger than the image and a stride no larger than the window, so "
                f"that windows cover every pixel, got window {window} and stride {stride} for an image "
                f"of {' x '.join(map(str, size))}{several}.",
                ("window", "stride"),
            )
        starts = []
        for n, w, s in zip(size, window, stride, strict=True):
            along = list(range(0, n - w + 1, s))
            starts.append(along if along[-1] == n - w else [*along, n - w])
        return window, starts

    def _masks(self, size: Sequence[int], place: int) -> Iterator[np.ndarray]:
        window, starts = self._steps(size, place)
        corners = [*itertools.product(*starts)]
        for chunk in as_batches(len(corners), self.batch_size):
            some = corners[chunk]
            masks = np.ones((len(some), *size))
            for k, corner in enumerate(some):
                hidden = tuple(slice(at, at + w) for at, w in zip(corner, window, strict=True))
                masks[k, ...][hidden] = 0
            yield masks

    def _map(self, sample: Sample, place: int) -> np.ndarray:
        whole, size = sample.explained(sample.logits), self._size(sample, place)
        drops, covered = np.zeros(size), np.zeros(size)
        for masks, seen in self._seen(sample, place, self._masks(size, place)):
            hidden = 1 - masks
            drops += np.tensordot(whole - sample.explained(seen), hidden, 1)
            covered += hidden.sum(0)
        return drops / covered


class RISEAnalyzer(MaskedAnalyzer):
    """RISE (Petsiuk et al., BMVC 2018, eq. 6): random masks, weighted by the score of the masked image.

    A mask is a coarse grid of cells, each shown with probability p. It is resized linearly to the image
    and shifted by up to a cell. A pixel gets the sum of the scores times the masks at this pixel,
    divided by p and the number of masks, and divided among the channels. Of several inputs, one at a
    time is masked, and the others stay as they are.

    Args:
        model: See `Analyzer`; with inputs of images, series, volumes or videos, channels last.
        masks: Number of masks; the paper uses 4000 for VGG-16 and 8000 for ResNet-50.
        cells: Number of cells along each side of the grid.
        p: The probability that a cell is shown.
        score: "probability", as in the paper: from the model's own head, a softmax or sigmoids; without
            a head, the softmax, or the sigmoid of a single logit. "sigmoid": the sigmoid of each logit,
            for classes that do not exclude each other. "logit": the logit. The last two are summed over
            a region.
        value: What replaces hidden pixels, in the units of the model's input: a number, or one per
            channel. For several inputs a number for all, or a list with one of these per input.
        seed: Seed of the masks: sample i of a call gets the same masks each time. None: new masks.
        **options: Options of `Analyzer`; `batch_size` counts masked samples.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("rise", model, masks=64).analyze(x).shape
        (1, 64, 64, 3)
    """

    def __init__(
        self,
        model: keras.Model,
        masks: int = 4000,
        cells: int = 7,
        p: float = 0.5,
        score: str = "probability",
        value: Any = 0,
        seed: int | None = 0,
        **options: Any,
    ) -> None:
        self.masks = read_integer("masks", masks, 1)
        self.cells = read_integer("cells", cells, 1)
        self.p = read_number("p", p, 0)
        if not 0 < self.p <= 1:
            raise InputError(f"Expected p to be a probability above 0, got {p!r}.", "p")
        choose("score", score, ("probability", "sigmoid", "logit"))
        self.score = score
        self.seed = None if seed is None else read_integer("seed", seed, 0)
        super().__init__(model, value, **options)
        if score == "probability" and len(self._output_shape) > 1:
            raise InputError(
                "Expected a vector of classes to take the probability of one, got outputs of shape "
                f'{self._output_shape}: use score="logit", which sums the logits.',
                "score",
            )
        if (
            score == "probability"
            and self._output_shape in ((), (1,))
            and self._network.head != "sigmoid"
        ):
            warn(
                "RISE weights masks by the sigmoid of the model's only output, but the model has no "
                'sigmoid: pass score="logit" if it is a regression.'
            )

    def _masks(self, size: Sequence[int], number: int) -> Iterator[np.ndarray]:
        generator = np.random.default_rng(None if self.seed is None else [self.seed, number])
        cell = [-(-n // self.cells) for n in size]
        rise = [_linear(self.cells, (self.cells + 1) * c) for c in cell]
        drawing = copy.deepcopy(generator)  # draws the grids; these come before all shifts
        grid_of = [self.cells] * len(size)
        for _ in range(self.masks):
            generator.random(grid_of)
        shifts = np.stack([generator.integers(0, c, self.masks) for c in cell], 1)
        for chunk in as_batches(self.masks, self.batch_size):
            masks = np.empty((len(shifts[chunk]), *size))
            for mask, shift in zip(masks, shifts[chunk], strict=True):
                grid = (drawing.random(grid_of) < self.p).astype(np.float64)
                for matrix, at, n in zip(rise, shift, size, strict=True):
                    grid = np.tensordot(grid, matrix[at : at + n], (0, 1))  # the next axis is first
                mask[...] = grid
            yield masks

    def _map(self, sample: Sample, place: int) -> np.ndarray:
        size = self._size(sample, place)
        total = np.zeros(size)
        for masks, seen in self._seen(sample, place, self._masks(size, sample.number)):
            total += np.tensordot(self._scores(seen, sample), masks, 1)
        return total / (self.p * self.masks)

    def _scores(self, logits: np.ndarray, sample: Sample) -> np.ndarray:
        if self.score == "logit":
            return sample.explained(logits)
        wide = logits.astype(np.float64)
        alone = wide.shape[1:] in ((), (1,))
        if self.score == "sigmoid" or alone or self._network.head == "sigmoid":
            return sample.explained(np.exp(-np.logaddexp(0, -wide)))
        if sample.neurons is None or sample.neurons.dtype == bool:
            got = "all" if sample.neurons is None else "a region"
            raise InputError(
                f"Expected one class to take the probability of, got {got}: pass a class as the "
                'target, or use score="logit".',
                ("target", "score"),
            )
        each = np.exp(wide - wide.max(1, keepdims=True))
        return sample.explained(each / each.sum(1, keepdims=True))


@functools.cache
def _linear(cells: int, size: int) -> np.ndarray:
    """The matrix (size, cells) that resizes a line of cells, interpolating between their centres."""
    places = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    return np.maximum(1 - abs(places[:, None] - np.arange(cells)), 0)
