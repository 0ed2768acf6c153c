"""Images from files, folders, patterns, Pillow and arrays, brought to the size of a model's input."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.errors import InputError
from rap_keras.models.loading import LoadedModel
from rap_keras.support.images import (
    as_rgb,
    check_image,
    collect_images,
    has_alpha,
    read_image,
    size_of,
    warp_image,
)
from rap_keras.support.memory import check_memory
from rap_keras.support.text import counted, printable

Source = Path | NDArray[np.uint8]
Batch = tuple[Sequence[Any], NDArray[np.uint8], NDArray[np.float32]]


def listed(images: Any) -> list[Any]:
    """What was given as images, one by one; files of a folder or a pattern are sorted.

    Args:
        images: A file, a folder, a pattern, an image of Pillow or pixels; or a list of these or a
            batch of pixels `(n, height, width, 3)`.

    Raises:
        InputError: There is none.
    """
    if isinstance(images, np.ndarray) and images.ndim == 4:
        images = list(images)
    several = isinstance(images, Sequence) and not isinstance(images, str)
    found: list[Any] = []
    for image in images if several else [images]:
        found += collect_images([image]) if isinstance(image, str | Path) else [image]
    if not found:
        raise InputError("Expected at least one image, got none.", "images")
    return found


class Images:
    """Images to explain. Of files only the beginning is read at first.

    Args:
        images: Paths of files, images of Pillow and pixels, as `listed` or `collect_images` gives them.
        fit: How they are brought to the size of the model's input, one of `FITS`.
        strict: Refuse a file that cannot be read; otherwise it is skipped with a warning, if there are
            others.
        warn: Is given each warning.
        warns_of_warping: Whether an image that is squashed or stretched is one.

    Attributes:
        sources: The images: paths, or pixels. Files that turn out to be unreadable are removed.
        skipped: The other files, and why.

    Raises:
        InputError: One is no image, or there is none that can be read.
    """

    def __init__(
        self,
        images: Sequence[Any],
        fit: str = "warp",
        strict: bool = True,
        warn: Callable[[str], object] = warnings.warn,
        warns_of_warping: bool = False,
    ) -> None:
        self._fit = fit
        self._tells = warns_of_warping and fit == "warp"
        self._strict = strict or len(images) == 1
        self._warn = warn
        self.skipped: list[dict[str, str]] = []
        self.sources: list[Any] = []
        for image in images:
            if not isinstance(image, Path):
                self.sources.append(as_rgb(image))
                continue
            try:
                check_image(image)
            except InputError as error:
                self._skip(image, error)
            else:
                self.sources.append(image)
        self._refuse_none()
        clear = [one for one in self.sources if isinstance(one, Path) and has_alpha(one)]
        if clear:
            more = f" (and of {len(clear) - 1} more)" if len(clear) > 1 else ""
            warn(
                f"The alpha channel of {str(clear[0])!r}{more} is left out: what is transparent counts "
                "in its stored colour."
            )

    def __len__(self) -> int:
        return len(self.sources)

    def batches(self, loaded: LoadedModel, batch_size: int) -> Iterator[Batch]:
        """Sources, their pixels as the model sees them, and its input; each file is read once.

        Args:
            loaded: The model.
            batch_size: The most images in a batch; those of one are of one size.
        """
        if loaded.input_size is not None:
            check_memory(loaded.input_size, min(batch_size, len(self)))
        images = self._read(loaded.input_size)
        for _, alike in itertools.groupby(images, key=lambda one: one[1].shape):
            while batch := list(itertools.islice(alike, batch_size)):
                pixels = np.stack([image for _, image in batch])
                yield [source for source, _ in batch], pixels, loaded.preprocess(pixels)

    def together(
        self, loaded: LoadedModel, remedy: str
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The pixels of all images as the model sees them, and its input.

        Args:
            loaded: The model.
            remedy: What to do where the images are of several sizes and stay so.

        Raises:
            InputError: They are of several sizes.
        """
        pixels = of_one_size([image for _, image in self._read(loaded.input_size)], remedy)
        return pixels, loaded.preprocess(pixels)

    def _read(self, size: tuple[int, int] | None) -> Iterator[tuple[Source, NDArray[np.uint8]]]:
        for source in list(self.sources):
            try:
                image = pixels_of(source, size, self._fit)
            except InputError as error:
                self._skip(source, error)
                self.sources.remove(source)
                self._refuse_none()
            else:
                if size is not None:
                    self._tell_warped(source, size)
                yield source, image

    def _tell_warped(self, source: Source, size: tuple[int, int]) -> None:
        """Warns once of an image that has other proportions than the model's input."""
        if not self._tells:
            return
        there = size_of(source) if isinstance(source, Path) else source.shape[:2]
        if abs(math.log(there[0] * size[1] / (there[1] * size[0]))) > math.log(1.1):
            self._tells = False
            example = f" such as {str(source)!r}" if isinstance(source, Path) else ""
            self._warn(
                f"Images{example} are squashed, from {there[1]} x {there[0]} to {size[1]} x {size[0]} "
                'pixels: fit="crop" takes their middle, fit="pad" adds bars.'
            )

    def _skip(self, path: Path, error: InputError) -> None:
        if self._strict:
            raise error
        self.skipped.append({"file": printable(str(path)), "reason": printable(str(error))})
        self._warn(f"Skipped: {error}")

    def _refuse_none(self) -> None:
        if not self.sources:
            raise InputError(
                f"Expected images, got {counted(len(self.skipped), 'file')} that cannot be read."
            )


def pixels_of(
    source: Source, size: tuple[int, int] | None = None, fit: str = "warp"
) -> NDArray[np.uint8]:
    """The pixels of an image, at its own size or fitted to another."""
    if isinstance(source, Path):
        return read_image(source, size, fit)
    return warp_image(source, size, fit)


def of_one_size(images: Sequence[NDArray[np.uint8]], remedy: str) -> NDArray[np.uint8]:
    """Images as one array.

    Args:
        images: Pixels.
        remedy: What to do where they are of several sizes.

    Raises:
        InputError: They are of several sizes.
    """
    shapes = {one.shape for one in images}
    if len(shapes) > 1:
        raise InputError(
            f"Expected images of one size, got {sorted(shapes)}: {remedy}.", ("size", "images")
        )
    return np.stack(images)
