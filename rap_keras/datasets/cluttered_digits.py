"""Handwritten digits in cluttered scenes, with the exact mask of every digit.

The digits are the 1797 scans of `sklearn.datasets.load_digits`, which are part of scikit-learn and need
no download. Because the scenes are drawn here, the masks are exact, and each scene can also be drawn
without a digit. The effect of a digit on a classifier's logits is therefore measured, not estimated.
FunnyBirds does the same for parts of birds (Hesse et al., ICCV 2023, arXiv 2308.06248).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rap_keras.datasets.drawing import SIZE, SPLITS, Split, box_of, draw
from rap_keras.datasets.masks import Size, masked_sample
from rap_keras.datasets.sample import Sample
from rap_keras.errors import InputError


@dataclass(frozen=True)
class Scenes:
    """Images with one digit each, and the position of the digit.

    Attributes:
        images: uint8 of shape `(n, 64, 64, 3)`, RGB.
        labels: int64 of shape `(n,)`, the digit (0 to 9).
        masks: bool of shape `(n, 64, 64)`, True exactly on the pixels of the digit.
        boxes: int64 of shape `(n, 4)`, the tight box `(x_min, y_min, x_max, y_max)` around the
            mask. The box covers `mask[y_min:y_max, x_min:x_max]`.

    Example:
        >>> scenes = rap_keras.datasets.cluttered_digits(2)
        >>> scenes.images.shape, scenes.masks.shape, scenes.boxes.shape
        ((2, 64, 64, 3), (2, 64, 64), (2, 4))
    """

    images: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray


def cluttered_digits(n: int, seed: int = 0, split: Split = "test") -> Scenes:
    """Draws `n` cluttered scenes with one handwritten digit each.

    Image `i` depends only on `(seed, split, i)`, so a larger `n` adds scenes and keeps the others. The
    splits have different digits: no test scene shows a digit of a training scene.

    Args:
        n: The number of scenes, at least 1.
        seed: A non-negative integer. The same seed gives the same scenes.
        split: The digits to draw from, `"train"` or `"test"`.

    Returns:
        The scenes with their labels, masks and boxes.

    Raises:
        InputError: `n`, `seed` or `split` is not one of the values above.

    Example:
        >>> scenes = rap_keras.datasets.cluttered_digits(3)
        >>> scenes.images.shape, scenes.masks.shape, scenes.labels.shape
        ((3, 64, 64, 3), (3, 64, 64), (3,))
    """
    _check(n, seed, split)
    images = np.empty((n, SIZE, SIZE, 3), np.uint8)
    labels = np.empty(n, np.int64)
    masks = np.empty((n, SIZE, SIZE), bool)
    boxes = np.empty((n, 4), np.int64)
    for i in range(n):
        scene = draw(i, seed, split, 1)
        (digit,) = scene.digits
        images[i], labels[i], masks[i] = scene.render(), digit.label, digit.mask
        boxes[i] = box_of(digit.mask)
    return Scenes(images, labels, masks, boxes)


@dataclass(frozen=True)
class PairScenes:
    """Images with two digits of different classes each, and the same images without each digit.

    Attributes:
        images: uint8 of shape `(n, 64, 64, 3)`, RGB.
        labels: int64 of shape `(n, 2)`, the digits (0 to 9).
        masks: bool of shape `(n, 2, 64, 64)`, True exactly on the pixels of a digit. The two masks do
            not overlap.
        without: uint8 of shape `(n, 2, 64, 64, 3)`, the same scenes without each digit. They differ
            from `images` only on its mask.

    Example:
        >>> pairs = rap_keras.datasets.cluttered_digit_pairs(2)
        >>> pairs.labels.shape, pairs.without.shape
        ((2, 2), (2, 2, 64, 64, 3))
    """

    images: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    without: np.ndarray


def cluttered_digit_pairs(n: int, seed: int = 0, split: Split = "test") -> PairScenes:
    """Draws `n` cluttered scenes with two handwritten digits of different classes each.

    Image `i` depends only on `(seed, split, i)`. The digits are those of `cluttered_digits`.

    Args:
        n: The number of scenes, at least 1.
        seed: A non-negative integer. The same seed gives the same scenes.
        split: The digits to draw from, `"train"` or `"test"`.

    Returns:
        The scenes with their labels and masks, and the scenes without each digit.

    Raises:
        InputError: `n`, `seed` or `split` is not one of the values above.

    Example:
        >>> pairs = rap_keras.datasets.cluttered_digit_pairs(3)
        >>> pairs.labels.shape, pairs.without.shape
        ((3, 2), (3, 2, 64, 64, 3))
    """
    _check(n, seed, split)
    scenes = [draw(i, seed, split, 2) for i in range(n)]
    return PairScenes(
        np.stack([s.render() for s in scenes]),
        np.array([[d.label for d in s.digits] for s in scenes], np.int64),
        np.stack([[d.mask for d in s.digits] for s in scenes]),
        np.stack([[s.render(without=d) for d in s.digits] for s in scenes]),
    )


def _check(n: int, seed: int, split: str) -> None:
    if n < 1:
        raise InputError(f"Expected at least 1 scene, got n={n}: pass a positive n.")
    if seed < 0:
        raise InputError(f"Expected a non-negative seed, got seed={seed}: pass 0 or more.")
    if split not in SPLITS:
        raise InputError(f"Expected split to be one of {SPLITS}, got {split!r}: pass one of them.")


def preprocess(images: np.ndarray) -> np.ndarray:
    """Scales scenes to the input range of the bundled models, -1 to 1.

    Args:
        images: uint8 of shape `(n, 64, 64, 3)`, as in `Scenes.images`.

    Returns:
        float32 of the same shape, `images / 127.5 - 1`.

    Raises:
        InputError: The images have another shape or dtype.

    Example:
        >>> x = rap_keras.datasets.preprocess(np.full((1, 64, 64, 3), 255, np.uint8))
        >>> float(x.max())
        1.0
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (SIZE, SIZE, 3):
        raise InputError(
            f"Expected uint8 images of shape (n, {SIZE}, {SIZE}, 3), got {images.dtype} of shape "
            f"{images.shape}: pass Scenes.images, or resize and convert the images."
        )
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


_MOST = 100_000
# The number of digits in a scene => the kind of the data set, and a description of its masks.
_KINDS = {
    1: ("cluttered-digits", "pixels of the digit"),
    2: ("cluttered-digit-pairs", "pixels of each of two digits"),
}


class DrawnDigits:
    """The scenes of `cluttered_digits` or `cluttered_digit_pairs`, drawn when they are read."""

    source = ""

    def __init__(self, n: int = 100, digits: int = 1) -> None:
        if not 1 <= n <= _MOST:
            raise InputError(f"Expected from 1 to {_MOST} scenes, got {n}: pass another number.")
        self.kind, self.objects = _KINDS[digits]
        self.names: Sequence[str] = tuple(f"scene-{i:05}" for i in range(n))
        self._digits = digits

    def read(self, index: int, size: Size | None = None) -> Sample:
        """Draws one scene. See `Dataset.read`."""
        index = range(len(self.names))[index]
        scene = draw(index, 0, "test", self._digits)
        objects = {str(d.label): d.mask for d in scene.digits}
        without = {str(d.label): scene.render(without=d) for d in scene.digits}
        return masked_sample(self.names[index], scene.render(), objects, size, without=without)
