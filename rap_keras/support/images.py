"""Image files: which ones are meant, and their pixels as RGB."""

import contextlib
import glob
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from rap_keras.errors import InputError

# What a folder or a pattern is searched for; a file that is named may have any ending.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def collect_images(sources: Iterable[str | Path]) -> list[Path]:
    """Finds the image files that are meant.

    Args:
        sources: Files, folders (the image files right in them) and patterns such as
            `photos/**/*.jpg`.

    Returns:
        The files, sorted, each once even if it was named twice.

    Raises:
        InputError: If a source does not exist or holds no image.
    """
    found: dict[str, Path] = {}
    for source in sources:
        for path in _files(Path(source)):
            found.setdefault(os.path.realpath(path), path)
    return sorted(found.values())


def read_image(path: str | Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Reads one image as RGB, turned upright where its EXIF data say how.

    Args:
        path: The image file; of several frames the first is read.
        size: The `(height, width)` to warp the whole image to; default: its own.

    Returns:
        The pixels, `(height, width, 3)`.

    Raises:
        InputError: If the file is missing or is not an image that can be read.
    """
    with _opened(path) as file:
        image = _rgb(ImageOps.exif_transpose(file), path)
    return warp_image(np.array(image), size)


def check_image(path: str | Path) -> None:
    """Refuses a file that is no image by its first bytes; the pixels are not read.

    Raises:
        InputError: If the file is missing or does not begin as an image that can be read.
    """
    with _opened(path) as file:
        _check_mode(file, path)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            # What Pillow has to say of odd metadata or of many pixels does not concern the result.
            warnings.simplefilter("ignore")
            with Image.open(path) as file:
                yield file
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"There is no image {str(path)!r}.") from None
    except Image.DecompressionBombError:
        raise InputError(f"The image {str(path)!r} has too many pixels.") from None
    except Exception as error:  # on damaged files, Pillow's decoders raise nearly anything
        raise InputError(f"{str(path)!r} is not an image that can be read.") from error


def warp_image(image: NDArray[np.uint8], size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """The pixels `(height, width, 3)` at another `(height, width)`; at `None` as they are."""
    if size is None:
        return image
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        try:
            files = [path for path in source.iterdir() if _is_image_file(path)]
        except OSError:
            raise InputError(f"The folder {str(source)!r} cannot be read.") from None
        if not files:
            raise InputError(f"The folder {str(source)!r} holds no image ({', '.join(SUFFIXES)}).")
        return files
    if source.exists():
        return [source]
    if not glob.has_magic(str(source)):
        raise InputError(f"There is no image or folder {str(source)!r}.")
    matches = map(Path, glob.glob(str(source), recursive=True))
    files = [path for path in matches if _is_image_file(path)]
    if not files:
        raise InputError(f"No image matches {str(source)!r}.")
    return files


def _is_image_file(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _rgb(image: Image.Image, path: str | Path) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow clips 16 bits to 8 instead of scaling them.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    _check_mode(image, path)
    return image.convert("RGB")


def _check_mode(image: Image.Image, path: str | Path) -> None:
    if image.mode in ("I", "F"):
        raise InputError(
            f"The image {str(path)!r} has pixels of no known range (mode {image.mode!r}); "
            "save it with 8 or 16 bits."
        )
