"""Image files: which ones are meant, and their pixels as RGB."""

import contextlib
import glob
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from rap_keras.errors import InputError
from rap_keras.support.fitting import fitted
from rap_keras.support.image_faults import fault_of
from rap_keras.support.quiet import unheard
from rap_keras.support.reading import opened

# What a folder or a pattern is searched for; a file that is named may have any ending.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
LYING = (5, 6, 7, 8)
"""The orientations of EXIF whose rows are the columns of the upright image."""
MOST_PIXELS = 100_000_000
"""The pixels of an image that are decoded at most: Pillow takes 4 bytes for each, or 8."""


def collect_images(sources: Iterable[str | Path]) -> list[Path]:
    """Finds image files: sorted, each once even if it was named twice.

    Args:
        sources: Files, folders (the image files right in them) and patterns such as
            `photos/**/*.jpg`.

    Raises:
        InputError: If a source does not exist or holds no image.
    """
    found: dict[str, Path] = {}
    for source in sources:
        for path in _files(source):
            found.setdefault(os.path.realpath(path), path)
    return sorted(found.values())


def read_image(
    path: str | Path, size: tuple[int, int] | None = None, fit: str = "warp"
) -> NDArray[np.uint8]:
    """The pixels `(height, width, 3)` of an image file, RGB, turned upright where its EXIF data say how.

    Args:
        path: The image file; of several frames the first is read.
        size: The `(height, width)` to bring the image to; default: its own.
        fit: How, one of `rap_keras.support.fitting.FITS`.

    Raises:
        InputError: If the file is missing, no image, or has more than `MOST_PIXELS` pixels.
    """
    with open_image(path, size=size) as file:
        ImageOps.exif_transpose(file, in_place=True)
        image = _rgb(file, path)
        return np.array(image if size is None else fitted(image, size, fit))


def check_image(path: str | Path) -> None:
    """Refuses a file that is no image by its first bytes; the pixels are not read.

    Raises:
        InputError: If the file is missing, does not begin as an image that can be read, or has too many
            pixels even if it is warped.
    """
    with open_image(path, size=(1, 1)) as file:
        _check_mode(file, path)


def size_of(path: str | Path) -> tuple[int, int]:
    """The `(height, width)` of an image, upright, as `read_image` gives it."""
    with open_image(path, size=(1, 1)) as file:
        size = (file.height, file.width)
        return size[::-1] if file.getexif().get(ExifTags.Base.Orientation) in LYING else size


def has_alpha(path: str | Path) -> bool:
    """Whether an image has transparent colours, which `read_image` leaves out."""
    with open_image(path, size=(1, 1)) as file:
        return file.has_transparency_data


@contextlib.contextmanager
def open_image(
    path: str | Path, subject: str = "", size: tuple[int, int] | None = None
) -> Iterator[Image.Image]:
    """An image file whose pixels are not read yet; an error raised inside becomes one sentence.

    Args:
        path: The image file.
        subject: What messages begin with; default: the image and its path.
        size: The `(height, width)` that it will be warped to. A JPEG of more than `MOST_PIXELS` then
            gives a half, a quarter or an eighth of its width and height, as far as that is more.

    Raises:
        InputError: If the file is missing, is no image that can be read, or has too many pixels.
    """
    subject = subject or f"The image {str(path)!r}"
    large = f"{subject} has more than {MOST_PIXELS // 10**6} megapixels, which are read at most"
    with opened(path, "image") as stream:
        recognised = False
        try:
            # What Pillow has to say of odd metadata or of many pixels does not concern the result.
            with unheard(), Image.open(stream) as file:
                recognised = True
                if size is not None and math.prod(file.size) > MOST_PIXELS:
                    file.draft(None, (max(size), max(size)))  # it may be turned yet
                if math.prod(file.size) > MOST_PIXELS:
                    raise InputError(f"{large}; save it smaller.")
                yield file
        except InputError:
            raise
        except Image.DecompressionBombError:
            raise InputError(f"{large}; save it smaller.") from None
        except Exception as error:  # on damaged files, Pillow's decoders raise nearly anything
            raise InputError(f"{subject} {fault_of(stream, error, recognised)}.") from error


def warp_image(
    image: NDArray[np.uint8], size: tuple[int, int] | None, fit: str = "warp"
) -> NDArray[np.uint8]:
    """The pixels `(height, width, 3)` at another `(height, width)`; at `None` as they are."""
    if size is None:
        return image
    return np.array(fitted(Image.fromarray(image), size, fit))


def as_rgb(image: Any) -> NDArray[np.uint8]:
    """An image of Pillow, or an array uint8 `(height, width)`, with 1 or 3 channels or without, as RGB.

    Raises:
        InputError: It is something else.
    """
    if isinstance(image, Image.Image):
        return np.array(_rgb(image, getattr(image, "filename", "")))
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise InputError(
            "Expected an image to be a file, one of Pillow, or pixels uint8 (height, width, 3) or "
            f"(height, width), got {_described(image, array)}.",
            "images",
        )
    if 0 in array.shape:
        raise InputError(f"Expected an image with pixels, got the shape {array.shape}.", "images")
    return array if array.ndim == 3 else np.stack([array] * 3, -1)


def _described(image: Any, array: NDArray[Any]) -> str:
    if array.dtype == object or not array.ndim:
        return type(image).__name__
    return f"{array.dtype} of shape {array.shape}"


def _files(source: str | Path) -> list[Path]:
    if not str(source).strip():  # as an unset variable of a shell leaves it
        raise InputError("Expected the name of an image or a folder, got an empty text.")
    source = Path(source)
    if os.path.isdir(source):
        try:
            files = [path for path in source.iterdir() if _is_image_file(path)]
        except OSError:
            raise InputError(f"The folder {str(source)!r} cannot be read.") from None
        if not files:
            raise InputError(f"The folder {str(source)!r} holds no image ({', '.join(SUFFIXES)}).")
        return files
    if os.path.exists(source):
        return [source]
    if not glob.has_magic(str(source)):
        raise InputError(f"There is no image or folder {str(source)!r}.")
    matches = map(Path, glob.glob(str(source), recursive=True))
    files = [path for path in matches if _is_image_file(path)]
    if not files:
        raise InputError(f"No image matches {str(source)!r}.")
    return files


def _is_image_file(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and os.path.isfile(path)


def _rgb(image: Image.Image, path: str | Path) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow clips 16 bits to 8 instead of scaling them.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    _check_mode(image, path)
    return image if image.mode == "RGB" else image.convert("RGB")


def _check_mode(image: Image.Image, path: str | Path) -> None:
    if image.mode in ("I", "F"):
        raise InputError(
            f"The image {str(path)!r} has pixels of no known range (mode {image.mode!r}); "
            "save it with 8 or 16 bits."
        )
