"""An atlas: for each channel of a layer, the images in which it has the largest relevance."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.benchmark.store import Store
from rap_keras.errors import InputError
from rap_keras.support.files import write_arrays
from rap_keras.support.options import read_integer
from rap_keras.support.reading import read_headed
from rap_keras.support.text import counted
from rap_keras.support.warn import warn

FILE = "atlas.npz"
LARGEST_CROP = 0.5
"""The largest side of a crop as a share of the image's; deep receptive fields cover whole images."""
_TOGETHER = 256  # images that are compared at once

Box = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True)
class Reference:
    """An image in which a channel has large relevance.

    Attributes:
        name: The name of the file in the folder of the atlas, or the number of the image.
        number: The number of the image among those that were fitted.
        relevance: The largest relevance of the channel at one position.
        neuron: The explained class.
        position: That position, such as (row, column); () without positions.
        box: The receptive field of the position in the resized image, (top, left, bottom, right), at
            most half as high and wide as the image. None if it is not known.

    Example:
        >>> import tempfile
        >>> images = rap_keras.datasets.cluttered_digits(4).images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     atlas = rap_keras.concepts.fit("bundled:vgg", images, folder, "block3_conv2")
        >>> references = [one for unit in range(len(atlas)) for one in atlas.references(unit)]
        >>> all(one.relevance > 0 for one in references)
        True
    """

    name: str
    number: int
    relevance: float
    neuron: int
    position: tuple[int, ...]
    box: Box | None


@dataclass(frozen=True, eq=False, repr=False)
class Atlas:
    """The images in which each channel, neuron or head of a layer has the largest relevance.

    `rap_keras.concepts.fit` makes it and `load` reads it.

    Attributes:
        about: The model, the layer, the method and everything else that it depends on.
        relevance: The relevance of the references, the largest first, `(units, count)`; 0 where there
            are fewer with positive relevance.
        numbers: The numbers of their images, int64 `(units, count)`; -1 where there is none.
        positions: Where the relevance is, int32 `(units, count, axes)`.
        neurons: The explained classes, int64 `(units, count)`.
        names: The names of these images by their numbers.

    Example:
        >>> import tempfile
        >>> images = rap_keras.datasets.cluttered_digits(4).images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = rap_keras.concepts.fit("bundled:vgg", images, folder, "block3_conv2", count=2)
        ...     atlas = rap_keras.concepts.load(folder)
        >>> atlas.layer, atlas.relevance.shape
        ('block3_conv2', (48, 2))
    """

    about: Mapping[str, Any]
    relevance: NDArray[np.floating]
    numbers: NDArray[np.int64]
    positions: NDArray[np.int32]
    neurons: NDArray[np.int64]
    names: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.relevance)

    @property
    def layer(self) -> str:
        """The name of the layer."""
        return self.about["layer"]

    @property
    def kind(self) -> str:
        """The name of its units, "channel", "neuron" or "head"."""
        return self.about["unit"]

    def references(self, unit: int, count: int | None = None) -> list[Reference]:
        """The images in which a unit has the largest relevance, the largest first.

        Args:
            unit: The number of the channel, neuron or head.
            count: At most this many; None: all.

        Raises:
            InputError: There is no such unit, or count is not a positive integer.
        """
        if count is not None:
            count = read_integer("count", count, 1)
        if not 0 <= unit < len(self):
            raise InputError(
                f"Expected a {self.kind} from 0 to {len(self) - 1}, got {unit}.", "unit"
            )
        return list(self._references(unit))[:count]

    def _references(self, unit: int) -> Iterator[Reference]:
        for k, number in enumerate(self.numbers[unit].tolist()):
            if number >= 0:
                position = tuple(self.positions[unit, k].tolist())
                yield Reference(
                    self.names[number],
                    number,
                    float(self.relevance[unit, k]),
                    int(self.neurons[unit, k]),
                    position,
                    self._box(position),
                )

    def _box(self, position: Sequence[int]) -> Box | None:
        fields = self.about["fields"]
        if fields is None:
            return None
        starts, ends = [], []
        for k, (place, pixels) in enumerate(zip(position, self.about["input_size"], strict=True)):
            size = max(round(min(fields["size"][k], LARGEST_CROP * pixels)), 1)
            centre = fields["first"][k] + fields["step"][k] * place
            start = min(max(round(centre - (size - 1) / 2), 0), pixels - size)
            starts.append(start)
            ends.append(start + size)
        return starts[0], starts[1], ends[0], ends[1]

    def save(self, folder: Path) -> "Atlas":
        """Writes `atlas.npz` to a folder.

        Raises:
            InputError: It cannot be written.
        """
        names = {str(number): name for number, name in self.names.items()}
        header = {"kind": "concepts", "about": dict(self.about), "names": names}
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        write_arrays(folder / FILE, header, arrays)
        return self

    def __repr__(self) -> str:
        about = self.about
        units = counted(len(self), self.kind)
        images = counted(about["images"], "image")
        return f"<{units} of {self.layer}, {about['model']}, {about['method']}, {images}>"


_ENTRIES = {
    *("layer", "unit", "units", "count", "fields", "input_size", "images", "folder"),
    *("model", "request", "weights_crc32", "method", "fit", "output", "preprocess_crc32"),
}
_ARRAYS = {"relevance": "f", "numbers": "i", "positions": "i", "neurons": "i"}


def load(folder: str | Path) -> Atlas:
    """Reads an atlas.

    Args:
        folder: The folder that `fit` or `merge` wrote.

    Returns:
        The atlas.

    Raises:
        InputError: There is no complete atlas, or it cannot be read.

    Example:
        >>> import tempfile
        >>> images = rap_keras.datasets.cluttered_digits(4).images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = rap_keras.concepts.fit("bundled:vgg", images, folder, "block3_conv2")
        ...     rap_keras.concepts.load(folder)
        <48 channels of block3_conv2, bundled:vgg, rap, 4 images>
    """
    path = Path(folder) / FILE
    header, arrays = read_headed(path, "concepts", {"about": dict, "names": dict})
    sentence = f"Expected a file with concepts, got {str(path)!r}, which contains something else"
    about, names = header["about"], header["names"]
    size, count = about.get("units"), about.get("count")
    kinds = {name: array.dtype.kind for name, array in arrays.items()}
    shapes = [arrays[name].shape[:2] for name in arrays]
    missing = _ENTRIES - about.keys()
    if kinds != _ARRAYS or set(shapes) != {(size, count)} or missing:
        raise InputError(f"{sentence}.")
    known = {int(number): name for number, name in names.items() if number.isdecimal()}
    if not known.keys() >= set(arrays["numbers"].ravel().tolist()) - {-1}:
        raise InputError(f"{sentence}.")
    named: dict[str, Any] = dict(arrays)
    return Atlas(about, **named, names=known)


def from_store(store: Store) -> Atlas:
    """The atlas of a store. It is an error if no image was read."""
    about = {key: value for key, value in store.protocol.items() if key != "shard"}
    images = store.images()
    records = {one["position"]: one for one in images if one["status"] == "kept"}
    skipped = [one for one in images if one["status"] == "skipped"]
    if not records:
        raise InputError(
            f"Expected images to fit an atlas to, but all were left out. {skipped[0]['reason']}"
        )
    if skipped:
        warn(f"{counted(len(skipped), 'image')} left out. The first: {skipped[0]['reason']}")
    atlas: Atlas | None = None
    positions = list(records)
    for first in range(0, len(positions), _TOGETHER):
        atlas = _with(atlas, about, store, records, positions[first : first + _TOGETHER])
    assert atlas is not None
    used = sorted(set(atlas.numbers.ravel().tolist()) - {-1})
    return dataclasses.replace(atlas, names={number: records[number]["name"] for number in used})


def _with(
    atlas: Atlas | None,
    about: Mapping[str, Any],
    store: Store,
    records: Mapping[int, Mapping[str, Any]],
    positions: Sequence[int],
) -> Atlas:
    """An atlas with more images, which follow those that it has. Equal ones keep their order."""
    maps = [store.maps_of(position) for position in positions]
    relevance = np.stack([one["relevance"] for one in maps], 1)
    places = np.stack([one["position"] for one in maps], 1)
    numbers = np.broadcast_to(np.array(positions, np.int64), relevance.shape)
    neurons = np.array([records[position]["neuron"] for position in positions], np.int64)
    parts = [relevance, numbers, places, np.broadcast_to(neurons, relevance.shape)]
    if atlas is None:
        count = about["count"]
        empty = [np.zeros((len(p), count, *p.shape[2:]), p.dtype) for p in parts]
        empty[1] -= 1
    else:
        empty = [atlas.relevance, atlas.numbers, atlas.positions, atlas.neurons]
    joined = [np.concatenate(pair, 1) for pair in zip(empty, parts, strict=True)]
    order = np.argsort(-joined[0], 1, kind="stable")[:, : about["count"]]
    chosen = [
        np.take_along_axis(p, order.reshape(*order.shape, *[1] * (p.ndim - 2)), 1) for p in joined
    ]
    named: dict[str, Any] = dict(zip(_ARRAYS, chosen, strict=True))
    return Atlas(about, **named, names={})
