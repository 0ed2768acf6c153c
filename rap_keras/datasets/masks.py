"""Masks of objects: made from boxes, read from files, resized together with their image."""

import math
import os.path
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rap_keras.datasets.sample import Sample
from rap_keras.errors import InputError
from rap_keras.support.fitting import fitted
from rap_keras.support.images import open_image, warp_image

Size = tuple[int, int]
"""Height and width, in pixels."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Box:
    """A box around an object of a class."""

    label: str
    edges: tuple[float, float, float, float]  # x_min, y_min, x_max, y_max; pixel i ends at i + 1
    drawn_at: Size  # of the image that the edges refer to


def boxed_sample(
    name: str, image: NDArray[np.uint8], boxes: Iterable[Box], size: Size | None
) -> Sample:
    """Returns a resized image (None keeps its size), with a mask of all boxes of each class.

    Boxes are scaled from the size that they were drawn at. A pixel belongs to a box if its centre is in
    the box, or on its lower edge. A box without any centre gets the pixel at the box's centre. Boxes
    are clipped to the image.
    """
    full = image.shape[0], image.shape[1]
    size = size or full
    objects: dict[str, Mask] = {}
    for box in boxes:
        if box.drawn_at == full[::-1] != full:
            raise InputError(
                f"Expected the boxes of the image {name!r} to be drawn at its size, {_spell(full)}, got "
                f"{_spell(box.drawn_at)}, because only the image was rotated according to its EXIF "
                "data: remove the orientation from the EXIF data."
            )
        mask = objects.setdefault(box.label, np.zeros(size, bool))
        mask[_pixels(box, size, name)] = True
    return Sample(name, warp_image(image, size), objects, np.zeros(size, bool))


def read_mask(
    path: Path, name: str, modes: Collection[str], convert: str | None = None
) -> NDArray[np.uint8]:
    """Reads the values of a mask file in one of these Pillow modes; palettes are read as indices."""
    if not os.path.exists(path):
        raise InputError(
            f"Expected the mask {str(path)!r} of the image {name!r}, got no such file: add it or remove "
            "the image."
        )
    with open_image(path, f"The mask {str(path)!r} of the image {name!r}") as file:
        mode = file.mode
        values = np.array(file.convert(convert) if convert else file)
    if mode not in modes:
        raise InputError(
            f"Expected the mask {str(path)!r} of the image {name!r} to have Pillow's mode "
            f"{' or '.join(modes)}, got {mode}: save it in this mode."
        )
    return values


def masked_sample(
    name: str,
    image: NDArray[np.uint8],
    objects: Mapping[str, Mask],
    size: Size | None,
    void: Mask | None = None,
    without: Mapping[str, NDArray[np.uint8]] | None = None,
) -> Sample:
    """Returns an image with masks of the same size, all resized to another size (None keeps it).

    A class without any remaining pixel is dropped. Pixels of `void` do not count. `without` is the
    image without the object of a class, if known.
    """
    full = image.shape[:2]
    void = np.zeros(full, bool) if void is None else void
    for mask in (*objects.values(), void):
        check_size(mask, image, name)
    warped = {label: warp_mask(mask, size) for label, mask in objects.items()}
    kept = {label: mask for label, mask in warped.items() if mask.any()}
    bare = {label: warp_image(other, size) for label, other in (without or {}).items()}
    return Sample(name, warp_image(image, size), kept, warp_mask(void, size), bare)


def check_size(mask: Mask, image: NDArray[np.uint8], name: str) -> None:
    """Refuses a mask of another size than its image."""
    full = image.shape[:2]
    if mask.shape != full:
        raise InputError(
            f"Expected the mask of the image {name!r} to have the image's size, {_spell(full)}, got "
            f"{_spell(mask.shape)}: resize neither or both."
        )


def warp_mask(mask: Mask, size: Size | None, fit: str = "warp") -> Mask:
    """Resizes a mask: each pixel gets the value at its centre. None returns the mask unchanged."""
    if size is None:
        return mask
    image = Image.fromarray(mask.astype(np.uint8))
    return np.array(fitted(image, size, fit, Image.Resampling.NEAREST)).astype(bool)


def _pixels(box: Box, size: Size, name: str) -> tuple[slice, slice]:
    """Returns the rows and columns of a mask that are in a box."""
    x_min, y_min, x_max, y_max = box.edges
    height, width = box.drawn_at
    ordered = x_min <= x_max and y_min <= y_max
    inside = x_min <= width and y_min <= height and x_max >= 0 and y_max >= 0
    if not (ordered and inside and min(height, width) > 0):
        raise InputError(
            f"Expected a box (x_min, y_min, x_max, y_max) on the image {name!r} of "
            f"{_spell(box.drawn_at)}, got {box.edges}: correct its annotation."
        )
    return _span(y_min, y_max, height, size[0]), _span(x_min, x_max, width, size[1])


def _span(low: float, high: float, drawn: int, size: int) -> slice:
    low, high = max(low, 0) * size / drawn, min(high, drawn) * size / drawn
    first, stop = math.ceil(low - 0.5), math.ceil(high - 0.5)
    if first >= stop:
        first = min(int((low + high) / 2), size - 1)
        stop = first + 1
    return slice(first, stop)


def _spell(size: tuple[int, ...]) -> str:
    height, width = size
    return f"width {width} and height {height}"
