"""The images of a benchmark with their objects, classes, grids and replacements."""

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from rap_keras.benchmark.checks import grey_level
from rap_keras.benchmark.explainers import Backend, open_backend
from rap_keras.benchmark.grids import Grid, Size, companions, make_grid, shape_of
from rap_keras.benchmark.metrics import Reading, Scene, chosen
from rap_keras.benchmark.metrics.classes import removable
from rap_keras.benchmark.metrics.view import Inputs, Replacement, Stack
from rap_keras.benchmark.protocol import check_steps, protocol
from rap_keras.benchmark.seeds import Purpose, seed_of
from rap_keras.benchmark.settings import Settings
from rap_keras.datasets import NO_CLASS, Sample, open_dataset
from rap_keras.errors import InputError
from rap_keras.evaluation import replacement
from rap_keras.evaluation.heads import Head, both_classes
from rap_keras.models.classes import read_classes


class SettingsError(InputError):
    """An error that concerns every image and ends the run."""


@dataclass(frozen=True)
class Misclassified:
    """An image that is left out, because the model misclassifies it."""

    position: int
    label: str  # the classes of its objects
    predicted: str


class Scenes:
    """The images of a data set as a model sees them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.dataset = open_dataset(settings.data)
        self._half = half_of(len(self.dataset.names), settings)
        self.drawn = _drawn(self._half, settings)  # their places in the data set, in order
        self.backend: Backend = open_backend(settings)
        self.loaded = self.backend.loaded
        # A model without a head gets a softmax.
        self._head: Head = "sigmoid" if self.loaded.head == "sigmoid" else "softmax"
        if settings.classes is None:
            # Data sets name the classes of ImageNet by WordNet's ids.
            self.classes = self.loaded.synsets or self.loaded.labels
        else:
            self.classes = self.loaded.with_labels(read_classes(settings.classes)).labels
        self._surely: dict[int, int | None] = {}
        check_steps(settings, self.loaded.input_size)
        self._check_first_image()

    @functools.cached_property
    def protocol(self) -> dict[str, Any]:
        """Everything that the results depend on; it reads all weights."""
        return protocol(self._settings, self.dataset, self.backend, len(self.drawn))

    def read(self, position: int) -> Reading:
        """Reads an image, whose classes must be known."""
        sample = self.dataset.read(position, self.loaded.input_size)
        self._check_classes(sample)
        x = self.loaded.preprocess(sample.image[np.newaxis])[0]
        return Reading(position=position, sample=sample, x=x)

    def check_preprocessing(self, size: Size) -> None:
        """Refuses a preprocessing that does not accept grids of this size."""
        try:
            self.loaded.preprocess(np.zeros((1, *size, 3), np.uint8))
        except InputError as error:
            raise InputError(
                f"Expected preprocessing that accepts images of {size[0]} x {size[1]} pixels for "
                "grid_cells=full, got one for the model's input size: choose grid_cells=shrunk, or "
                "another preprocess.",
                ("grid_cells", "preprocess"),
            ) from error

    def see(self, readings: Sequence[Reading]) -> list[Scene | Misclassified]:
        """The scenes of images of one size."""
        x = np.stack([reading.x for reading in readings])
        return [
            self._seen(reading, np.array(logits))
            for reading, logits in zip(readings, self._logits(x), strict=True)
        ]

    def kept(self, readings: Sequence[Reading]) -> list[Scene]:
        """The scenes of images of one size, without those that are misclassified."""
        return [seen for seen in self.see(readings) if isinstance(seen, Scene)]

    def _seen(self, reading: Reading, logits: Stack) -> Scene | Misclassified:
        target = int(np.argmax(logits))
        found = self._object(reading.sample, target, logits)
        if found is None:
            label = ", ".join(reading.sample.objects)
            return Misclassified(reading.position, label, self._class(target))
        return Scene(
            **vars(reading),
            label=found[0],
            mask=found[1],
            target=target,
            logits=logits,
            head=self._head,
            predict=self._logits,
            replacements={
                kind: self._replacement(kind, reading, found[0])
                for kind in self._settings.replacement
            },
            grid=self._grid(reading, logits) if "grid" in self._settings.metrics else None,
            effects=self._effects(reading, logits) if "removal" in self._settings.metrics else None,
        )

    def _logits(self, x: Inputs) -> Stack:
        """The logits of a batch, `(n, classes)`; for one sigmoid those of classes 0 and 1."""
        return both_classes(self.backend.logits(x), self._head)

    def _object(
        self, sample: Sample, target: int, logits: Stack
    ) -> tuple[str | None, NDArray[np.bool_]] | None:
        """The explained object and its mask; None if the image is left out."""
        everything = np.logical_or.reduce(list(sample.objects.values()))
        if NO_CLASS in sample.objects or self.classes is None:
            return None if self.classes is None else self._class(target), everything
        label = self.classes[target]
        # Sigmoids may predict no class at all.
        is_predicted = self._head == "softmax" or logits[target] >= 0
        if label in sample.objects and (is_predicted or self._settings.keep == "all"):
            by_class = self._settings.foreground == "class"
            return label, sample.objects[label] if by_class else everything
        return (label, everything) if self._settings.keep == "all" else None

    def _class(self, target: int) -> str:
        return self.classes[target] if self.classes else str(target)

    def _check_classes(self, sample: Sample) -> None:
        if not sample.objects:
            raise InputError(f"Expected an object on the image {sample.name!r}, got none.")
        if NO_CLASS in sample.objects or self._settings.keep == "all":
            return
        objects = ", ".join(sample.objects)
        if self.classes is None:
            raise SettingsError(
                f"Expected class names of {self.loaded.name}, to find {objects} among them, got none: "
                'pass classes=NAMES, or keep="all".',
                ("classes", "keep"),
            )
        if not set(self.classes) & set(sample.objects):
            raise InputError(
                f"Expected an object of the model's classes on the image {sample.name!r}, got {objects} "
                'only; pass classes=NAMES, or keep="all".',
                ("classes", "keep"),
            )

    def _check_first_image(self) -> None:
        """Refuses unknown classes, and metrics that the data set does not support, before the run."""
        try:
            sample = self.dataset.read(self.drawn[0], self.loaded.input_size)
            self._check_classes(sample)
        except SettingsError:
            raise
        except InputError:
            return  # The image will be skipped.
        for metric in chosen(self._settings.metrics):
            metric.check(sample)
        if "infill" in self._settings.replacement:
            _without(sample, next(iter(sample.objects)))

    def _effects(self, reading: Reading, logits: Stack) -> Stack | None:
        """The drop of each logit without each class whose objects can be removed."""
        images = [reading.sample.without[label] for label in removable(reading.sample)]
        if not images:
            return None
        return logits - self._logits(self.loaded.preprocess(np.stack(images)))

    def _replacement(self, kind: str, reading: Reading, label: str | None) -> Replacement:
        x, image = reading.x, reading.sample.image
        if kind == "blur":
            return replacement.blurred(x)
        if kind == "zero":
            return 0.0
        if kind == "mean":
            return x.mean(axis=(0, 1))
        if kind == "infill":
            return self.loaded.preprocess(_without(reading.sample, label)[np.newaxis])[0]
        seed = seed_of(self._settings.seed, reading.position, Purpose.REPLACEMENT)
        if kind == "road":
            noise = 0.01 * float(x.std())
            return functools.partial(replacement.noisy_linear_imputation, noise=noise, seed=seed)
        if kind == "uniform":
            pixels = np.random.default_rng(seed).integers(0, 256, image.shape, np.uint8)
        else:
            pixels = np.full_like(image, grey_level(kind))
        return self.loaded.preprocess(pixels[np.newaxis])[0]

    def _grid(self, reading: Reading, logits: Stack) -> Grid | None:
        """The grid with this image; None if the model is not confident of it or of enough others."""
        settings, position = self._settings, reading.position
        if not self._is_sure(logits):
            return None
        rows, columns = shape = shape_of(settings.grid)
        generator = np.random.default_rng(seed_of(settings.seed, position, Purpose.GRID))
        place = int(generator.integers(rows * columns))
        order = generator.permutation(self._half)
        target, count = int(np.argmax(logits)), rows * columns - 1
        others = companions(target, count, map(int, order), self._sure_of)
        if len(others) < count:
            return None
        height, width = reading.sample.image.shape[:2]
        if settings.grid_cells == "full":
            height, width = height * rows, width * columns
        positions = [*others[:place], position, *others[place:]]
        return make_grid(
            positions,
            place,
            shape,
            (height, width),
            lambda k, size: self.dataset.read(k, size).image,
        )

    def _is_sure(self, logits: Stack) -> bool:
        """Whether the largest logit has the probability that grids need."""
        largest = np.float64(logits.max())
        if self._head == "sigmoid":
            probability = float(expit(largest))
        else:
            probability = float(1 / np.exp(np.float64(logits) - logits.max()).sum())
        return probability >= self._settings.grid_confidence

    def _sure_of(self, position: int) -> int | None:
        """The class of an image that is classified correctly and confidently; None for others."""
        if position not in self._surely:
            self._surely[position] = None
            with contextlib.suppress(InputError):
                reading = self.read(position)
                logits = self._logits(reading.x[np.newaxis])[0]
                target = int(np.argmax(logits))
                if self._is_sure(logits) and self._object(reading.sample, target, logits):
                    self._surely[position] = target
        return self._surely[position]


def _without(sample: Sample, label: str | None) -> NDArray[np.uint8]:
    if label is None or label not in sample.without:
        raise InputError(
            f"Expected an image of {sample.name!r} without {label or 'its object'} for "
            "replacement=infill, got none: choose the data set cluttered-digits or "
            "cluttered-digit-pairs, or another replacement.",
            ("replacement", "data"),
        )
    return sample.without[label]


def half_of(count: int, settings: Settings) -> list[int]:
    """The places of all images, or of those of the half, in the data set's order."""
    if settings.half == "both":
        return list(range(count))
    if count < 2:
        raise InputError(
            f"Expected at least two images to divide into halves, got {count}: choose half=both.",
            "half",
        )
    shuffled = np.random.default_rng(settings.seed).permutation(count)
    first = settings.half == "first"
    return sorted((shuffled[: count // 2] if first else shuffled[count // 2 :]).tolist())


def _drawn(places: list[int], settings: Settings) -> list[int]:
    """All images, or a random sample of the limit's size, in the data set's order."""
    if settings.limit is None or settings.limit >= len(places):
        return places
    generator = np.random.default_rng(settings.seed)
    return sorted(generator.choice(places, settings.limit, replace=False).tolist())
