"""The ImageNet segmentations of Guillaumin et al., `gtsegs_ijcv.mat`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from rap_keras.datasets.masks import Size, masked_sample
from rap_keras.datasets.sample import NO_CLASS, Sample
from rap_keras.errors import InputError
from rap_keras.support.images import MOST_PIXELS
from rap_keras.support.reading import opened, understood


class ImageNetSegmentation:
    """4276 ImageNet images with the pixels of their object, in one MATLAB 7.3 (HDF5) file.

    Source: Guillaumin, Küttel and Ferrari, "ImageNet Auto-Annotation with Segmentation Propagation",
    IJCV 2014. If an image has several segmentations, the first is used, as in other evaluations on this
    data set. Its non-zero pixels are the object. The class is the text in `/value/target`, or else the
    WordNet id before the `_` of the image's id. In HDF5, MATLAB's arrays are transposed.

    Args:
        file: The `.mat` file. It is opened again for each image, so that the data set can be pickled.

    Raises:
        InputError: The file is missing, is not an HDF5 file, or has no images with segmentations.
    """

    kind = "imagenet-segmentation"
    objects = "pixels of the class"

    def __init__(self, file: str | Path) -> None:
        self.source = str(file)
        with self._open() as mat:
            expected = (
                f"Expected /value/img and /value/gt of gtsegs_ijcv.mat in {self.source!r}, got a file "
                "of another layout"
            )
            with understood(expected, "download it again"):
                images, masks = _cells(mat, "img"), _cells(mat, "gt")
                ids = (
                    [_text(mat, cell) for cell in _cells(mat, "id")] if "id" in mat["value"] else []
                )
        if not len(images) == len(masks) > 0:
            raise InputError(
                f"Expected as many images as segmentations in {self.source!r}, got {len(images)} and "
                f"{len(masks)}: download it again."
            )
        names = ids if len(ids) == len(images) else [f"{i:04}" for i in range(len(images))]
        self.names: Sequence[str] = tuple(names)

    def read(self, index: int, size: Size | None = None) -> Sample:
        """Reads one image. See `Dataset.read`."""
        name = self.names[index]
        with self._open() as mat:
            broken = f"The image {name!r} in {self.source!r} cannot be read"
            with understood(broken, "download the file again"):
                image = _array(mat[_cells(mat, "img")[index]]).T
                segmentations = _array(mat[_cells(mat, "gt")[index]])
                mask = _array(mat[np.ravel(segmentations)[0]]).T
                label = _class(mat, index, name)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or mask.ndim != 2:
            raise InputError(
                f"Expected the image {name!r} in {self.source!r} to be uint8 (height, width, 3) with "
                f"a mask (height, width), got {image.dtype} {image.shape} with {mask.shape}: "
                "download the file again."
            )
        return masked_sample(name, np.ascontiguousarray(image), {label: mask != 0}, size)

    def _open(self) -> Any:
        expected = f"Expected a MATLAB 7.3 (HDF5) file such as gtsegs_ijcv.mat, got {self.source!r}"
        with opened(self.source), understood(expected, "download it again or save it with -v7.3"):
            return h5py.File(self.source, "r")


def _array(item: Any) -> NDArray[Any]:
    """Reads an array in the file. Raises ValueError if its values are missing or too many."""
    if item.is_virtual or item.external:
        raise ValueError("its values are in other files")
    if item.nbytes > 4 * MOST_PIXELS:
        raise ValueError(f"{item.nbytes / 1e9:,.1f} GB in one array")
    return np.asarray(item[()])


def _cells(mat: Any, field: str) -> NDArray[np.object_]:
    """Returns the references in a MATLAB cell array, which is a row or a column."""
    return np.ravel(_array(mat["value"][field]))


def _text(mat: Any, cell: Any) -> str:
    """Returns the text in a cell, which MATLAB stores as UTF-16 units."""
    characters = np.ravel(_array(mat[cell]))
    if characters.dtype.kind != "u":
        raise TypeError(f"characters expected, got {characters.dtype}")
    return characters.astype("<u2").tobytes().decode("utf-16-le").strip("\0 ")


def _class(mat: Any, index: int, name: str) -> str:
    if "target" in mat["value"]:
        return _text(mat, _cells(mat, "target")[index])
    class_id, underscore, _ = name.partition("_")
    return class_id if underscore else NO_CLASS
