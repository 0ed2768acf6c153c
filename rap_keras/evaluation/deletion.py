"""Single deletion: does the relevance of patches predict the drop of the logit without each of them?

Source: Hesse, Schaub-Meyer and Roth, "Benchmarking the attribution quality of vision models", NeurIPS
2024, arXiv 2407.11910. A grid divides the image into patches, and each patch alone is removed. A
single patch is a small change, and a model can be fine-tuned on images without a random patch. Such
images are then in-domain for the model (the in-domain single deletion score, IDSDS).
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError
from rap_keras.evaluation.batches import Predict, logits_of
from rap_keras.evaluation.classes import rank_correlation
from rap_keras.evaluation.heads import Head, both_classes, read_head
from rap_keras.evaluation.reading import (
    cell_numbers,
    one_shape,
    pixels_of,
    read_array,
    read_explained,
    read_heatmap,
    read_input,
)
from rap_keras.evaluation.replacement import Impute, perturb
from rap_keras.support.options import read_integer


def single_deletion_score(
    predict: Predict,
    x: ArrayLike,
    heatmap: ArrayLike,
    neuron: int,
    grid: Sequence[int] | None = None,
    replacement: ArrayLike | Impute = 0.0,
    batch_size: int = 32,
    head: Head = None,
) -> float:
    """The rank correlation between the relevance of patches and the drop of the logit without each.

    Spearman's correlation of `patch_relevance` and `single_deletion_drops`. To compare several maps of
    an image, compute the drops once and use `deletion_correlation`.

    Args:
        predict: From a batch, float32 `(n, height, width, channels)`, to the logits `(n, classes)`.
        x: The model's preprocessed input, `(height, width, channels)`, or a series or a vector.
        heatmap: The relevance of its pixels, `(height, width)`.
        neuron: The index of the explained class among the logits.
        grid: The number of rows and columns of patches, see `patch_relevance`.
        replacement: What replaces the pixels of a patch, see `perturb`. The paper uses 0 in the model's
            preprocessed input.
        batch_size: The largest number of images in a batch.
        head: "sigmoid" for a model with one logit z: `neuron` 1 has z and 0 has -z. It has no effect
            for other models.

    Returns:
        -1 to 1; larger is better. NaN if the map is constant, or if all patches have the same relevance
        or the same drop.

    Example:
        >>> predict = lambda images: images.sum((1, 2))  # logits of two classes
        >>> x = np.random.default_rng(0).normal(size=(8, 8, 2))
        >>> round(rap_keras.evaluation.single_deletion_score(predict, x, x[..., 1], 1), 4)
        1.0
    """
    image, values = read_explained(x, heatmap)
    drops = single_deletion_drops(
        predict, [image], [neuron], grid, [replacement], batch_size, head=head
    )
    return deletion_correlation(values, drops[0], grid)


def deletion_correlation(
    heatmap: ArrayLike, drops: ArrayLike, grid: Sequence[int] | None = None
) -> float:
    """The single deletion score of a map from drops that are known, such as for several maps.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`, or `(steps,)`.
        drops: The drop of the logit without each patch of the grid, see `single_deletion_drops`.
        grid: The number of rows and columns of patches, see `patch_relevance`.

    Returns:
        As `single_deletion_score`.

    Raises:
        InputError: The heatmap or the grid is invalid, or there is not one drop for each patch.

    Example:
        >>> heatmap = [[3.0, 1.0], [0.0, 2.0]]
        >>> drops = [[0.9, 0.2], [0.1, 0.4]]
        >>> round(rap_keras.evaluation.deletion_correlation(heatmap, drops, grid=(2, 2)), 4)
        1.0
    """
    relevance, given = patch_relevance(heatmap, grid), np.asarray(drops)
    if given.shape != relevance.shape:
        raise InputError(
            f"Expected one drop for each patch, {relevance.shape}, got {given.shape}.", "drops"
        )
    if np.ptp(read_heatmap(heatmap)) == 0:  # patches of different sizes have different sums
        return np.nan
    return rank_correlation(relevance, given)


def patch_relevance(heatmap: ArrayLike, grid: Sequence[int] | None = None) -> NDArray[np.float64]:
    """The sum of the relevance in each patch of a grid.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`, or `(steps,)`.
        grid: The number of rows and columns of patches. If they do not divide the image, patches
            differ by one pixel a side. Default: (4, 4), as in the paper. A series or a vector has one
            number, the number of segments; default: 16, or one for each of fewer steps.

    Returns:
        The sums, in the shape of the grid.

    Raises:
        InputError: The heatmap or the grid is invalid, or a patch has no pixels.

    Example:
        >>> rap_keras.evaluation.patch_relevance([[3.0, 1.0, 2.0], [0.0, 0.0, 1.0]], grid=(1, 2))
        array([[3., 4.]])
    """
    values = read_heatmap(heatmap)
    grid = _grid_of(values.shape, grid)
    numbers = cell_numbers(values.shape, grid)
    return np.asarray(np.bincount(numbers.ravel(), values.ravel()), np.float64).reshape(grid)


def _grid_of(shape: tuple[int, ...], grid: Sequence[int] | None) -> Sequence[int]:
    """The grid, or the default of a shape."""
    if grid is not None:
        return grid
    return (4, 4) if len(shape) == 2 else (min(16, *shape),)


def single_deletion_drops(
    predict: Predict,
    x: Sequence[ArrayLike],
    neurons: Sequence[int],
    grid: Sequence[int] | None = None,
    replacements: Sequence[ArrayLike | Impute] | None = None,
    batch_size: int = 32,
    logits: ArrayLike | None = None,
    head: Head = None,
) -> NDArray[np.float64]:
    """The drop of the explained logit of images of one size without each patch of a grid.

    Images share batches. `predict` is called `ceil(n * (patches + 1) / batch_size)` times.

    Args:
        predict: From a batch, float32 `(n, height, width, channels)`, to the logits `(n, classes)`.
        x: The model's preprocessed inputs, each `(height, width, channels)`.
        neurons: For each image, the index of the explained class among the logits.
        grid: The number of rows and columns of patches, see `patch_relevance`.
        replacements: For each image, what replaces the pixels of a patch, see `perturb`; default: 0.
        batch_size: The largest number of images in a batch.
        logits: The logits of the original images, `(n, classes)`, if known; this saves their forward
            passes.
        head: As in `single_deletion_score`.

    Returns:
        The drops, `(images, *grid)`.

    Raises:
        InputError: An argument is invalid, the images differ in size, or a patch has no pixels.

    Example:
        >>> predict = lambda images: images.sum((1, 2))  # logits of two classes
        >>> x = np.ones((1, 4, 6, 2))
        >>> rap_keras.evaluation.single_deletion_drops(predict, x, [1], grid=(1, 2))
        array([[[12., 12.]]])
    """
    read_head(head)
    if replacements is None:
        replacements = [0.0] * len(x)
    images = [read_input(one).astype(np.float32) for one in x]
    if not len(images) == len(neurons) == len(replacements) > 0:
        raise InputError(
            f"Expected one of each per image, got {len(images)} images, {len(neurons)} neurons and "
            f"{len(replacements)} replacements."
        )
    shape = one_shape(images)
    explained = [read_integer("neuron", neuron, 0) for neuron in neurons]
    grid = _grid_of(pixels_of(shape), grid)
    numbers = cell_numbers(pixels_of(shape), grid)
    patches = int(numbers.max()) + 1

    def without_patches() -> Iterator[NDArray[np.float32]]:
        for image, replacement in zip(images, replacements, strict=True):
            for patch in range(patches):
                yield perturb(image, (numbers == patch)[np.newaxis], replacement)[0]

    rows, count = without_patches(), patches * len(images)
    if logits is None:
        rows, count = itertools.chain(images, rows), count + len(images)
    found = logits_of(predict, rows, count, shape, max(explained), batch_size, head)
    if logits is None:
        before, found = found[: len(images)], found[len(images) :]
    else:
        before = both_classes(read_array("logits", logits, 2), head)
        if before.shape != (len(images), found.shape[1]):
            raise InputError(
                f"Expected logits of shape {(len(images), found.shape[1])}, got {before.shape}.",
                "logits",
            )
    after = found.reshape(len(images), patches, -1)
    drops = [b[k] - a[:, k] for b, a, k in zip(before, after, explained, strict=True)]
    return np.reshape(drops, (len(images), *grid))
