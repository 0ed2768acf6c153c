"""The relevance of the channels of a layer in chunks of images."""

import platform
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.backends.network import broken_weights
from rap_keras.benchmark.explainers import device, native_versions
from rap_keras.benchmark.measure import Chunk, Measured, Unread, divided
from rap_keras.benchmark.protocol import weights_checksum
from rap_keras.concepts.settings import ModelRequest, Settings, relative_names
from rap_keras.errors import InputError
from rap_keras.models.loaded import LoadedModel
from rap_keras.network.feature_maps import feature_maps, read_layer
from rap_keras.network.graph import Graph
from rap_keras.network.receptive_fields import centres
from rap_keras.network.units import Units, find_units
from rap_keras.pipeline.explainer import Explainer
from rap_keras.pipeline.images import Source, pixels_of
from rap_keras.pipeline.target import selected
from rap_keras.support.options import as_json
from rap_keras.version import __version__

Pixels = tuple[int, NDArray[np.uint8]]


class Channels:
    """A model with a layer, a method and images, ready to measure; the `Bench` of an atlas.

    `request` is the model by its name, and None if it is given. `chunks` has the positions of the
    images, chunk by chunk.
    """

    most_maps: int | None = None

    def __init__(
        self,
        request: ModelRequest | None,
        sources: Sequence[Source],
        settings: Settings,
        loaded: LoadedModel | None = None,
    ) -> None:
        if loaded is None:
            assert request is not None
            loaded = request.load()
        loaded.check_classifier()
        if loaded.input_size is None:
            raise InputError(
                f"Expected a size for the images, because {loaded.name} accepts any: pass size=N.",
                "size",
            )
        self.loaded, self._size = loaded, loaded.input_size
        self._request, self._sources, self._settings = request, sources, settings
        graph = loaded.network.graph
        name = settings.layer
        self.layer = read_layer(graph, None, "concepts").name if name is None else name
        self.units = find_units(graph, self.layer)
        # One batch per chunk, so that the division into shards makes no difference.
        self._explainer = Explainer(
            loaded, settings.spec, batch_size=settings.chunk, check_finite=False
        )
        self._device = device()
        self.chunks = divided(range(len(sources)), settings.chunk)
        self._folder, self._names = _names(sources)

    def protocol(self) -> dict[str, Any]:
        """Everything that the results depend on, JSON-serialisable."""
        names = "\0".join(self._names).encode(errors="surrogateescape")
        return {
            "kind": "concepts",
            "rap_keras": __version__,
            "versions": {"python": platform.python_version(), "numpy": np.__version__}
            | native_versions(),
            "device": self._device,
            "request": None
            if self._request is None
            else {name: as_json(value) for name, value in asdict(self._request).items()},
            "model": self.loaded.name,
            "weights_crc32": weights_checksum(map(np.asarray, self.loaded.model.weights)),
            "input_size": self.loaded.input_size,
            "preprocess_crc32": preprocessing_checksum(self.loaded, self._size),
            "output": self.loaded.output,
            **asdict(self._settings),
            "layer": self.layer,
            "unit": self.units.kind,
            "units": self.units.count,
            "fields": receptive_fields(self.loaded.network.graph, self.units),
            "images": len(self._sources),
            "data_crc32": _pixels_checksum(self._sources, zlib.crc32(names)),
            "folder": self._folder,
        }

    def read(self, chunk: Chunk) -> list[Pixels | Unread]:
        """Reads the images of a chunk; errors take the places of their images."""
        readings: list[Pixels | Unread] = []
        size, fit = self.loaded.input_size, self._settings.fit
        for position in chunk:
            try:
                readings.append((position, pixels_of(self._sources[position], size, fit)))
            except InputError as error:
                readings.append(Unread(position, error))
        return readings

    def measure(self, readings: Sequence[Pixels | Unread], strict: bool = False) -> list[Measured]:
        """Measures the images of a chunk together: a record of each image and the arrays to store.

        Images that cannot be read, or whose relevance is not finite, are skipped, or, with `strict`,
        raise their errors.
        """
        measured: list[Measured] = []

        def skip(position: int, error: InputError) -> None:
            if strict:
                raise error
            record = {"status": "skipped", "reason": str(error)}
            measured.append((self._base(position) | record, {}))

        for reading in readings:
            if isinstance(reading, Unread):
                skip(reading.position, reading.error)
        kept = [reading for reading in readings if not isinstance(reading, Unread)]
        if kept:
            x = self.loaded.preprocess(np.stack([pixels for _, pixels in kept]))
            target = selected(self.loaded, x, self._settings.target)
            found = self._explainer.analyzer.concepts(x, self.layer, target)
            logits, neurons = found.explanation.explained_logits, found.explanation.neurons
            assert neurons is not None  # one class is explained
            for k, (position, _) in enumerate(kept):
                of_image = {"status": "kept", "neuron": int(neurons[k]), "logit": float(logits[k])}
                arrays = {"relevance": found.largest[k], "position": found.positions[k]}
                if np.isfinite([logits[k], *found.relevance[k], *found.largest[k]]).all():
                    measured.append((self._base(position) | of_image, arrays))
                else:
                    skip(position, self._not_finite(position))
        return sorted(measured, key=lambda one: one[0]["position"])

    def _not_finite(self, position: int) -> InputError:
        """The error about an image; raises that about the weights, if they are the cause."""
        error = broken_weights((w.path, np.asarray(w)) for w in self.loaded.model.weights)
        if error is not None:
            raise error
        return InputError(
            f"Expected finite relevance of the image {self._names[position]!r}, got NaN or infinity: "
            "leave the image out, or check its preprocessing."
        )

    def _base(self, position: int) -> dict[str, Any]:
        return {"position": position, "name": self._names[position]}


def preprocessing_checksum(loaded: LoadedModel, size: Sequence[int]) -> int:
    """The CRC-32 of what a model's preprocessing makes of one image, to three digits."""
    image = np.arange(3 * size[0] * size[1]).astype(np.uint8).reshape(1, *size, 3)
    made = np.asarray(loaded.preprocess(image), np.float64)
    return zlib.crc32((made.round(3) + 0.0).tobytes())  # not -0


def receptive_fields(graph: Graph, units: Units) -> dict[str, list[float]] | None:
    """The receptive fields of a layer's positions, in pixels, for rows and columns; None if unknown.

    The centre of the first, the distance between centres, and the size; see `network.receptive_fields`.
    """
    sizes = [graph.shapes[slot][1:-1] for slot in graph.inputs]
    if units.kind != "channel" or len(sizes) != 1 or len(sizes[0]) != 2 or None in sizes[0]:
        return None
    maps = feature_maps(graph, graph.inputs[0])
    if not any(units.node in one.nodes for one in maps):
        return None

    def size_of(slot: int) -> Any:
        return graph.shapes[slot][1:3]

    try:
        axes = centres(graph, units.slot, size_of)
    except InputError:
        return None
    names = ("first", "step", "size")
    return {name: [float(getattr(axis, name)) for axis in axes] for name in names}


def _names(sources: Sequence[Source]) -> tuple[str | None, list[str]]:
    """The folder of files and their names in it; the numbers of pixels."""
    paths = [source for source in sources if isinstance(source, Path)]
    if len(paths) < len(sources):
        return None, [str(k) for k in range(len(sources))]
    folder, names = relative_names(paths)
    return str(folder), names


def _pixels_checksum(sources: Sequence[Source], checksum: int) -> int:
    """The CRC-32 of images that are given as pixels."""
    for source in sources:
        if not isinstance(source, Path):
            checksum = zlib.crc32(np.ascontiguousarray(source).tobytes(), checksum)
    return checksum
