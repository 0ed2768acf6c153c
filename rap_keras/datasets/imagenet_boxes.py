"""ImageNet's validation images with the boxes of ILSVRC's localization task."""

from collections.abc import Collection, Sequence
from pathlib import Path
from xml.etree import ElementTree

from rap_keras.datasets.files import existing_folder, list_files, read_pixels
from rap_keras.datasets.masks import Box, Size, boxed_sample
from rap_keras.datasets.sample import Sample
from rap_keras.errors import InputError
from rap_keras.support.images import SUFFIXES, read_image
from rap_keras.support.reading import opened, understood

_SIDES = ("height", "width")
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_MOST = 2**24  # bytes of an annotation
_IMAGES = ("images", "Data/CLS-LOC/val", "ILSVRC/Data/CLS-LOC/val", "val", ".")
_ANNOTATIONS = (
    "annotations",
    "Annotations/CLS-LOC/val",
    "ILSVRC/Annotations/CLS-LOC/val",
    "bbox/val",
    "val",
    ".",
)


class ImageNetBoxes:
    """ImageNet's validation images. The object of a class is the union of its boxes.

    Source: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015.

    Classes are WordNet ids (`n01440764`). The numbers of a `bndbox` are read as edges: a box from 10 to
    20 is 10 pixels wide. It is unknown whether ILSVRC counts from 0 or 1 and includes the last pixel,
    which is a difference of at most one pixel of the original image. The image files may be resized,
    because boxes are scaled from the `size` in the XML file.

    Args:
        folder: The folder. It has the images in `images`, `Data/CLS-LOC/val`,
            `ILSVRC/Data/CLS-LOC/val` or `val`, or directly, optionally in a folder for each class. It
            has the XML files in `annotations`, `Annotations/CLS-LOC/val`,
            `ILSVRC/Annotations/CLS-LOC/val`, `bbox/val` or `val`, or directly.

    Raises:
        InputError: The folder does not exist, or has no images or no XML files.
    """

    kind = "imagenet-boxes"
    objects = "boxes of the class, united"

    def __init__(self, folder: str | Path) -> None:
        root = existing_folder(folder)
        self.source = str(folder)
        self._images = _search(root, _IMAGES, SUFFIXES, "images")
        self._annotations = _search(root, _ANNOTATIONS, (".xml",), "XML files of boxes")
        self.names: Sequence[str] = tuple(self._images)

    def read(self, index: int, size: Size | None = None) -> Sample:
        """Reads one image. See `Dataset.read`."""
        name = self.names[index]
        if name not in self._annotations:
            raise InputError(
                f"The boxes of the image {name!r} are missing: add {name}.xml to the annotations or "
                "remove the image."
            )
        boxes = _parse(self._annotations[name], name)
        return boxed_sample(name, read_image(self._images[name]), boxes, size)


def _search(
    root: Path, places: Sequence[str], suffixes: Collection[str], what: str
) -> dict[str, str]:
    for place in places:
        found = list_files(root / place, suffixes)
        if found:
            return found
    raise InputError(
        f"Expected {what} ({', '.join(suffixes)}) in {str(root)!r} in one of the folders "
        f"{', '.join(places)}, got none: name the folder that ImageNet was unpacked to."
    )


def _parse(path: str, name: str) -> list[Box]:
    expected = (
        f"Expected an ILSVRC annotation in {path!r} for the image {name!r} (size with width and "
        "height, object with name and bndbox), got a file that is not one"
    )
    with opened(path, "annotation", _MOST) as file, understood(expected, "replace it"):
        root = ElementTree.parse(file).getroot()
        height, width = (read_pixels(_text(root, f"size/{side}"), int) for side in _SIDES)
        return [_box(item, (height, width)) for item in root.iter("object")]


def _box(item: ElementTree.Element, drawn_at: Size) -> Box:
    x_min, y_min, x_max, y_max = (
        read_pixels(_text(item, f"bndbox/{edge}"), float) for edge in _EDGES
    )
    return Box(_text(item, "name"), (x_min, y_min, x_max, y_max), drawn_at)


def _text(element: ElementTree.Element, path: str) -> str:
    text = (element.findtext(path) or "").strip()
    if not text:
        raise ValueError(f"no {path}")
    return text
