"""Finds image files and reads their pixels as RGB."""

import contextlib
import glob
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, features

from rap_keras.errors import InputError
from rap_keras.support.fitting import fitted
from rap_keras.support.quiet import without_warnings
from rap_keras.support.reading import opened

# The files that are found in folders and by patterns. A file that is named may have any extension.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
LYING = (5, 6, 7, 8)
"""The EXIF orientations whose rows are columns of the upright image."""
MOST_PIXELS = 100_000_000
"""The maximum number of pixels that are decoded. Pillow needs 4 or 8 bytes for each."""

_BEGIN = 1024  # bytes to inspect
# Formats that Pillow reads, by their first bytes. If Pillow rejects such a file, it is damaged.
_READ = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
# Other formats, by their first bytes.
_OTHERS = {
    rb"....ftyp(heic|heix|hevc|heim|heis|mif1|msf1)": "a HEIC image",
    rb"(\xff\x0a|\0\0\0\x0cJXL )": "a JPEG XL image",
    rb"%PDF": "a PDF document",
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg": "an SVG drawing",
    rb"\s*<(!doctype html|html)": "a web page",
    rb"PK\x03\x04": "a ZIP archive",
}
# Formats that only some builds of Pillow read.
_BUILT = {rb"....ftyp(avif|avis)": ("AVIF", "avif"), rb"RIFF....WEBP": ("WebP", "webp")}
_COPY = "copy or download it again, or leave it out"


def collect_images(sources: Iterable[str | Path]) -> list[Path]:
    """Finds image files in files, folders and patterns such as `photos/**/*.jpg`; sorted, each once."""
    found: dict[str, Path] = {}
    for source in sources:
        for path in _files(source):
            found.setdefault(os.path.realpath(path), path)
    return sorted(found.values())


def read_image(
    path: str | Path, size: tuple[int, int] | None = None, fit: str = "warp"
) -> NDArray[np.uint8]:
    """Reads the RGB pixels `(height, width, 3)` of an image file, rotated according to its EXIF data.

    Of several frames, the first is read. It is resized to `(height, width)`; None keeps its size.
    """
    with open_image(path, size=size) as file:
        ImageOps.exif_transpose(file, in_place=True)
        image = _rgb(file, path)
        return np.array(image if size is None else fitted(image, size, fit))


def check_image(path: str | Path) -> None:
    """Checks by its first bytes that a file is an image that can be read. Does not read the pixels."""
    with open_image(path, size=(1, 1)) as file:
        _check_mode(file, path)


def size_of(path: str | Path) -> tuple[int, int]:
    """Returns the `(height, width)` of the image that `read_image` returns."""
    with open_image(path, size=(1, 1)) as file:
        size = (file.height, file.width)
        if isinstance(file, TiffImagePlugin.TiffImageFile):
            tags = file.tag_v2  # newer versions of Pillow turn the size itself
            size = (tags[ExifTags.Base.ImageLength], tags[ExifTags.Base.ImageWidth])
        return size[::-1] if file.getexif().get(ExifTags.Base.Orientation) in LYING else size


def has_alpha(path: str | Path) -> bool:
    """Whether an image has transparency, which `read_image` ignores."""
    with open_image(path, size=(1, 1)) as file:
        return file.has_transparency_data


@contextlib.contextmanager
def open_image(
    path: str | Path, subject: str = "", size: tuple[int, int] | None = None
) -> Iterator[Image.Image]:
    """Opens an image file without reading its pixels. Errors inside the block become one sentence.

    `subject` is the beginning of messages. An image with more than `MOST_PIXELS` is an error, except
    for a JPEG that will be resized to a smaller `size`: it is decoded at a half, a quarter or an eighth
    of its size.
    """
    subject = subject or f"The image {str(path)!r}"
    large = f"{subject} has more than {MOST_PIXELS // 10**6} megapixels, the most that can be read"
    with opened(path, "image") as stream:
        recognised = False
        try:
            # Pillow's warnings about odd metadata or many pixels do not affect the result.
            with without_warnings(), Image.open(stream) as file:
                recognised = True
                if size is not None and math.prod(file.size) > MOST_PIXELS:
                    file.draft(None, (max(size), max(size)))  # it may be rotated later
                if math.prod(file.size) > MOST_PIXELS:
                    raise InputError(f"{large}: save it smaller.")
                yield file
        except InputError:
            raise
        except Image.DecompressionBombError:
            raise InputError(f"{large}: save it smaller.") from None
        except Exception as error:  # Pillow's decoders raise almost anything on damaged files
            raise InputError(f"{subject} {_fault_of(stream, error, recognised)}.") from error


def warp_image(
    image: NDArray[np.uint8], size: tuple[int, int] | None, fit: str = "warp"
) -> NDArray[np.uint8]:
    """Resizes pixels `(height, width, 3)` to `(height, width)`; None returns them unchanged."""
    if size is None:
        return image
    return np.array(fitted(Image.fromarray(image), size, fit))


def as_rgb(image: Any) -> NDArray[np.uint8]:
    """Converts a Pillow image, or a uint8 array `(height, width)` with or without channels, to RGB.

    A Pillow image is rotated according to its EXIF data, as in `read_image`.
    """
    if isinstance(image, Image.Image):
        return np.array(_rgb(ImageOps.exif_transpose(image), getattr(image, "filename", "")))
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise InputError(
            "Expected an image file, a Pillow image, or pixels as uint8 (height, width, 3) or (height, "
            f"width), got {_described(image, array)}.",
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
    if not str(source).strip():  # an unset shell variable
        raise InputError("Expected the name of an image or a folder, got an empty text.")
    source = Path(source)
    if os.path.isdir(source):
        try:
            files = [path for path in source.iterdir() if _is_image_file(path)]
        except OSError:
            raise InputError(
                f"The folder {str(source)!r} cannot be read: check its permissions."
            ) from None
        if not files:
            raise InputError(
                f"The folder {str(source)!r} contains no images ({', '.join(SUFFIXES)})."
            )
        return files
    if os.path.exists(source):
        return [source]
    if not glob.has_magic(str(source)):
        raise InputError(f"There is no image or folder {str(source)!r}: check its path.")
    matches = map(Path, glob.glob(str(source), recursive=True))
    files = [path for path in matches if _is_image_file(path)]
    if not files:
        raise InputError(f"No image matches {str(source)!r}: check the pattern.")
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
            f"The image {str(path)!r} has pixels of an unknown range (mode {image.mode!r}): "
            "save it with 8 or 16 bits."
        )


def _fault_of(file: BinaryIO, error: Exception, recognised: bool) -> str:
    """Describes what is wrong with a file whose format, or only its pixels, Pillow rejects."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    begin = file.read(_BEGIN)
    if not size:
        return f"is empty, a file of 0 bytes: {_COPY}"
    if not begin.strip(b"\0"):
        return f"begins with zeros instead of an image header, as after a failed copy: {_COPY}"
    if begin.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the image: fetch it with git lfs pull"
    if not recognised:
        others = [what for pattern, what in _OTHERS.items() if _matches(pattern, begin)]
        others += [f"a file of {name}" for name, there in _built(begin) if not there]
        if others:
            return f"is {others[0]}, which cannot be read here: save it as PNG or JPEG"
    known = [name for start, name in _READ.items() if begin.startswith(start)]
    known += [name for name, _ in _built(begin)]
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return f"is truncated: the file ends before its pixels do: {_COPY}"
    if recognised or known:
        what = f"an image ({known[0]})" if known else "an image"
        return f"is {what} that is truncated or damaged: {_COPY}"
    return "is not in an image format that can be read: replace it, or leave it out"


def _matches(pattern: bytes, begin: bytes) -> bool:
    return re.match(pattern, begin, re.DOTALL | re.IGNORECASE) is not None


def _built(begin: bytes) -> list[tuple[str, bool]]:
    """Returns the format of a file, if it is one of `_BUILT`, and whether Pillow can read it here."""
    found = [names for pattern, names in _BUILT.items() if _matches(pattern, begin)]
    return [(name, bool(features.check(feature))) for name, feature in found]
