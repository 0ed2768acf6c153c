"""Measures one image after another: every method on the same image, neuron and preprocessing."""

import contextlib
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.benchmark.classes import named_classes, read_classes
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
from rap_keras.benchmark.settings import Settings
from rap_keras.datasets import NO_CLASS, Sample, open_dataset
from rap_keras.errors import InputError
from rap_keras.evaluation import maps, perturbation

Maps = dict[str, NDArray[Any]]


class Bench:
    """A model with its methods and a data set, ready to measure.

    Every image is measured by itself, so that results do not depend on what else is measured, in which
    order, or in which process.

    Args:
        settings: What to measure, and how.

    Attributes:
        positions: The places in the data set of the images that were drawn.

    Raises:
        InputError: The model, the data set or a method cannot be had, or they do not fit together.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.dataset = open_dataset(settings.data)
        self.positions = _drawn(len(self.dataset.names), settings)
        self.backend = open_backend(settings)
        self.loaded = self.backend.loaded
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

    def measure(self, position: int, strict: bool = False) -> tuple[Record, Maps]:
        """Measures one image.

        Args:
            position: Its place in the data set.
            strict: Raise what is wrong with an image, instead of skipping it.

        Returns:
            The record of the image, as JSON knows it, and, if it was kept, its pixels (under "", unless
            the settings want no photos) and the heat map of each method.

        Raises:
            InputError: With `strict`, the image cannot be measured; or the classes are not known.
        """
        base: Record = {"position": position, "name": self.dataset.names[position]}
        try:
            sample = self.dataset.read(position, self.loaded.input_size)
            self._check_classes(sample)
            x, logits = self._classified(sample)
            neuron = int(np.argmax(logits))
            target = self._target(sample, neuron)
            if target is None:
                names = {"label": _listed(sample.objects), "predicted": self._class(neuron)}
                return base | {"status": "misclassified"} | names, {}
            label, mask = target
            heatmaps, relevances = self._heatmaps(sample, position, x, neuron)
            scene = Scene(
                self.settings,
                position,
                sample,
                mask,
                x,
                neuron,
                logits,
                self._other_neuron(position, neuron, len(logits)),
                self._replacement(sample, position, x),
                self.backend.logits,
                self.loaded.preprocess,
                functools.partial(self._grid, position, logits, sample.image.shape[:2]),
            )
            results = {}
            for row in self.rows:
                view = View(
                    scene,
                    relevances.get(row.title),
                    heatmaps[row.title],
                    self.settings.threshold(row),
                    row.is_contrasted,
                    functools.partial(self._heatmap, row, position),
                    None
                    if row.title == EDGES
                    else functools.partial(self._heatmaps_of_inputs, row, position, neuron),
                )
                results[row.title] = measured(view, self.settings.metrics)
        except InputError as error:
            if strict or isinstance(error, _SettingsError):
                raise
            return base | {"status": "skipped", "reason": str(error)}, {}
        record: Record = {"label": label, "neuron": neuron, "logit": scene.logit}
        record["results"] = results
        return base | {"status": "kept"} | record, self._for_figure(sample, heatmaps)

    def maps(self, position: int) -> Maps:
        """The pixels (under "") and the heat map of each method of an image that can be measured."""
        sample = self.dataset.read(position, self.loaded.input_size)
        x, logits = self._classified(sample)
        neuron = int(np.argmax(logits))
        return self._for_figure(sample, self._heatmaps(sample, position, x, neuron)[0])

    def protocol(self) -> dict[str, Any]:
        """Everything that the results depend on, as JSON knows it."""
        return protocol(self.settings, self.dataset, self.backend, len(self.positions))

    def _classified(self, sample: Sample) -> tuple[NDArray[np.float32], NDArray[np.floating]]:
        """The model's input, and its logits."""
        x = self.loaded.preprocess(sample.image[np.newaxis])[0]
        return x, self.backend.logits(x[np.newaxis])[0]

    def _heatmaps(
        self, sample: Sample, position: int, x: NDArray[np.float32], neuron: int
    ) -> tuple[Maps, Maps]:
        """The heat map of each row, and the relevance of each method."""
        relevances = {
            title: _finite(title, explain(x, neuron)) for title, explain in self._explainers.items()
        }
        heatmaps = {title: maps.heatmap(relevance) for title, relevance in relevances.items()}
        if self.settings.controls:
            size = sample.image.shape[:2]
            heatmaps[RANDOM] = random_map(size, self.settings.seed, position)
            heatmaps[MEAN_SHIFTED] = mean_shifted(heatmaps[SHIFTED_METHOD])
            heatmaps[EDGES] = edges(sample.image)
        return {row.title: heatmaps[row.title] for row in self.rows}, relevances

    def _heatmap(
        self, row: Method, position: int, pixels: NDArray[np.uint8], neuron: int
    ) -> NDArray[Any]:
        """The heat map of a row, of other pixels or another neuron than the sample's."""
        if row.title == RANDOM:
            return random_map(pixels.shape[:2], self.settings.seed, position)
        if row.title == EDGES:
            return edges(pixels)
        title = SHIFTED_METHOD if row.title == MEAN_SHIFTED else row.title
        explain = self._explainers_at(pixels.shape[:2])[title]
        x = self.loaded.preprocess(pixels[np.newaxis])[0]
        heatmap = maps.heatmap(_finite(title, explain(x, neuron)))
        return mean_shifted(heatmap) if row.title == MEAN_SHIFTED else heatmap

    def _heatmaps_of_inputs(
        self,
        row: Method,
        position: int,
        neuron: int,
        x: NDArray[np.float32],
        stage: str | None = None,
    ) -> NDArray[np.floating]:
        """The heat maps of a row, of other inputs than the sample's, or by a randomised model."""
        if row.title == RANDOM:
            noise = random_map(x.shape[1:3], self.settings.seed, position)
            return np.stack([noise] * len(x))
        title = SHIFTED_METHOD if row.title == MEAN_SHIFTED else row.title
        explain = (self._explainers if stage is None else self._randomised[stage])[title]
        heatmaps = [maps.heatmap(_finite(title, explain(one, neuron))) for one in x]
        return np.stack(list(map(mean_shifted, heatmaps)) if title != row.title else heatmaps)

    def _explainers_at(self, size: Size) -> dict[str, Explain]:
        """The explainers of images of a size, which may be larger than the model's own."""
        if self.loaded.input_size in (None, size):
            return self._explainers
        if size not in self._enlarged:
            self._enlarged[size] = self._explainers_of(self.backend.enlarged(size))
        return self._enlarged[size]

    def _explainers_of(self, backend: Backend) -> dict[str, Explain]:
        return {title: backend.explainer(method) for title, method in self._methods.items()}

    def _other_neuron(self, position: int, neuron: int, count: int) -> int | None:
        """Another neuron, the same for the same seed and place in the data set."""
        if count < 2:
            return None
        generator = np.random.default_rng([self.settings.seed, position, 2])
        return int((neuron + generator.integers(1, count)) % count)

    def _grid(self, position: int, logits: NDArray[np.floating], size: Size) -> Grid | None:
        """The image between others; None where the model is not sure of it, or of too few others."""
        neuron = int(np.argmax(logits))
        rows, columns = shape = self.settings.grid_shape
        if _probability(logits) < self.settings.grid_confidence:
            return None
        generator = np.random.default_rng([self.settings.seed, position, 3])
        place = int(generator.integers(rows * columns))
        order = generator.permutation(len(self.dataset.names))
        others = companions(neuron, rows * columns - 1, map(int, order), self._sure_of)
        if len(others) < rows * columns - 1:
            return None
        positions = [*others[:place], position, *others[place:]]
        if self.settings.grid_cells == "full":
            size = size[0] * rows, size[1] * columns
        return make_grid(positions, place, shape, size, self._pixels)

    def _pixels(self, position: int, size: Size) -> NDArray[np.uint8]:
        return self.dataset.read(position, size).image

    def _sure_of(self, position: int) -> int | None:
        """The neuron of an image that is classified right and surely; None for others."""
        if position not in self._surely:
            self._surely[position] = None
            with contextlib.suppress(InputError):
                sample = self.dataset.read(position, self.loaded.input_size)
                self._check_classes(sample)
                _, logits = self._classified(sample)
                neuron = int(np.argmax(logits))
                sure = _probability(logits) >= self.settings.grid_confidence
                if sure and self._target(sample, neuron) is not None:
                    self._surely[position] = neuron
        return self._surely[position]

    def _for_figure(self, sample: Sample, heatmaps: Maps) -> Maps:
        """The pixels, and the maps that are worth a look: noise is not, and edges show the photo."""
        photo = {"": sample.image} if self.settings.photos else {}
        shown = {title: m for title, m in heatmaps.items() if title not in (RANDOM, EDGES)}
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
            sample = self.dataset.read(self.positions[0], self.loaded.input_size)
            self._check_classes(sample)
        except _SettingsError:
            raise
        except InputError:
            return  # It will be skipped.
        for metric in chosen(self.settings.metrics):
            metric.check(sample)

    def _target(self, sample: Sample, neuron: int) -> tuple[str | None, NDArray[np.bool_]] | None:
        """The object that is explained and its mask; None if the image is to be left out."""
        everything = np.logical_or.reduce(list(sample.objects.values()))
        if NO_CLASS in sample.objects or self.classes is None:
            return None if self.classes is None else self._class(neuron), everything
        label = self.classes[neuron]
        if label in sample.objects:
            own = self.settings.foreground == "class"
            return label, sample.objects[label] if own else everything
        return (label, everything) if self.settings.keep == "all" else None

    def _class(self, neuron: int) -> str:
        return self.classes[neuron] if self.classes else str(neuron)

    def _replacement(
        self, sample: Sample, position: int, x: NDArray[np.float32]
    ) -> NDArray[np.float32] | float | perturbation.Impute:
        kind = self.settings.replacement
        if kind == "blur":
            return perturbation.blurred(x)
        if kind == "road":
            seed = [self.settings.seed, position, 1]
            noise = 0.01 * float(x.std())
            return functools.partial(perturbation.noisy_linear_imputation, noise=noise, seed=seed)
        if kind == "zero":
            return 0.0
        if kind == "mean":
            return x.mean(axis=(0, 1))
        pixels = np.full_like(sample.image, self.settings.grey or 0)
        if kind == "uniform":
            generator = np.random.default_rng([self.settings.seed, position, 1])
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


def _probability(logits: NDArray[np.floating]) -> float:
    """The softmax of the largest logit."""
    return float(1 / np.exp(np.float64(logits) - logits.max()).sum())


def _listed(objects: Mapping[str, Any]) -> str:
    return ", ".join(objects)
