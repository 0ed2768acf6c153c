"""The interface of data sets: images and the objects on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

NO_CLASS = ""
"""The class of objects if the data set has no class names."""


@dataclass(frozen=True)
class Sample:
    """One image and the objects on it, all at the requested size.

    Attributes:
        name: The name of the image in its data set.
        image: The pixels, uint8 `(height, width, 3)`, RGB.
        objects: The pixels of each class on the image: class => bool `(height, width)`. If the data set
            has no class names, the only entry is `NO_CLASS`.
        void: Pixels that metrics ignore, bool `(height, width)`.
        without: The image without the objects of a class: class => uint8 `(height, width, 3)`. Only for
            data sets that draw their images.

    Example:
        >>> image = np.zeros((4, 4, 3), np.uint8)
        >>> sample = rap_keras.datasets.Sample(
        ...     "photo.jpg", image, objects={"cat": np.ones((4, 4), bool)}, void=np.zeros((4, 4), bool)
        ... )
        >>> list(sample.objects)
        ['cat']
    """

    name: str
    image: NDArray[np.uint8]
    objects: Mapping[str, NDArray[np.bool_]]
    void: NDArray[np.bool_]
    without: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


class Dataset(Protocol):
    """Images with known objects, which are read one at a time.

    Attributes:
        kind: The word before the colon of its specification.
        source: The folder or file that it is read from; empty if the images are drawn.
        objects: A short description of its masks, for reports.
        names: The names of its images, in order.

    Example:
        >>> data = rap_keras.datasets.open_dataset("cluttered-digits:3")
        >>> sample = data.read(0, size=(32, 32))
        >>> data.names[0], sample.image.shape, list(sample.objects)
        ('scene-00000', (32, 32, 3), ['5'])
    """

    kind: str
    source: str
    objects: str
    names: Sequence[str]

    def read(self, index: int, size: tuple[int, int] | None = None) -> Sample:
        """Reads one image.

        Args:
            index: The index of the image in `names`.
            size: The `(height, width)` that the image and its masks are resized to; None keeps the size.

        Raises:
            InputError: The image, its mask or its boxes are missing, damaged or do not fit together.
        """
        ...
