"""Measures chunks of images: every method on the same images and targets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from rap_keras.benchmark.grids import shape_of
from rap_keras.benchmark.maps import MapMaker
from rap_keras.benchmark.metrics import Reading, Scene, View, chosen
from rap_keras.benchmark.metrics.metric import measured as measured_by
from rap_keras.benchmark.rows import EDGES, RANDOM
from rap_keras.benchmark.scenes import Misclassified, Scenes, SettingsError
from rap_keras.benchmark.settings import Settings
from rap_keras.benchmark.store import Maps
from rap_keras.benchmark.validation import measured as measured_degraded
from rap_keras.errors import InputError
from rap_keras.evaluation.cells import cell_numbers

T = TypeVar("T")
ImageRecord = dict[str, Any]
Measured = tuple[ImageRecord, Maps]
Chunk = tuple[int, ...]


@dataclass(frozen=True)
class Unread:
    """An image that could not be read, with the error."""

    position: int
    error: InputError


class Bench:
    """A model with its methods and a data set, ready to measure.

    The images are divided once into chunks, which are measured separately. Results do not depend on the
    other chunks, their order or the process.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.scenes = Scenes(settings)
        self.most_maps: int | None = settings.figures
        self.chunks = divided(self.scenes.drawn, settings.chunk)
        self.maker = MapMaker(settings, self.scenes.backend)
        self._metrics = chosen(settings.metrics, settings.replacement[1:])
        self._validated = frozenset(self.scenes.drawn[: settings.validate])
        input_size = self.scenes.loaded.input_size
        if "single_deletion" in settings.metrics and input_size:
            cell_numbers(input_size, shape_of(settings.deletion_grid))
        if "grid" in settings.metrics and settings.grid_cells == "full" and input_size:
            # Refuses a model or a preprocessing that does not accept larger images before the results
            # are created.
            rows, columns = shape_of(settings.grid)
            whole = input_size[0] * rows, input_size[1] * columns
            self.scenes.check_preprocessing(whole)
            self.maker.at(whole)

    def protocol(self) -> dict[str, Any]:
        """Everything that the results depend on, JSON-serialisable."""
        return self.scenes.protocol

    def read(self, chunk: Chunk) -> list[Reading | Unread]:
        """Reads the images of a chunk; errors take the places of their images."""
        readings: list[Reading | Unread] = []
        for position in chunk:
            try:
                readings.append(self.scenes.read(position))
            except InputError as error:
                readings.append(Unread(position, error))
        return readings

    def measure(self, readings: Sequence[Reading | Unread], strict: bool = False) -> list[Measured]:
        """Measures the images of a chunk together; `strict` raises errors instead of skipping images.

        The maps of a kept image are its pixels (under "", if the settings include photos) and the heat
        map of each method.
        """

        def skip(position: int, error: InputError) -> list[Measured]:
            if strict or isinstance(error, SettingsError):
                raise error
            return [(self._base(position) | {"status": "skipped", "reason": str(error)}, {})]

        measured = by_size(readings, self._together, skip)
        found = {record["position"]: (record, maps) for record, maps in measured}
        return [found[reading.position] for reading in readings]

    def maps(self, readings: Sequence[Reading | Unread]) -> dict[int, Maps]:
        """The pixels (under "") and the heat map of each method, of the kept images of a chunk."""

        def mapped(group: Sequence[Reading]) -> list[tuple[int, Maps]]:
            scenes = self.scenes.kept(group)
            views = self.maker.views(scenes) if scenes else {}
            return [(s.position, self._for_figure(s, views, k)) for k, s in enumerate(scenes)]

        return dict(by_size(readings, mapped, lambda *_: []))

    def _base(self, position: int) -> ImageRecord:
        return {"position": position, "name": self.scenes.dataset.names[position]}

    def _together(self, group: Sequence[Reading]) -> list[Measured]:
        measured: list[Measured] = []
        scenes: list[Scene] = []
        for seen in self.scenes.see(group):
            if isinstance(seen, Misclassified):
                record = {"status": "misclassified"} | vars(seen)
                measured.append((self._base(seen.position) | record, {}))
            else:
                scenes.append(seen)
        if not scenes:
            return measured
        views = self.maker.views(scenes)
        results: list[ImageRecord] = [{} for _ in scenes]
        for title, of_row in views.items():
            numbers = measured_by(self._metrics, of_row, self.settings)
            for result, found in zip(results, numbers, strict=True):
                result[title] = found
        validation = self._validation(views)
        for k, (scene, result) in enumerate(zip(scenes, results, strict=True)):
            record = {"status": "kept", "label": scene.label, "neuron": scene.target}
            record |= {"logit": scene.logit, "results": result}
            if scene.position in validation:
                record["validation"] = validation[scene.position]
            maps = self._for_figure(scene, views, k)
            measured.append((self._base(scene.position) | record, maps))
        return measured

    def _validation(self, views: Mapping[str, Sequence[View]]) -> dict[int, dict[str, Any]]:
        """The metrics' values on degraded maps, by position and method."""
        found: dict[int, dict[str, Any]] = {}
        for row in self.maker.rows:
            those = [v for v in views[row.title] if v.scene.position in self._validated]
            if row.is_control or not those:
                continue
            values = measured_degraded(those, self._metrics, self.settings, self.protocol())
            for view, of_view in zip(those, values, strict=True):
                found.setdefault(view.scene.position, {})[row.title] = of_view
        return found

    def _for_figure(self, scene: Scene, views: Mapping[str, Sequence[View]], k: int) -> Maps:
        """The pixels and maps of the k-th image, without noise and edges, which would show the photo."""
        photo = {"": scene.sample.image} if self.settings.photos else {}
        shown = {
            title: of_row[k].heatmap.astype(np.float32)
            for title, of_row in views.items()
            if title not in (RANDOM, EDGES)
        }
        return photo | shown


def divided(positions: Sequence[int], size: int) -> Sequence[Chunk]:
    """The chunks of these positions, of which the last may be smaller."""
    return [tuple(positions[k : k + size]) for k in range(0, len(positions), size)]


def by_size(
    readings: Sequence[Reading | Unread],
    work: Callable[[Sequence[Reading]], list[T]],
    skip: Callable[[int, InputError], list[T]],
) -> list[T]:
    """Processes images of the same size together, or one by one if an image causes an error.

    `skip` returns the result of an image with an error, from its place and the error.
    """
    done = [one for r in readings if isinstance(r, Unread) for one in skip(r.position, r.error)]
    groups: dict[tuple[int, ...], list[Reading]] = {}
    for reading in readings:
        if isinstance(reading, Reading):
            groups.setdefault(reading.x.shape, []).append(reading)
    for group in groups.values():
        try:
            done += work(group)
        except InputError as error:
            if len(group) == 1 or isinstance(error, SettingsError):
                done += skip(group[0].position, error)
            else:
                done += [one for reading in group for one in by_size([reading], work, skip)]
    return done
