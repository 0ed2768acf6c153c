"""Pascal VOC 2012, segmentation."""

import os.path
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rap_keras.datasets.files import existing_folder, inner_name, is_folder, list_files
from rap_keras.datasets.masks import Size, masked_sample, read_mask
from rap_keras.datasets.sample import Sample
from rap_keras.errors import InputError
from rap_keras.support.images import read_image
from rap_keras.support.reading import read_text

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""The names of VOC's classes, in order. In a mask they have the values 1 to 20."""

_VOID = 255


class Voc:
    """Images of Pascal VOC 2012 with the pixels of each class. Contours are void.

    Source: Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV
    2015.

    Args:
        folder: The folder with `JPEGImages` and `SegmentationClass`, or the `VOCdevkit` above it.
        split: The name of the split, whose images are listed in `ImageSets/Segmentation/<split>.txt`.
            The default is `val`, or every image with a mask if there is no such list.

    Raises:
        InputError: The folder does not exist or is not VOC's, or has no such list or no images.
    """

    kind = "voc"
    objects = "pixels of the class"

    def __init__(self, folder: str | Path, split: str | None = None) -> None:
        root = _root(existing_folder(folder))
        self.source = str(folder)
        self._images = root / "JPEGImages"
        self._masks = root / "SegmentationClass"
        listed = root / "ImageSets" / "Segmentation" / f"{split or 'val'}.txt"
        if split is not None or os.path.exists(listed):
            names = _names(listed)
        else:
            masks = list_files(self._masks, (".png",))
            names = [name for name in list_files(self._images, (".jpg",)) if name in masks]
        if not names:
            raise InputError(
                f"Expected images with masks in {str(root)!r}, got none: put the masks "
                "into SegmentationClass, with the names of the images in JPEGImages."
            )
        self.names: Sequence[str] = tuple(names)

    def read(self, index: int, size: Size | None = None) -> Sample:
        """Reads one image. See `Dataset.read`."""
        name = self.names[index]
        image = read_image(self._images / f"{name}.jpg")
        path = self._masks / f"{name}.png"
        mask = read_mask(path, name, modes=("P", "L"))
        objects = {}
        for value in np.unique(mask[(mask != 0) & (mask != _VOID)]).tolist():
            if value > len(CLASSES):
                raise InputError(
                    f"Expected values 0 to {len(CLASSES)} and {_VOID} in the mask {str(path)!r} of "
                    f"the image {name!r}, got {value}: replace it with the original mask."
                )
            objects[CLASSES[value - 1]] = mask == value
        return masked_sample(name, image, objects, size, void=mask == _VOID)


def _root(folder: Path) -> Path:
    for root in (folder, folder / "VOC2012", folder / "VOCdevkit" / "VOC2012"):
        if all(is_folder(root / name) for name in ("JPEGImages", "SegmentationClass")):
            return root
    raise InputError(
        f"Expected the folders JPEGImages and SegmentationClass in {str(folder)!r}, got a folder "
        "without them: name VOCdevkit/VOC2012."
    )


def _names(path: Path) -> list[str]:
    try:
        names = read_text(path, "list of a split").split()
    except InputError as error:
        raise InputError(
            f"Expected the image names of a split in {str(path)!r}, got no such text file: name "
            "a split in ImageSets/Segmentation."
        ) from error
    return [inner_name(name, repr(str(path))) for name in names]
