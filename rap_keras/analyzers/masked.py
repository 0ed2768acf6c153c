"""Methods that run the model on images with parts replaced: forward passes only, no gradients."""

import copy
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from rap_keras.analyzers.base import Analyzer
from rap_keras.analyzers.coarse import read_image_shape
from rap_keras.analyzers.explanation import explained_sum
from rap_keras.errors import InputError
from rap_keras.inputs.batches import as_batches
from rap_keras.inputs.target import Target
from rap_keras.support.options import choose, read_integer, read_number
from rap_keras.support.text import shown
from rap_keras.support.warn import warn


class MaskedAnalyzer(Analyzer):
    """Weights masks of an image by the model's output for the masked image.

    Args:
        model: See `Analyzer`; with one input of images, channels last.
        value: What replaces hidden pixels, in the units of the model's input: a number, or one per
            channel.
        **options: Options of `Analyzer`; `batch_size` counts masked images.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.
    """

    def __init__(self, model: keras.Model, value: Any = 0, **options: Any) -> None:
        super().__init__(model, **options)
        self._channels = read_image_shape(self._graph, self.name)[2]
        self.value = self._read_value(value)

    def _read_value(self, value: Any) -> Any:
        try:
            array = np.asarray(value)
            numbers = array.astype(np.float64) if array.dtype.kind in "iuf" else np.array(np.nan)
        except (TypeError, ValueError):
            numbers = np.array(np.nan)
        if numbers.shape not in ((), (self._channels,)) or not np.isfinite(numbers).all():
            raise InputError(
                f"Expected value to be a finite number, or one for each of the {self._channels} "
                f"channels, got {shown(value)}.",
                "value",
            )
        return numbers.tolist()

    def _map(
        self, image: np.ndarray, position: int, logits: np.ndarray, neurons: np.ndarray | None
    ) -> np.ndarray:
        """The map (height, width) of one image, float64; logits and neurons have a batch axis of 1."""
        raise NotImplementedError

    def _seen(
        self, image: np.ndarray, masks: Iterator[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields masks (n, height, width), 0 hides and 1 shows, and the logits of the masked images."""
        value = np.asarray(self.value)
        for some in masks:
            copies = np.empty((len(some), *image.shape), image.dtype)
            for one, mask in zip(copies, some, strict=True):
                kept = mask[..., None]
                one[...] = image * kept + value * (1 - kept)
            logits = self._network.logits([copies])
            yield some, self._sign * (logits - self.reference_output)

    def _explained_some(self, arrays: list[np.ndarray], target: Target) -> dict[str, Any]:
        (images,) = arrays
        logits = self._logits_of(arrays)
        explained = target.neurons(logits)
        maps = np.zeros(images.shape, self._dtype(images.dtype))
        for k, image in enumerate(images):
            neurons = None if target.kind == "all" else explained[k : k + 1]
            places = self._map(image, self._first + k, logits[k : k + 1], neurons)
            maps[k] = places[..., None] / image.shape[-1]
        return {"maps": [maps], "logits": logits, "neurons": explained}


def explained_logits(logits: np.ndarray, neurons: np.ndarray | None) -> np.ndarray:
    """The explained logit of one image under each mask."""
    every = None if neurons is None else np.repeat(neurons, len(logits), 0)
    return explained_sum(logits, every)


class OcclusionAnalyzer(MaskedAnalyzer):
    """Occlusion (Zeiler and Fergus, ECCV 2014, section 4.2): how much the logit drops.

    A window slides over the image and is replaced by `value`. A pixel gets the mean drop of the logit
    over the windows that cover it, divided among the channels. At the bottom and right border, the last
    window is moved to fit, so that all pixels are covered.

    Args:
        model: See `Analyzer`; with one input of images, channels last.
        window: Height and width of the window in pixels, one number or two. None: an eighth of the
            image.
        stride: Pixels from one window to the next, one number or two, at most the window. None: half
            the window.
        value: What replaces the window, in the units of the model's input: a number, or one per
            channel.
        **options: Options of `Analyzer`; `batch_size` counts masked images.

    Raises:
        InputError: The model cannot be explained, or an option is invalid.

    Example:
        >>> model = rap_keras.bundled.load("vgg")
        >>> x = rap_keras.datasets.preprocess(rap_keras.datasets.cluttered_digits(1).images)
        >>> rap_keras.create_analyzer("occlusion", model, window=16).analyze(x).shape
        (1, 64, 64, 3)
    """

    def __init__(
        self,
        model: keras.Model,
        window: Any = None,
        stride: Any = None,
        value: Any = 0,
        **options: Any,
    ) -> None:
        self.window = _read_pair("window", window)
        self.stride = _read_pair("stride", stride)
        super().__init__(model, value, **options)
        size = read_image_shape(self._graph, self.name)[:2]
        if None not in size:
            self._steps(size)

    def _steps(self, size: Sequence[int]) -> tuple[list[int], list[list[int]]]:
        """Height and width of the window, and where windows begin on each axis."""
        window = self.window or [max(1, n // 8) for n in size]
        stride = self.stride or [max(1, n // 2) for n in window]
        if any(w > n for w, n in zip(window, size, strict=True)) or any(
            s > w for s, w in zip(stride, window, strict=True)
        ):
            raise InputError(
                "Expected a window no larger than the image and a stride no larger than the window, so "
                f"that windows cover every pixel, got window {window} and stride {stride} for an image "
                f"of {size[0]} x {size[1]}.",
                ("window", "stride"),
            )
        starts = []
        for n, w, s in zip(size, window, stride, strict=True):
            along = list(range(0, n - w + 1, s))
            starts.append(along if along[-1] == n - w else [*along, n - w])
        return window, starts

    def _masks(self, size: tuple[int, int], position: int) -> Iterator[np.ndarray]:
        (height, width), (rows, columns) = self._steps(size)
        count = len(rows) * len(columns)
        for chunk in as_batches(count, self.batch_size):
            places = range(count)[chunk]
            masks = np.ones((len(places), *size))
            for mask, place in zip(masks, places, strict=True):
                y, x = rows[place // len(columns)], columns[place % len(columns)]
                mask[y : y + height, x : x + width] = 0
            yield masks

    def _map(
        self, image: np.ndarray, position: int, logits: np.ndarray, neurons: np.ndarray | None
    ) -> np.ndarray:
        whole = explained_logits(logits, neurons)
        drops, covered = np.zeros(image.shape[:2]), np.zeros(image.shape[:2])
        for masks, seen in self._seen(image, self._masks(image.shape[:2], position)):
            hidden = 1 - masks
            drops += np.tensordot(whole - explained_logits(seen, neurons), hidden, 1)
            covered += hidden.sum(0)
        return drops / covered


class RISEAnalyzer(MaskedAnalyzer):
    """RISE (Petsiuk et al., BMVC 2018, eq. 6): random masks, weighted by the score of the masked image.

    A mask is a coarse grid of cells, each shown with probability p. It is resized bilinearly to the
    image and shifted by up to a cell. A pixel gets the sum of the scores times the masks at this pixel,
    divided by p and the number of masks, and divided among the channels.

    Args:
        model: See `Analyzer`; with one input of images, channels last.
        masks: Number of masks; the paper uses 4000 for VGG-16 and 8000 for ResNet-50.
        cells: Number of cells along each side of the grid.
        p: The probability that a cell is shown.
        score: "probability", as in the paper: from the model's own head, a softmax or sigmoids; without
            a head, the softmax, or the sigmoid of a single logit. "sigmoid": the sigmoid of each logit,
            for classes that do not exclude each other. "logit": the logit. The last two are summed over
            a region.
        value: What replaces hidden pixels, in the units of the model's input: a number, or one per
            channel.
        seed: Seed of the masks: sample i of a call gets the same masks each time. None: new masks.
        **options: Options of `Analyzer`; `batch_size` counts masked images.

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
                'sigmoid: pass score="logit" if it is a regression.',
            )

    def _masks(self, size: tuple[int, int], position: int) -> Iterator[np.ndarray]:
        generator = np.random.default_rng(None if self.seed is None else [self.seed, position])
        cell = [-(-n // self.cells) for n in size]
        rise = [_bilinear(self.cells, (self.cells + 1) * c) for c in cell]
        drawing = copy.deepcopy(generator)  # draws the grids; these come before all shifts
        for _ in range(self.masks):
            generator.random((self.cells, self.cells))
        shifts = np.stack([generator.integers(0, c, self.masks) for c in cell], 1)
        for chunk in as_batches(self.masks, self.batch_size):
            masks = np.empty((len(shifts[chunk]), *size))
            for mask, (y, x) in zip(masks, shifts[chunk], strict=True):
                grid = drawing.random((self.cells, self.cells)) < self.p
                mask[...] = rise[0][y : y + size[0]] @ grid @ rise[1][x : x + size[1]].T
            yield masks

    def _map(
        self, image: np.ndarray, position: int, logits: np.ndarray, neurons: np.ndarray | None
    ) -> np.ndarray:
        total = np.zeros(image.shape[:2])
        for masks, seen in self._seen(image, self._masks(image.shape[:2], position)):
            total += np.tensordot(self._scores(seen, neurons), masks, 1)
        return total / (self.p * self.masks)

    def _scores(self, logits: np.ndarray, neurons: np.ndarray | None) -> np.ndarray:
        if self.score == "logit":
            return explained_logits(logits, neurons)
        wide = logits.astype(np.float64)
        alone = wide.shape[1:] in ((), (1,))
        if self.score == "sigmoid" or alone or self._network.head == "sigmoid":
            return explained_logits(np.exp(-np.logaddexp(0, -wide)), neurons)
        if neurons is None or neurons.dtype == bool:
            got = "all" if neurons is None else "a region"
            raise InputError(
                f"Expected one class to take the probability of, got {got}: pass a class as the "
                'target, or use score="logit".',
                ("target", "score"),
            )
        each = np.exp(wide - wide.max(1, keepdims=True))
        return explained_logits(each / each.sum(1, keepdims=True), neurons)


def _read_pair(option: str, value: Any) -> list[int] | None:
    """Reads a height and width in pixels."""
    if value is None:
        return None
    pair = list(value) if isinstance(value, list | tuple) else [value, value]
    if len(pair) != 2:
        raise InputError(
            f"Expected {option} to be one number of pixels or two, height and width, got "
            f"{shown(value)}.",
            option,
        )
    return [read_integer(option, n, 1) for n in pair]


@functools.cache
def _bilinear(cells: int, size: int) -> np.ndarray:
    """The matrix (size, cells) that resizes a line of cells, interpolating between their centres."""
    places = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    return np.maximum(1 - abs(places[:, None] - np.arange(cells)), 0)
