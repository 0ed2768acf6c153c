"""Images from files, folders, patterns, Pillow and arrays, resized to a model's input."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.errors import InputError
from rap_keras.inputs.tensors import readable
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
    """Returns images as a list: files (sorted), folders, patterns, Pillow images, pixels, a batch."""
    several = isinstance(images, Sequence) and not isinstance(images, str)
    found: list[Any] = []
    for image in images if several else [images]:
        if isinstance(image, str | Path):
            found += collect_images([image])
        else:
            image = as_array(image)
            found.extend(image if getattr(image, "ndim", 0) == 4 else [image])
    if not found:
        raise InputError("Expected at least one image, got none.", "images")
    return found


def as_array(images: Any) -> Any:
    """Returns tensors as arrays, and anything else unchanged."""
    images = readable(images)
    return np.asarray(images) if hasattr(images, "__array__") else images


class Images:
    """Images to explain, as returned by `listed`. At first, only the beginning of each file is read.

    Unless `strict`, a file that cannot be read is skipped with a warning, if it is not the only file.
    It is then removed from `sources`, and `skipped` has the reason. `warns_of_warping` is whether to
    warn if the proportions of an image change.
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
        self._warns_of_warping = warns_of_warping and fit == "warp"
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
                f"The alpha channel of {str(clear[0])!r}{more} is ignored: transparent pixels have "
                "their stored colour."
            )

    def __len__(self) -> int:
        return len(self.sources)

    def batches(self, loaded: LoadedModel, batch_size: int) -> Iterator[Batch]:
        """Yields sources, pixels and the model's input of images of one size; reads each file once."""
        if loaded.input_size is not None:
            check_memory(loaded.input_size, min(batch_size, len(self)))
        images = self._read(loaded.input_size)
        for _, group in itertools.groupby(images, key=lambda one: one[1].shape):
            while batch := list(itertools.islice(group, batch_size)):
                pixels = np.stack([image for _, image in batch])
                yield [source for source, _ in batch], pixels, loaded.preprocess(pixels)

    def together(
        self, loaded: LoadedModel, remedy: str
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Returns the resized pixels of all images, which must have one size, and the model's input."""
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
                    self._warn_of_warping(source, size)
                yield source, image

    def _warn_of_warping(self, source: Source, size: tuple[int, int]) -> None:
        """Warns once about an image whose proportions differ from the model's input."""
        if not self._warns_of_warping:
            return
        before = size_of(source) if isinstance(source, Path) else source.shape[:2]
        if abs(math.log(before[0] * size[1] / (before[1] * size[0]))) > math.log(1.1):
            self._warns_of_warping = False
            example = f" such as {str(source)!r}" if isinstance(source, Path) else ""
            self._warn(
                f"Images{example} are stretched, from {before[1]} x {before[0]} to {size[1]} x {size[0]}"
                ' pixels: fit="crop" or fit="pad" keeps their proportions.'
            )

    def _skip(self, path: Path, error: InputError) -> None:
        if self._strict:
            raise error
        self.skipped.append({"file": printable(str(path)), "reason": printable(str(error))})
        self._warn(f"Skipped: {error}")

    def _refuse_none(self) -> None:
        if not self.sources:
            raise InputError(
                f"Expected images, got {counted(len(self.skipped), 'file')} that cannot be read: see "
                "the warnings above."
            )


def pixels_of(
    source: Source, size: tuple[int, int] | None = None, fit: str = "warp"
) -> NDArray[np.uint8]:
    """Returns the pixels of an image, at its original size or resized."""
    if isinstance(source, Path):
        return read_image(source, size, fit)
    return warp_image(source, size, fit)


def of_one_size(images: Sequence[NDArray[np.uint8]], remedy: str) -> NDArray[np.uint8]:
    """Returns images of one size as one array; `remedy` is the end of the error for others."""
    shapes = {one.shape for one in images}
    if len(shapes) > 1:
        raise InputError(
            f"Expected images of one size, got {sorted(shapes)}: {remedy}.", ("size", "images")
        )
    return np.stack(images)
