"""The flag --region: where in its output a model is explained."""

import os
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rap_keras.datasets.masks import Mask, warp_mask
from rap_keras.errors import InputError
from rap_keras.support.images import read_image

_PART = r"-?\d+|-?\d*:-?\d*"


@dataclass(frozen=True, eq=False)
class Region:
    """A region as it is typed.

    Attributes:
        text: What was typed.
        index: Positions and ranges, one per axis of the output before its classes.
        mask: The region of a mask file, at the file's size.
    """

    text: str
    index: tuple[int | slice, ...] | None = None
    mask: Mask | None = None

    @property
    def is_class(self) -> bool:
        """Whether it is where the explained class is the largest of the output."""
        return self.index is None and self.mask is None

    def positions(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """True where the region is, at the positions of an output.

        Args:
            shape: The output's positions, `(height, width)` of a map.

        Raises:
            InputError: The region does not fit them, or none of them is in it.
        """
        told = f"region={self.text} does not fit the positions of the output, {_spell(shape)}"
        found = np.zeros(shape, bool)
        if self.mask is not None:
            if len(shape) != 2:
                raise InputError(f"{told}: a mask needs rows and columns.", "region")
            found = warp_mask(self.mask, (shape[0], shape[1]))
        elif self.index is not None:
            if len(self.index) != len(shape):
                raise InputError(
                    f"{told}: pass as many numbers or ranges as it has axes.", "region"
                )
            try:
                found[self.index] = True
            except IndexError:
                raise InputError(f"{told}: the first is 0.", "region") from None
        if not found.any():
            raise InputError(f"{told}: no position is in it.", "region")
        return found


def read_region(text: str) -> Region:
    """A region from what is typed.

    Args:
        text: `class`; a pixel `y,x`; a box `y0:y1,x0:x1`; or an image file that is not black where the
            region is.

    Raises:
        InputError: It is none of these.
    """
    if text == "class":
        return Region(text)
    parts = text.replace(" ", "").split(",")
    if all(re.fullmatch(_PART, part) for part in parts):
        return Region(text, index=tuple(map(_read_part, parts)))
    if os.path.isfile(text):
        return Region(text, mask=read_image(text).max(-1) > 0)
    raise InputError(
        f"region is a pixel y,x, a box y0:y1,x0:x1, class, or the image file of a mask, not {text!r}.",
        "region",
    )


def _read_part(text: str) -> int | slice:
    if ":" not in text:
        return int(text)
    ends = [int(end) if end else None for end in text.split(":")]
    return slice(*ends)


def _spell(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one"
