"""The images that a command is given."""

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rap_keras.cli.session import tell
from rap_keras.errors import InputError
from rap_keras.support.images import check_image, collect_images, has_alpha, read_image, size_of
from rap_keras.support.memory import check_memory
from rap_keras.support.text import counted, printable

Batch = tuple[Sequence[Path], NDArray[np.uint8], NDArray[np.float32]]


class Images:
    """Image files, each looked at as far as takes no time.

    Args:
        sources: Files, folders and patterns.
        strict: Refuse an image that cannot be read; else it is skipped with a warning, where there are
            others.
        fit: How they are brought to the size of the model's input; None: warped, without a word.

    Attributes:
        paths: Those that can be read, as far as is known.
        skipped: What explain.json tells of the others.

    Raises:
        InputError: There is none, or none that can be read.
    """

    def __init__(
        self, sources: Sequence[str], strict: bool = False, fit: str | None = None
    ) -> None:
        self._fit = fit or "warp"
        self._tells = fit == "warp"
        found = collect_images(sources)
        self.skipped: list[dict[str, str]] = []
        self._strict = strict or len(found) == 1
        self.paths: list[Path] = []
        for path in found:
            try:
                check_image(path)
            except InputError as error:
                self._skip(path, error)
            else:
                self.paths.append(path)
        self._refuse_none()
        clear = [path for path in self.paths if has_alpha(path)]
        if clear:
            more = f" (and of {len(clear) - 1} more)" if len(clear) > 1 else ""
            tell(
                f"rap-keras: The alpha channel of {str(clear[0])!r}{more} is left out: what is "
                "transparent counts in its stored colour.",
                err=True,
            )

    def __len__(self) -> int:
        return len(self.paths)

    def batches(self, loaded: Any, batch_size: int) -> Iterator[Batch]:
        """Files, their pixels as the model sees them, and its input; each file is read once.

        Args:
            loaded: The model.
            batch_size: The most images in a batch; those of one are of one size.
        """
        if loaded.input_size is not None:
            check_memory(loaded.input_size, min(batch_size, len(self.paths)))
        images = self._read(loaded.input_size)
        for _, alike in itertools.groupby(images, key=lambda one: one[1].shape):
            while batch := list(itertools.islice(alike, batch_size)):
                pixels = np.stack([image for _, image in batch])
                yield [path for path, _ in batch], pixels, loaded.preprocess(pixels)

    def _read(self, size: tuple[int, int] | None) -> Iterator[tuple[Path, NDArray[np.uint8]]]:
        for path in list(self.paths):
            try:
                image = read_image(path, size, self._fit)
            except InputError as error:
                self._skip(path, error)
                self.paths.remove(path)
                self._refuse_none()
            else:
                if size is not None:
                    self._tell_warped(path, size)
                yield path, image

    def _tell_warped(self, path: Path, size: tuple[int, int]) -> None:
        """Tells, once, that an image has other proportions than the model's."""
        if not self._tells:
            return
        there = size_of(path)
        if abs(math.log(there[0] * size[1] / (there[1] * size[0]))) > math.log(1.1):
            self._tells = False
            tell(
                f"rap-keras: Images such as {str(path)!r} are squashed, from {there[1]} x {there[0]} to "
                f"{size[1]} x {size[0]} pixels: --fit crop takes their middle, --fit pad adds bars.",
                err=True,
            )

    def _skip(self, path: Path, error: InputError) -> None:
        if self._strict:
            raise error
        self.skipped.append({"file": printable(str(path)), "reason": printable(str(error))})
        tell(f"rap-keras: Skipped: {error}", err=True)

    def _refuse_none(self) -> None:
        if not self.paths:
            raise InputError(
                f"Expected images, got {counted(len(self.skipped), 'file')} that cannot be read."
            )


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """A name for each file's results; files that are called alike get a number."""
    taken: set[str] = set()
    stems = []
    for path in paths:
        stem, number = path.stem, 1
        # Some file systems take names that differ in case only for the same.
        while stem.lower() in taken:
            number += 1
            stem = f"{path.stem}-{number}"
        taken.add(stem.lower())
        stems.append(stem)
    return stems
