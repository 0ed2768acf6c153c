"""Resizes images to the input of a model, and maps back to the size of the image."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rap_keras.errors import InputError

FITS = ("warp", "crop", "pad")
"""Stretch the image; crop its middle; pad it with black bars."""

Size = tuple[int, int]


class Part(NamedTuple):
    """A rectangular part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def pixels(self) -> tuple[slice, slice]:
        """The index of the part in an array of the whole image."""
        return (slice(self.top, self.top + self.height), slice(self.left, self.left + self.width))


def check_fit(fit: str) -> None:
    """Raises an error if `fit` is not one of `FITS`."""
    if fit not in FITS:
        raise InputError(
            f"Expected fit to be {', '.join(FITS[:-1])} or {FITS[-1]}, got {fit!r}.", "fit"
        )


def fitted(
    image: Image.Image,
    size: Size,
    fit: str,
    resampling: Image.Resampling = Image.Resampling.BILINEAR,
) -> Image.Image:
    """Resizes a Pillow image to `(height, width)`."""
    source, target = _parts((image.height, image.width), size, fit)
    part = (source.left, source.top, source.left + source.width, source.top + source.height)
    kept = image if part == (0, 0, *image.size) else image.crop(part)
    resized = kept.resize((target.width, target.height), resampling)
    if target == Part(0, 0, *size):
        return resized
    whole = Image.new(image.mode, size[::-1])
    whole.paste(resized, (target.left, target.top))
    return whole


def restored(relevance: NDArray[np.floating], shape: Size, fit: str) -> NDArray[np.floating]:
    """Resizes a map `(height, width, channels)` of a fitted image to the size of the original image.

    The relevance of each pixel is distributed by bilinear interpolation, so that the map keeps its sum
    and a constant map stays constant. Relevance on the bars of "pad" is dropped. Pixels that "crop" has
    removed get 0. The dtype is kept.
    """
    source, target = _parts(shape, relevance.shape[:2], fit)
    inner = relevance[target.pixels].astype(np.float64)
    down, across = _shares(target.height, source.height), _shares(target.width, source.width)
    found = np.zeros((*shape, relevance.shape[-1]), relevance.dtype)
    found[source.pixels] = np.einsum("yi,ijc,xj->yxc", down, inner, across, optimize=True)
    return found


def _parts(shape: Size, size: Size, fit: str) -> tuple[Part, Part]:
    """Returns the part of an image that is kept, and the part of the fitted image that shows it."""
    (height, width), (rows, columns) = shape, size
    if fit == "crop":
        kept = (
            min(height, _scaled(width, rows, columns)),
            min(width, _scaled(height, columns, rows)),
        )
        return _centred(kept, shape), Part(0, 0, *size)
    if fit == "pad":
        shown = (
            min(rows, _scaled(columns, height, width)),
            min(columns, _scaled(rows, width, height)),
        )
        return Part(0, 0, *shape), _centred(shown, size)
    return Part(0, 0, *shape), Part(0, 0, *size)


def _scaled(length: int, numerator: int, denominator: int) -> int:
    return max(1, round(length * numerator / denominator))


def _centred(part: Size, within: Size) -> Part:
    return Part((within[0] - part[0]) // 2, (within[1] - part[1]) // 2, *part)


def _shares(count: int, new: int) -> NDArray[np.float64]:
    """Returns the share of each of `count` pixels in each of `new` pixels; columns sum to 1.

    It is the integral, over a new pixel, of the linear interpolation between the old pixels' centres.
    """
    if new == count:
        return np.eye(count)
    edges = np.linspace(0, count, new + 1)[:, None]
    away = np.clip(edges - (np.arange(-1, count + 1) + 0.5), -1, 1)
    up_to = 0.5 + away - away * np.abs(away) / 2  # the integral of a hat function
    shares = np.diff(up_to, axis=0)
    # Beyond the outermost centres the interpolation is constant.
    shares[:, 1] += shares[:, 0]
    shares[:, -2] += shares[:, -1]
    return shares[:, 1:-1]
