"""Measures one chunk of images after another: every method on the same images and neurons."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from rap_keras.benchmark.classes import named_classes
from rap_keras.benchmark.controls import (
    EDGES,
    MEAN_SHIFTED,
    RANDOM,
    SHIFTED_METHOD,
    edges,
    mean_shifted,
    random_map,
)
from rap_keras.benchmark.explainers import Backend, Explain, open_backend
from rap_keras.benchmark.grids import Grid, Size, companions, make_grid
from rap_keras.benchmark.methods import Method
from rap_keras.benchmark.metrics import Record, Scene, View, chosen, measured
from rap_keras.benchmark.protocol import protocol
from rap_keras.benchmark.seeds import Purpose, seed_of
from rap_keras.benchmark.settings import Settings
from rap_keras.datasets import NO_CLASS, Sample, open_dataset
from rap_keras.errors import InputError
from rap_keras.evaluation import maps, replacement
from rap_keras.evaluation.heads import Head, both_classes
from rap_keras.models.classes import read_classes

T = TypeVar("T")
Maps = dict[str, NDArray[Any]]
Stack = NDArray[np.floating]
Measured = tuple[Record, Maps]
Chunk = tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """An image that was read.

    Attributes:
        position: Its place in the data set.
        sample: The image with its objects.
        x: The model's input `(height, width, channels)`.
    """

    position: int
    sample: Sample
    x: NDArray[np.float32]


@dataclass(frozen=True)
class Unread:
    """An image that could not be read, and why."""

    position: int
    error: InputError


class Bench:
    """A model with its methods and a data set, ready to measure.

    The images are cut once into chunks, which are measured by themselves: results do not depend on what
    else is measured, in which order, or in which process.

    Args:
        settings: What to measure, and how.

    Attributes:
        chunks: The places in the data set of the images that were drawn, chunk by chunk.

    Raises:
        InputError: The model, the data set or a method cannot be had, or they do not fit together.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.dataset = open_dataset(settings.data)
        drawn = _drawn(len(self.dataset.names), settings)
        self.chunks = [
            tuple(drawn[k : k + settings.chunk]) for k in range(0, len(drawn), settings.chunk)
        ]
        self.backend = open_backend(settings)
        self.loaded = self.backend.loaded
        # Logits without a head get a softmax.
        self._head: Head = "sigmoid" if self.loaded.head == "sigmoid" else "softmax"
        given = None if settings.classes is None else read_classes(settings.classes)
        self.classes = named_classes(self.loaded, given)
        self.rows = settings.rows()
        self._check_steps()
        self._check_first_image()
        self._methods = {row.title: row for row in self.rows if not row.is_control}
        if settings.controls:
            self._methods.setdefault(SHIFTED_METHOD, Method(SHIFTED_METHOD, SHIFTED_METHOD))
        self._explainers = self._explainers_of(self.backend)
        self._enlarged: dict[Size, dict[str, Explain]] = {}
        stages = {stage for metric in chosen(settings.metrics) for stage in metric.stages}
        self._randomised = {
            stage: self._explainers_of(self.backend.randomised(stage)) for stage in sorted(stages)
        }
        self._surely: dict[int, int | None] = {}
        if "grid" in settings.metrics and settings.grid_cells == "full":
            self._check_full_cells()

    def read(self, chunk: Chunk) -> list[Reading | Unread]:
        """Reads the images of a chunk; what is wrong with one is kept in its place."""
        readings: list[Reading | Unread] = []
        for position in chunk:
            try:
                readings.append(self._read(position))
            except InputError as error:
                readings.append(Unread(position, error))
        return readings

    def measure(self, readings: Sequence[Reading | Unread], strict: bool = False) -> list[Measured]:
        """Measures the images of a chunk together.

        Args:
            readings: The images.
            strict: Raise what is wrong with an image, instead of skipping it.

        Returns:
            Of each image its record, as JSON knows it, and, if it was kept, its pixels (under "", unless
            the settings want no photos) and the heat map of each method.

        Raises:
            InputError: With `strict`, an image cannot be measured; or the classes are not known.
        """

        def skip(position: int, error: InputError) -> list[Measured]:
            if strict or isinstance(error, _SettingsError):
                raise error
            return [(self._base(position) | {"status": "skipped", "reason": str(error)}, {})]

        measured = _by_size(readings, self._together, skip)
        found = {record["position"]: (record, maps) for record, maps in measured}
        return [found[reading.position] for reading in readings]

    def maps(self, readings: Sequence[Reading | Unread]) -> dict[int, Maps]:
        """The pixels (under "") and the heat map of each method of the kept images of a chunk."""

        def mapped(group: Sequence[Reading]) -> list[tuple[int, Maps]]:
            _, kept = self._kept(group)
            heatmaps, _ = self._heatmaps(kept) if kept else ({}, {})
            return [(s.position, self._for_figure(s, heatmaps, k)) for k, s in enumerate(kept)]

        return dict(_by_size(readings, mapped, lambda *_: []))

    def _base(self, position: int) -> Record:
        return {"position": position, "name": self.dataset.names[position]}

    def _together(self, group: Sequence[Reading]) -> list[Measured]:
        others, scenes = self._kept(group)
        if not scenes:
            return others
        heatmaps, relevances = self._heatmaps(scenes)
        results: list[Record] = [{} for _ in scenes]
        for row in self.rows:
            views = [
                View(
                    scene,
                    relevances[row.title][k] if row.title in relevances else None,
                    heatmaps[row.title][k],
                    self.settings.threshold(row),
                    row.is_contrasted,
                    functools.partial(self._explained, row),
                    None
                    if row.title == EDGES
                    else functools.partial(self._explained_inputs, row, scene),
                )
                for k, scene in enumerate(scenes)
            ]
            numbers = measured(views, self.settings.metrics)
            for result, of_row in zip(results, numbers, strict=True):
                result[row.title] = of_row
        return others + [
            (
                self._base(scene.position)
                | {"status": "kept", "label": scene.label, "neuron": scene.neuron}
                | {"logit": scene.logit, "results": result},
                self._for_figure(scene, heatmaps, k),
            )
            for k, (scene, result) in enumerate(zip(scenes, results, strict=True))
        ]

    def _kept(self, group: Sequence[Reading]) -> tuple[list[Measured], list[Scene]]:
        """The records of those that are classified wrong, and the others with what is explained."""
        wrong: list[Measured] = []
        kept = []
        x = np.stack([reading.x for reading in group])
        for reading, logits in zip(group, self._logits(x), strict=True):
            neuron = int(np.argmax(logits))
            target = self._target(reading.sample, neuron, logits)
            if target is None:
                names = {"label": _listed(reading.sample.objects), "predicted": self._class(neuron)}
                record = self._base(reading.position) | {"status": "misclassified"} | names
                wrong.append((record, {}))
            else:
                kept.append(self._scene(reading, np.array(logits), neuron, *target))
        return wrong, kept

    def _scene(
        self,
        reading: Reading,
        logits: NDArray[np.floating],
        neuron: int,
        label: str | None,
        mask: NDArray[np.bool_],
    ) -> Scene:
        position, sample, x = reading.position, reading.sample, reading.x
        return Scene(
            self.settings,
            position,
            sample,
            label,
            mask,
            x,
            neuron,
            logits,
            self._head,
            self._other_neuron(position, neuron, len(logits)),
            self._replacement(sample, position, x),
            self._logits,
            self.loaded.preprocess,
            functools.partial(self._grid, position, logits, sample.image.shape[:2]),
        )

    def _logits(self, x: NDArray[np.float32]) -> NDArray[np.floating]:
        """The logits of a batch, `(n, classes)`; for one sigmoid those of classes 0 and 1."""
        return both_classes(self.backend.logits(x), self._head)

    def protocol(self) -> dict[str, Any]:
        """Everything that the results depend on, as JSON knows it."""
        return protocol(self.settings, self.dataset, self.backend, sum(map(len, self.chunks)))

    def _read(self, position: int) -> Reading:
        sample = self.dataset.read(position, self.loaded.input_size)
        self._check_classes(sample)
        return Reading(position, sample, self.loaded.preprocess(sample.image[np.newaxis])[0])

    def _heatmaps(self, scenes: Sequence[Scene]) -> tuple[dict[str, Stack], dict[str, Stack]]:
        """The heat maps of each row, and the relevance of each method, `(images, ...)`."""
        x, neurons = np.stack([s.x for s in scenes]), [s.neuron for s in scenes]
        relevances = {
            title: _finite(title, explain(x, neurons))
            for title, explain in self._explainers.items()
        }
        heatmaps = {title: _stacked(maps.heatmap, found) for title, found in relevances.items()}
        if self.settings.controls:
            images = np.stack([s.sample.image for s in scenes])
            for control in (RANDOM, EDGES):
                heatmaps[control] = self._control(control, [s.position for s in scenes], images)
            heatmaps[MEAN_SHIFTED] = _stacked(mean_shifted, heatmaps[SHIFTED_METHOD])
        return {row.title: heatmaps[row.title] for row in self.rows}, relevances

    def _control(
        self, title: str, positions: Sequence[int], images: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        """The maps of a control that is made of the image's place or pixels alone."""
        if title == EDGES:
            return _stacked(edges, images)
        size = images.shape[1:3]
        return _stacked(lambda place: random_map(size, self.settings.seed, place), positions)

    def _explained(
        self,
        row: Method,
        views: Sequence[View],
        pixels: NDArray[np.uint8],
        neurons: Sequence[int],
    ) -> Stack:
        """The heat maps of a row, of other pixels or other neurons than the samples'."""
        if row.title in (RANDOM, EDGES):
            return self._control(row.title, [view.scene.position for view in views], pixels)
        explainers = self._explainers_at(pixels.shape[1:3])
        return _explained_by(explainers, row, self.loaded.preprocess(pixels), neurons)

    def _explained_inputs(
        self,
        row: Method,
        scene: Scene,
        x: NDArray[np.float32],
        stage: str | None = None,
        first: int = 0,
    ) -> Stack:
        """The heat maps of a row, of other inputs than the sample's, or by a randomised model."""
        if row.title == RANDOM:
            noise = random_map(x.shape[1:3], self.settings.seed, scene.position)
            return np.stack([noise] * len(x))
        explainers = self._explainers if stage is None else self._randomised[stage]
        return _explained_by(explainers, row, x, [scene.neuron] * len(x), first)

    def _explainers_at(self, size: Size) -> dict[str, Explain]:
        """The explainers of images of a size, which may be larger than the model's own."""
        if self.loaded.input_size in (None, size):
            return self._explainers
        if size not in self._enlarged:
            self._enlarged[size] = self._explainers_of(self.backend.enlarged(size))
        return self._enlarged[size]

    def _explainers_of(self, backend: Backend) -> dict[str, Explain]:
        return {title: backend.explainer(method) for title, method in self._methods.items()}

    def _seed(self, position: int, purpose: Purpose) -> list[int]:
        return seed_of(self.settings.seed, position, purpose)

    def _other_neuron(self, position: int, neuron: int, count: int) -> int | None:
        """Another neuron, the same for the same seed and place in the data set."""
        if count < 2:
            return None
        generator = np.random.default_rng(self._seed(position, Purpose.OTHER_NEURON))
        return int((neuron + generator.integers(1, count)) % count)

    def _grid(self, position: int, logits: NDArray[np.floating], size: Size) -> Grid | None:
        """The image between others; None where the model is not sure of it, or of too few others."""
        neuron = int(np.argmax(logits))
        rows, columns = shape = self.settings.grid_shape
        if self._probability(logits) < self.settings.grid_confidence:
            return None
        generator = np.random.default_rng(self._seed(position, Purpose.GRID))
        place = int(generator.integers(rows * columns))
        order = generator.permutation(len(self.dataset.names))
        others = companions(neuron, rows * columns - 1, map(int, order), self._sure_of)
        if len(others) < rows * columns - 1:
            return None
        positions = [*others[:place], position, *others[place:]]
        if self.settings.grid_cells == "full":
            size = size[0] * rows, size[1] * columns
        return make_grid(positions, place, shape, size, self._pixels)

    def _probability(self, logits: NDArray[np.floating]) -> float:
        """That of the largest logit."""
        if self._head == "sigmoid":
            return float(expit(np.float64(logits.max())))
        return float(1 / np.exp(np.float64(logits) - logits.max()).sum())

    def _pixels(self, position: int, size: Size) -> NDArray[np.uint8]:
        return self.dataset.read(position, size).image

    def _sure_of(self, position: int) -> int | None:
        """The neuron of an image that is classified right and surely; None for others."""
        if position not in self._surely:
            self._surely[position] = None
            with contextlib.suppress(InputError):
                reading = self._read(position)
                logits = self._logits(reading.x[np.newaxis])[0]
                neuron = int(np.argmax(logits))
                sure = self._probability(logits) >= self.settings.grid_confidence
                if sure and self._target(reading.sample, neuron, logits) is not None:
                    self._surely[position] = neuron
        return self._surely[position]

    def _for_figure(self, scene: Scene, heatmaps: Mapping[str, Stack], k: int) -> Maps:
        """The pixels of the k-th image, and the maps but noise and edges, which show the photo."""
        photo = {"": scene.sample.image} if self.settings.photos else {}
        shown = {title: m[k] for title, m in heatmaps.items() if title not in (RANDOM, EDGES)}
        return photo | {title: m.astype(np.float32) for title, m in shown.items()}

    def _check_classes(self, sample: Sample) -> None:
        if not sample.objects:
            raise InputError(f"Expected an object on the image {sample.name!r}, got none.")
        if NO_CLASS in sample.objects or self.settings.keep == "all":
            return
        if self.classes is None:
            raise _SettingsError(
                f"Which of the classes of {self.loaded.name} is {_listed(sample.objects)} is not "
                'known: pass classes=NAMES, or keep="all".',
                ("classes", "keep"),
            )
        if not set(self.classes) & set(sample.objects):
            raise InputError(
                f"Expected an object of the model's classes on the image {sample.name!r}, got "
                f'{_listed(sample.objects)} only; pass classes=NAMES, or keep="all".',
                ("classes", "keep"),
            )

    def _check_first_image(self) -> None:
        """Tells whether classes are known before results are begun."""
        try:
            sample = self.dataset.read(self.chunks[0][0], self.loaded.input_size)
            self._check_classes(sample)
        except _SettingsError:
            raise
        except InputError:
            return  # It will be skipped.
        for metric in chosen(self.settings.metrics):
            metric.check(sample)

    def _target(
        self, sample: Sample, neuron: int, logits: NDArray[np.floating]
    ) -> tuple[str | None, NDArray[np.bool_]] | None:
        """The object that is explained and its mask; None if the image is to be left out."""
        everything = np.logical_or.reduce(list(sample.objects.values()))
        if NO_CLASS in sample.objects or self.classes is None:
            return None if self.classes is None else self._class(neuron), everything
        label = self.classes[neuron]
        told = (
            self._head == "softmax" or logits[neuron] >= 0
        )  # sigmoids may predict no class at all
        if label in sample.objects and (told or self.settings.keep == "all"):
            own = self.settings.foreground == "class"
            return label, sample.objects[label] if own else everything
        return (label, everything) if self.settings.keep == "all" else None

    def _class(self, neuron: int) -> str:
        return self.classes[neuron] if self.classes else str(neuron)

    def _replacement(
        self, sample: Sample, position: int, x: NDArray[np.float32]
    ) -> NDArray[np.float32] | float | replacement.Impute:
        kind = self.settings.replacement
        if kind == "blur":
            return replacement.blurred(x)
        if kind == "road":
            seed = self._seed(position, Purpose.REPLACEMENT)
            noise = 0.01 * float(x.std())
            return functools.partial(replacement.noisy_linear_imputation, noise=noise, seed=seed)
        if kind == "zero":
            return 0.0
        if kind == "mean":
            return x.mean(axis=(0, 1))
        pixels = np.full_like(sample.image, self.settings.grey or 0)
        if kind == "uniform":
            generator = np.random.default_rng(self._seed(position, Purpose.REPLACEMENT))
            pixels = generator.integers(0, 256, sample.image.shape, np.uint8)
        return self.loaded.preprocess(pixels[np.newaxis])[0]

    def _check_full_cells(self) -> None:
        """Tells whether the model takes larger images before results are begun."""
        if self.loaded.input_size is not None:
            height, width = self.loaded.input_size
            rows, columns = self.settings.grid_shape
            self._explainers_at((height * rows, width * columns))

    def _check_steps(self) -> None:
        size, s = self.loaded.input_size, self.settings
        if not s.perturbs:
            return
        if size is None:
            if s.pixels_per_step is not None:
                raise InputError(
                    "pixels_per_step=N is another share of images of another size: pass size=N, or "
                    "steps=N alone.",
                    ("pixels_per_step", "size", "steps"),
                )
            return
        regions = s.regions(size)
        wanted = s.steps * max(s.pixels_each_step(size) // s.patch**2, 1)
        if wanted > regions:
            what = "pixels" if s.patch == 1 else f"patches of {s.patch} x {s.patch} pixels"
            raise InputError(
                f"Expected at most the {regions} {what} of an image to be replaced, but "
                f"{s.steps} steps ask for {wanted}: lower steps or pixels_per_step.",
                ("steps", "pixels_per_step"),
            )


class _SettingsError(InputError):
    """What is wrong with every image alike, and so ends the run."""


def _drawn(count: int, settings: Settings) -> list[int]:
    """All images, or as many as the limit says, drawn by the seed; in the data set's order."""
    if settings.limit is None or settings.limit >= count:
        return list(range(count))
    generator = np.random.default_rng(settings.seed)
    return sorted(generator.choice(count, settings.limit, replace=False).tolist())


def _finite(title: str, relevance: NDArray[np.floating]) -> NDArray[np.floating]:
    if not np.isfinite(relevance).all():
        raise InputError(f"{title} gave relevance that is not finite; leave that method out.")
    return relevance


def _by_size(
    readings: Sequence[Reading | Unread],
    work: Callable[[Sequence[Reading]], list[T]],
    skip: Callable[[int, InputError], list[T]],
) -> list[T]:
    """Works on images of one size together; by themselves, if something is wrong with one of them.

    Args:
        readings: The images.
        work: From images of one size to what becomes of them.
        skip: From the place of one that is wrong, and what is wrong, to what becomes of it.

    Returns:
        What becomes of all.
    """
    done = [one for r in readings if isinstance(r, Unread) for one in skip(r.position, r.error)]
    groups: dict[tuple[int, ...], list[Reading]] = {}
    for reading in readings:
        if isinstance(reading, Reading):
            groups.setdefault(reading.x.shape, []).append(reading)
    for group in groups.values():
        done += _safely(group, work, skip)
    return done


def _safely(
    group: Sequence[Reading],
    work: Callable[[Sequence[Reading]], list[T]],
    skip: Callable[[int, InputError], list[T]],
) -> list[T]:
    try:
        return work(group)
    except InputError as error:
        if len(group) == 1 or isinstance(error, _SettingsError):
            return skip(group[0].position, error)
    return [one for reading in group for one in _safely([reading], work, skip)]


def _stacked(function: Callable[[Any], NDArray[Any]], items: Iterable[Any]) -> NDArray[Any]:
    return np.stack([function(item) for item in items])


def _explained_by(
    explainers: Mapping[str, Explain],
    row: Method,
    x: NDArray[np.float32],
    neurons: Sequence[int],
    first: int = 0,
) -> Stack:
    """The heat maps of a method, or of the mean-shifted control, which is made of a method's."""
    title = SHIFTED_METHOD if row.title == MEAN_SHIFTED else row.title
    heatmaps = _stacked(maps.heatmap, _finite(title, explainers[title](x, neurons, first)))
    return _stacked(mean_shifted, heatmaps) if row.title == MEAN_SHIFTED else heatmaps


def _listed(objects: Mapping[str, Any]) -> str:
    return ", ".join(objects)
