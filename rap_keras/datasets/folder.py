"""Your own folder of images with masks, or with a table of boxes."""

import os.path
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rap_keras.datasets.files import (
    existing_folder,
    inner_name,
    is_folder,
    list_files,
    read_pixels,
    read_table,
)
from rap_keras.datasets.masks import Box, Size, boxed_sample, check_size, masked_sample, read_mask
from rap_keras.datasets.sample import NO_CLASS, Dataset, Sample
from rap_keras.errors import InputError
from rap_keras.support.images import SUFFIXES, read_image

_EDGES = ("x_min", "y_min", "x_max", "y_max")
_OBJECT = 127  # A pixel belongs to the object if its grey value is larger.


def open_folder(folder: str | Path) -> Dataset:
    """Opens a folder with a subfolder `masks` (`MaskFolder`) or a file `boxes.csv` (`BoxFolder`)."""
    root = existing_folder(folder)
    has_masks, has_boxes = is_folder(root / "masks"), os.path.isfile(root / "boxes.csv")
    if has_masks == has_boxes:
        raise InputError(
            f"Expected either a folder masks or a file boxes.csv in {str(folder)!r}, got "
            f"{'both' if has_masks else 'neither'}: {'remove' if has_masks else 'add'} one."
        )
    return MaskFolder(folder) if has_masks else BoxFolder(folder)


class MaskFolder:
    """A folder of images, each with the masks of its objects.

    Args:
        folder: The folder. It has the images in `images`, and for each image `NAME.jpg` (or another
            extension) a mask `masks/NAME.png` of the same size. The object is where the mask's grey
            value is above 127. A table `labels.csv` with the columns `name` (the image's, with or
            without extension) and `class` names the classes; without it, objects have no class. With a
            third column `mask`, an image may have several rows, each with the file in `masks` of one
            object; the objects of a class are united.

    Raises:
        InputError: The folder does not exist or has no images, or the table is not as above.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("images", "masks"):
        ...         pathlib.Path(folder, name).mkdir()
        ...         Image.new("L", (8, 8), 255).save(f"{folder}/{name}/a.png")
        ...     rap_keras.datasets.open_dataset(f"folder:{folder}").names
        ('a',)
    """

    kind = "folder"
    objects = "pixels of the object"

    def __init__(self, folder: str | Path) -> None:
        root = existing_folder(folder)
        self.source = str(folder)
        self._masks = root / "masks"
        self._images = list_files(root / "images", SUFFIXES)
        if not self._images:
            raise InputError(
                f"Expected images ({', '.join(SUFFIXES)}) in {str(root / 'images')!r}, got none: put "
                "them there."
            )
        table = root / "labels.csv"
        self._rows = _objects(table) if os.path.exists(table) else None
        self.names: Sequence[str] = tuple(self._images)

    def read(self, index: int, size: Size | None = None) -> Sample:
        """Reads one image. See `Dataset.read`."""
        name = self.names[index]
        rows = self._objects_of(name)
        image = read_image(self._images[name])
        objects: dict[str, NDArray[np.bool_]] = {}
        for label, file in rows:
            mask = _read_object(self._masks / (file or f"{name}.png"), name)
            check_size(mask, image, name)
            objects[label] = mask | objects.get(label, mask)
        return masked_sample(name, image, objects, size)

    def _objects_of(self, name: str) -> list[tuple[str, str]]:
        """The class and the mask file of each object; "" is the file with the image's name."""
        if self._rows is None:
            return [(NO_CLASS, "")]
        file = os.path.basename(self._images[name])
        if keys := [key for key in dict.fromkeys((name, file)) if key in self._rows]:
            if len(keys) > 1:
                raise InputError(
                    f"Expected one name for the image {name!r} in labels.csv of {self.source!r}, got "
                    f"{' and '.join(keys)}: use one of them in all its rows."
                )
            return self._rows[keys[0]]
        raise InputError(
            f"Expected a row for the image {name!r} in labels.csv of {self.source!r}, got none: add "
            "it or remove the file."
        )


class BoxFolder:
    """A folder of images with a table of boxes. The object of a class is the union of its boxes.

    Args:
        folder: The folder. It has a table `boxes.csv`, and the images that the table names, directly or
            in `images`. The columns are `image` (a file name, with or without extension), the edges
            `x_min`, `y_min`, `x_max` and `y_max` in pixels, optionally `class`, and `width` and
            `height` if the boxes refer to another size than the file's. Images that are not in the
            table are not part of the data set.

    Raises:
        InputError: The folder does not exist, or the table is empty or not as above.

    Example:
        >>> import os, pathlib, tempfile
        >>> from PIL import Image
        >>> rows = ("image,x_min,y_min,x_max,y_max,class", "a.png,1,2,4,5,cat")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (8, 8), 255).save(f"{folder}/a.png")
        ...     _ = pathlib.Path(folder, "boxes.csv").write_text(os.linesep.join(rows))
        ...     sample = rap_keras.datasets.open_dataset(f"folder:{folder}").read(0)
        >>> int(sample.objects["cat"].sum())
        9
    """

    kind = "folder"
    objects = "boxes of the class, united"

    def __init__(self, folder: str | Path) -> None:
        self._root = existing_folder(folder)
        inner = self._root / "images"
        self._places = [inner, self._root] if is_folder(inner) else [self._root]
        self._endings: dict[Path, dict[str, list[str]]] = {}
        self.source = str(folder)
        self._rows: dict[str, list[tuple[int, dict[str, str]]]] = {}
        table = self._root / "boxes.csv"
        for line, row in read_table(table, ("image", *_EDGES)):
            where = f"line {line} of {str(table)!r}"
            name = self._with_ending(inner_name(row["image"], where), where)
            self._rows.setdefault(name, []).append((line, row))
        if not self._rows:
            raise InputError(
                f"Expected rows with boxes in {str(self._root / 'boxes.csv')!r}, got none: add one "
                "for each box."
            )
        self.names: Sequence[str] = tuple(sorted(self._rows))

    def read(self, index: int, size: Size | None = None) -> Sample:
        """Reads one image. See `Dataset.read`."""
        name = self.names[index]
        places = [place / name for place in self._places]
        image = read_image(next(filter(os.path.exists, places), places[0]))
        full = image.shape[0], image.shape[1]
        boxes = [self._box(line, row, full) for line, row in self._rows[name]]
        return boxed_sample(name, image, boxes, size)

    def _with_ending(self, name: str, where: str) -> str:
        """Returns the file name of an image, with its extension."""
        if os.path.splitext(name)[1].lower() in SUFFIXES:
            return name
        for place in self._places:
            folder, stem = os.path.split(place / name)
            if Path(folder) not in self._endings:
                self._endings[Path(folder)] = _images_by_stem(Path(folder))
            found = self._endings[Path(folder)].get(stem, [])
            if len(found) > 1:
                raise InputError(
                    f"Expected one image called {name!r} in {where}, got {' and '.join(found)}: add "
                    "the extension."
                )
            if found:
                return os.path.join(os.path.dirname(name), found[0])
        return name

    def _box(self, line: int, row: dict[str, str], image_size: Size) -> Box:
        try:
            x_min, y_min, x_max, y_max = (read_pixels(row[edge], float) for edge in _EDGES)
            height, width = (
                read_pixels(row[side], int) if row.get(side) else side_of_file
                for side, side_of_file in zip(("height", "width"), image_size, strict=True)
            )
        except ValueError as error:
            raise InputError(
                f"Expected numbers for the box of the image {row['image']!r} in line {line} of "
                f"{str(self._root / 'boxes.csv')!r}, got {error}: correct them."
            ) from None
        return Box(row.get("class", NO_CLASS), (x_min, y_min, x_max, y_max), (height, width))


def _images_by_stem(folder: Path) -> dict[str, list[str]]:
    """Returns the image files directly in a folder, by their names without extension."""
    found: dict[str, list[str]] = {}
    if is_folder(folder):
        for name in sorted(os.listdir(folder)):
            stem, ending = os.path.splitext(name)
            if ending.lower() in SUFFIXES:
                found.setdefault(stem, []).append(name)
    return found


def _read_object(path: Path, name: str) -> NDArray[np.bool_]:
    """The mask of an object of the image with this name."""
    mask = read_mask(path, name, modes=("1", "L", "P", "RGB"), convert="L")
    if 0 < mask.max() <= _OBJECT:
        raise InputError(
            f"Expected grey values above {_OBJECT} for the object in the mask {str(path)!r} of the "
            f"image {name!r}, got {mask.max()} at most: save it with 0 and 255."
        )
    return np.asarray(mask > _OBJECT)


def _objects(path: Path) -> dict[str, list[tuple[str, str]]]:
    """The class and the mask file of each object, by the name of the image; "" is no file."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line, row in read_table(path, ("name", "class")):
        where = f"line {line} of {str(path)!r}"
        inner_name(row["name"], where)
        mask = row.get("mask", "")
        if mask:
            inner_name(mask, where)
        rows = found.setdefault(row["name"], [])
        entry = row["class"], mask
        # The file with the image's name is that of a single object.
        if rows and entry != rows[0] and not (mask and rows[0][1]):
            raise InputError(
                f"Expected one class for the image {row['name']!r} in {str(path)!r}, got another in "
                f"line {line}: remove one of them, or name the mask of each object in a column mask."
            )
        if entry not in rows:
            rows.append(entry)
    return found
