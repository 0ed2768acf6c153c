"""Measures one image after another: every method on the same image, neuron and preprocessing."""

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
from rap_keras.benchmark.explainers import Explain, open_backend
from rap_keras.benchmark.methods import Method
from rap_keras.benchmark.metrics import Record, View, measured
from rap_keras.benchmark.protocol import protocol
from rap_keras.benchmark.settings import Settings
from rap_keras.datasets import NO_CLASS, Sample, open_dataset
from rap_keras.errors import InputError
from rap_keras.evaluation import maps

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
        self._explainers: dict[str, Explain] = {
            row.title: self.backend.explainer(row) for row in self.rows if not row.is_control
        }
        if settings.controls:
            title = SHIFTED_METHOD
            if title not in self._explainers:
                self._explainers[title] = self.backend.explainer(Method(title, title))

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
            x, neuron, logit = self._classified(sample)
            target = self._target(sample, neuron)
            if target is None:
                names = {"label": _listed(sample.objects), "predicted": self._class(neuron)}
                return base | {"status": "misclassified"} | names, {}
            label, mask = target
            heatmaps, relevances = self._heatmaps(sample, position, x, neuron)
            replacement = self._replacement(sample, position, x)
            views = {
                row.title: View(
                    self.settings,
                    relevances.get(row.title),
                    heatmaps[row.title],
                    mask,
                    sample.void,
                    self.settings.threshold(row),
                    x,
                    neuron,
                    logit,
                    row.is_contrasted,
                    replacement,
                    self.backend.logits,
                )
                for row in self.rows
            }
            results = {
                title: measured(view, self.settings.metrics) for title, view in views.items()
            }
        except InputError as error:
            if strict or isinstance(error, _SettingsError):
                raise
            return base | {"status": "skipped", "reason": str(error)}, {}
        record: Record = {"label": label, "neuron": neuron, "logit": logit, "results": results}
        return base | {"status": "kept"} | record, self._for_figure(sample, heatmaps)

    def maps(self, position: int) -> Maps:
        """The pixels (under "") and the heat map of each method of an image that can be measured."""
        sample = self.dataset.read(position, self.loaded.input_size)
        x, neuron, _ = self._classified(sample)
        return self._for_figure(sample, self._heatmaps(sample, position, x, neuron)[0])

    def protocol(self) -> dict[str, Any]:
        """Everything that the results depend on, as JSON knows it."""
        return protocol(self.settings, self.dataset, self.backend, len(self.positions))

    def _classified(self, sample: Sample) -> tuple[NDArray[np.float32], int, float]:
        """The model's input, its neuron with the largest logit, and that."""
        x = self.loaded.preprocess(sample.image[np.newaxis])[0]
        logits = self.backend.logits(x[np.newaxis])[0]
        neuron = int(np.argmax(logits))
        return x, neuron, float(logits[neuron])

    def _heatmaps(
        self, sample: Sample, position: int, x: NDArray[np.float32], neuron: int
    ) -> tuple[Maps, Maps]:
        """The heat map of each row, and the relevance of each method."""
        relevances = {title: explain(x, neuron) for title, explain in self._explainers.items()}
        for title, relevance in relevances.items():
            if not np.isfinite(relevance).all():
                raise InputError(
                    f"{title} gave relevance that is not finite; leave that method out."
                )
        heatmaps = {title: maps.heatmap(relevance) for title, relevance in relevances.items()}
        if self.settings.controls:
            size = sample.image.shape[:2]
            heatmaps[RANDOM] = random_map(size, self.settings.seed, position)
            heatmaps[MEAN_SHIFTED] = mean_shifted(heatmaps[SHIFTED_METHOD])
            heatmaps[EDGES] = edges(sample.image)
        return {row.title: heatmaps[row.title] for row in self.rows}, relevances

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
            self._check_classes(self.dataset.read(self.positions[0], self.loaded.input_size))
        except _SettingsError:
            raise
        except InputError:
            return  # It will be skipped.

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
    ) -> NDArray[np.float32] | float:
        kind = self.settings.replacement
        if kind == "zero":
            return 0.0
        if kind == "mean":
            return x.mean(axis=(0, 1))
        pixels = np.full_like(sample.image, self.settings.grey or 0)
        if kind == "uniform":
            generator = np.random.default_rng([self.settings.seed, position, 1])
            pixels = generator.integers(0, 256, sample.image.shape, np.uint8)
        return self.loaded.preprocess(pixels[np.newaxis])[0]

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
        wanted = s.steps * max(s.pixels_each_step(size), 1)
        if wanted > size[0] * size[1]:
            raise InputError(
                f"Expected at most the {size[0] * size[1]} pixels of an image to be replaced, but "
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


def _listed(objects: Mapping[str, Any]) -> str:
    return ", ".join(objects)
