"""Measures mechanism tests: every method on networks whose relevance is known."""

import warnings
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from rap_keras.benchmark.checks import number_of_inputs
from rap_keras.benchmark.explainers import open_backend
from rap_keras.benchmark.maps import MapMaker
from rap_keras.benchmark.measure import Chunk, ImageRecord, Measured, divided
from rap_keras.benchmark.metrics import METRICS, Scene, View
from rap_keras.benchmark.metrics.units import metric_of
from rap_keras.benchmark.protocol import methods_of, of_any_data, weights_checksum
from rap_keras.benchmark.seeds import Purpose, seed_of
from rap_keras.benchmark.settings import Settings
from rap_keras.benchmark.units import UNITS, Drawn, Unit
from rap_keras.datasets import Sample
from rap_keras.errors import InputError
from rap_keras.models.loaded import LoadedModel


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
        self._count = number_of_inputs(settings.data)
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
