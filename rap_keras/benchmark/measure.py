"""Measures chunks of images or of inputs of mechanism tests: every method on the same ones."""

import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from rap_keras.benchmark import checks
from rap_keras.benchmark.explainers import open_backend
from rap_keras.benchmark.grids import shape_of
from rap_keras.benchmark.maps import MapMaker
from rap_keras.benchmark.metrics import METRICS, Reading, Scene, View, chosen
from rap_keras.benchmark.metrics.metric import measured as measured_by
from rap_keras.benchmark.metrics.units import metric_of
from rap_keras.benchmark.protocol import methods_of, of_any_data, weights_checksum
from rap_keras.benchmark.rows import EDGES, RANDOM
from rap_keras.benchmark.scenes import Misclassified, Scenes, SettingsError
from rap_keras.benchmark.seeds import Purpose, seed_of
from rap_keras.benchmark.settings import Settings
from rap_keras.benchmark.store import Maps
from rap_keras.benchmark.units import UNITS, Drawn, Unit
from rap_keras.benchmark.validation import measured as measured_degraded
from rap_keras.datasets import Sample
from rap_keras.errors import InputError
from rap_keras.evaluation.reading import cell_numbers
from rap_keras.models.loaded import LoadedModel

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
        # A worker may lack metrics that were added in the user's process.
        checks.metrics("metrics", settings.metrics)
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


class UnitBench:
    """The networks of mechanism tests with all methods, ready to measure; see `Bench`.

    The record of position k has the scores of the k-th input of every network. No maps are stored.
    """

    most_maps: int | None = 0

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        named = [unit for unit in UNITS.values() if metric_of(unit.name) in settings.metrics]
        self._networks = [_Network(settings, unit) for unit in named or UNITS.values()]
        self._titles = [row.title for row in settings.rows()]
        for title in self._titles:
            self._check_some(title, [network.refusals.get(title) for network in self._networks])
        self._count = checks.number_of_inputs(settings.data)
        self.chunks = divided(range(self._count), settings.chunk)

    def protocol(self) -> dict[str, Any]:
        """Everything that the results depend on, JSON-serialisable."""
        weights = (array for network in self._networks for array in network.backend.weights())
        inputs = 0
        for network in self._networks:
            for position in range(self._count):
                inputs = zlib.crc32(network.drawn(position).x.tobytes(), inputs)
        return of_any_data(self._settings, self._networks[0].backend) | {
            "weights_crc32": weights_checksum(weights),
            "inputs_crc32": inputs,
            "images": self._count,
            "neuron": "the first logit",
            "methods": methods_of(self._settings),
        }

    def read(self, chunk: Chunk) -> Sequence[int]:
        """The numbers of the inputs, which are drawn when they are measured."""
        return chunk

    def measure(self, readings: Sequence[int], strict: bool = False) -> list[Measured]:
        """Measures the inputs of a chunk together: the scores of each row, and why some are undefined.

        `strict` raises the error of a method that cannot explain one of the networks; without it, a
        method must explain one of them.
        """
        results: list[ImageRecord] = [{title: {} for title in self._titles} for _ in readings]
        undefined: dict[str, dict[str, str]] = {}
        for network in self._networks:
            metric = METRICS[metric_of(network.name)]
            for title, views in network.views([network.scene(k) for k in readings]).items():
                if not isinstance(views, InputError):
                    numbers = metric.measured(views, self._settings)
                elif strict:
                    raise views
                else:
                    undefined.setdefault(title, {})[network.name] = str(views)
                    numbers = [dict.fromkeys(metric.numbers) for _ in readings]
                for result, found in zip(results, numbers, strict=True):
                    result[title] |= found
        for title, reasons in undefined.items():
            self._check_some(title, [reasons.get(network.name) for network in self._networks])
        more = {"undefined": undefined} if undefined else {}
        return [
            ({"position": k, "name": f"input {k}", "status": "kept", "results": result} | more, {})
            for k, result in zip(readings, results, strict=True)
        ]

    def _check_some(self, title: str, refusals: Sequence[object]) -> None:
        """Refuses a method that cannot explain any of the networks."""
        if all(refusals):
            raise InputError(
                f"Expected methods that explain some of the networks, but {title} explains none: "
                f"{refusals[0]}"
            )


class _Network:
    """A network with the methods that can explain it; `refusals` has why others cannot."""

    def __init__(self, settings: Settings, unit: Unit) -> None:
        self.name, self._unit, self._seed = unit.name, unit, settings.seed
        loaded = LoadedModel(unit.build(), unit.name, (unit.size, unit.size), np.asarray)
        self.backend = open_backend(settings, loaded)
        self.refusals: dict[str, InputError] = {}
        self._makers: dict[str, MapMaker] = {}
        # One for each row, because a method may explain one network and not another.
        for row in settings.rows():
            try:
                self._makers[row.title] = MapMaker(settings, self.backend, [row])
            except InputError as error:
                self.refusals[row.title] = error

    def drawn(self, position: int) -> Drawn:
        """The input of a number."""
        seed = [*seed_of(self._seed, position, Purpose.UNITS), zlib.crc32(self.name.encode())]
        return self._unit.draw(seed)

    def scene(self, position: int) -> Scene:
        """The input as metrics see it."""
        drawn = self.drawn(position)
        image = (255 * drawn.x / drawn.x.max()).astype(np.uint8)
        cell = self._unit.cell
        mask = drawn.truth.repeat(cell, 0).repeat(cell, 1) != 0
        return Scene(
            position=position,
            sample=Sample(self.name, image, {}, np.zeros_like(mask)),
            x=drawn.x,
            label=None,
            mask=mask,
            target=0,
            logits=self.backend.logits(drawn.x[np.newaxis])[0],
            head="softmax",
            predict=self.backend.logits,
            replacements={"zero": 0.0},
            truth=drawn.truth,
        )

    def views(self, scenes: Sequence[Scene]) -> dict[str, list[View] | InputError]:
        """The maps of each row by its title, or why there are none."""
        found: dict[str, list[View] | InputError] = {**self.refusals}
        with warnings.catch_warnings():
            # The score shows it.
            warnings.filterwarnings("ignore", message="The map of .* is zero everywhere")
            for title, maker in self._makers.items():
                try:
                    found |= maker.views(scenes)
                except InputError as error:
                    found[title] = error
        return found
