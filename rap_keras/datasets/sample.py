"""What an evaluation sees of a data set: one image and the objects on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

NO_CLASS = ""
"""The class of objects where a data set names none."""


@dataclass(frozen=True)
class Sample:
    """One image and the objects on it, all at the size that was asked for.

    Attributes:
        name: What the image is called in its data set.
        image: The pixels, uint8 `(height, width, 3)`, RGB.
        objects: The pixels of each class that is on the image: class => bool `(height, width)`. Where
            the data set names no classes, the one entry `NO_CLASS`.
        void: Pixels that no measure counts, bool `(height, width)`.
        without: The image without the objects of a class: class => uint8 `(height, width, 3)`. Only
            data sets that draw their images know it.
    """

    name: str
    image: NDArray[np.uint8]
    objects: Mapping[str, NDArray[np.bool_]]
    void: NDArray[np.bool_]
    without: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


class Dataset(Protocol):
    """Images with known objects; one at a time is read.

    Attributes:
        kind: The word before the colon of its specification.
        source: The folder or file it is read from; empty if it is made.
        objects: What its masks are, in a few words, for reports.
        names: What its images are called, in their order.
    """

    kind: str
    source: str
    objects: str
    names: Sequence[str]

    def read(self, index: int, size: tuple[int, int] | None = None) -> Sample:
        """Reads one image.

        Args:
            index: Its place in `names`.
            size: The `(height, width)` that image and masks are warped to; default: the image's own.

        Raises:
            InputError: The image, its mask or its boxes are missing, damaged or do not fit together.
        """
        ...
