"""The explained logit while pixels are replaced in the order of their relevance.

Region perturbation by Samek et al., "Evaluating the visualization of what a deep neural network has
learned", IEEE TNNLS 2017, arXiv 1509.06321, with single pixels or squares as regions. With the most
relevant pixels first (MoRF), the logit should fall quickly. With the least relevant first (LeRF), as in
RAP (Nam et al., AAAI 2020, arXiv 1904.00605), the logit should stay, or rise while negative relevance
is removed.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rap_keras.errors import InputError
from rap_keras.evaluation.batches import Predict, logits_of
from rap_keras.evaluation.curves import PerturbationCurve
from rap_keras.evaluation.heads import Head, are_decided, both_classes, probabilities, read_head
from rap_keras.evaluation.reading import one_shape, read_array, read_explained, read_heatmap
from rap_keras.evaluation.replacement import Impute, blurred, imputed, read_replacement
from rap_keras.support.options import choose, read_integer


def perturbation_masks(
    heatmap: ArrayLike, steps: int, pixels_per_step: int, order: str = "lerf", patch: int = 1
) -> NDArray[np.bool_]:
    """The pixels that are replaced after each step.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        steps: The number of steps.
        pixels_per_step: How many more pixels each step replaces: a multiple of the pixels of a patch,
            `patch ** 2`, or `patch` of a series.
        order: "lerf": the least relevant first, starting with the most negative. "morf": the most
            relevant first. Equally relevant pixels are taken row by row from the top, and from left to
            right.
        patch: The side of the square regions, in pixels, that are replaced as a whole; of a series, the
            length of its segments. They tile the image from the top left; those at the right and bottom
            border are cut off. The relevance of a region is the mean of its pixels.

    Returns:
        The masks, bool `(steps, height, width)`. Mask k has `(k + 1) * pixels_per_step` pixels, or
        fewer if regions are cut off.

    Raises:
        InputError: An argument is invalid, or there are not enough pixels.

    Example:
        >>> rap_keras.evaluation.perturbation_masks([[3.0, 1.0, 2.0]], steps=2, pixels_per_step=1)
        array([[[False,  True, False]],
        <BLANKLINE>
               [[False,  True,  True]]])
    """
    values = read_heatmap(heatmap)
    ranks, steps, per_step = _schedule(values, steps, pixels_per_step, order, patch)
    return ranks < np.reshape(np.arange(1, steps + 1) * per_step, (-1, *[1] * values.ndim))


def perturbation_curve(
    predict: Predict,
    x: ArrayLike,
    heatmap: ArrayLike,
    neuron: int,
    steps: int = 40,
    pixels_per_step: int | None = None,
    order: str = "lerf",
    replacement: ArrayLike | Impute = 0.0,
    batch_size: int = 32,
    patch: int = 1,
    head: Head = "softmax",
) -> PerturbationCurve:
    """Follows the explained logit while the pixels are replaced.

    `predict` is called `ceil((steps + 1) / batch_size)` times, always with a new array of the same
    shape. The last batch is filled up with copies of the last image, whose logits are ignored.

    Args:
        predict: From a batch, float32 `(n, height, width, channels)`, to the logits `(n, classes)`.
        x: The model's preprocessed input, `(height, width, channels)`, or a series or a vector.
        heatmap: The relevance of its pixels, `(height, width)`.
        neuron: The index of the explained class among the logits.
        steps: The number of steps.
        pixels_per_step: How many more pixels each step replaces, see `perturbation_masks`. Default:
            `regions // steps` regions, so that (nearly) all are replaced in the end.
        order: "lerf" or "morf", see `perturbation_masks`.
        replacement: What replaces the pixels: a number, an array `(channels,)` or of x's shape, or a
            function, see `perturb`.
        batch_size: The largest number of images in a batch.
        patch: The side of the square regions, see `perturbation_masks`.
        head: The function that turns the model's logits into probabilities. "softmax": classes that
            exclude each other. "sigmoid": one logit z means two classes, `neuron` 1 with z and 0 with
            -z; several logits mean classes that do not exclude each other. None: several outputs are
            treated as for "softmax", one as a regression. `LoadedModel.head` is the head of a loaded
            model.

    Returns:
        The curve.

    Example:
        >>> predict = lambda images: images.sum((1, 2))  # logits of two classes
        >>> x = np.ones((4, 4, 2))
        >>> rap_keras.evaluation.perturbation_curve(predict, x, x[..., 0], 1, steps=2).logits
        array([16.,  8.,  0.])
    """
    return perturbation_curves(
        predict,
        [x],
        [heatmap],
        [neuron],
        steps,
        pixels_per_step,
        order,
        [replacement],
        batch_size,
        patch,
        head=head,
    )[0]


def perturbation_curves(
    predict: Predict,
    x: Sequence[ArrayLike],
    heatmaps: Sequence[ArrayLike],
    neurons: Sequence[int],
    steps: int = 40,
    pixels_per_step: int | None = None,
    order: str = "lerf",
    replacements: Sequence[ArrayLike | Impute] | None = None,
    batch_size: int = 32,
    patch: int = 1,
    logits: ArrayLike | None = None,
    head: Head = "softmax",
) -> list[PerturbationCurve]:
    """Computes `perturbation_curve` for several images of one size, with shared batches.

    `x`, `heatmaps`, `neurons` and `replacements` (default: 0) have one entry per image. `logits` are
    the logits of the original images, `(n, classes)`, if known; step 0 is then not computed, which
    saves one of `steps + 1` forward passes. The other arguments are those of `perturbation_curve`.
    `predict` is called `ceil(n * (steps + 1) / batch_size)` times.

    Returns:
        The curve of each image.

    Example:
        >>> predict = lambda images: images.sum((1, 2))
        >>> x = np.ones((3, 4, 4, 2))
        >>> len(rap_keras.evaluation.perturbation_curves(predict, x, x[..., 0], [0, 1, 0], 2))
        3
    """
    if replacements is None:
        replacements = [0.0] * len(x)
    read_head(head)
    known = None if logits is None else both_classes(read_array("logits", logits, 2), head)
    given = {
        "images": x,
        "heatmaps": heatmaps,
        "neurons": neurons,
        "replacements": replacements,
        "rows of logits": x if known is None else known,
    }
    if len({len(values) for values in given.values()}) > 1:
        listed = ", ".join(f"{len(values)} {name}" for name, values in given.items())
        raise InputError(f"Expected one of each per image, got {listed}.")
    if not len(x):
        return []
    images = [
        _Perturbed(*one, steps, pixels_per_step, order, patch)
        for one in zip(x, heatmaps, neurons, replacements, strict=True)
    ]
    shape = one_shape(image.x for image in images)
    first = 0 if known is None else 1
    rows = itertools.chain.from_iterable(image.rows(first) for image in images)
    each = images[0].steps + 1 - first
    largest = max(image.neuron for image in images)
    found = logits_of(predict, rows, each * len(images), shape, largest, batch_size, head).reshape(
        len(images), each, -1
    )
    if known is not None:
        if known.shape[1] != found.shape[-1]:
            raise InputError(
                f"Expected logits of the {found.shape[-1]} neurons of predict, got {known.shape[1]}.",
                "logits",
            )
        found = np.concatenate([known[:, np.newaxis], found], axis=1)
    return [image.curve(rows, head) for image, rows in zip(images, found, strict=True)]


class _Perturbed:
    """An image and the order in which its pixels are replaced."""

    def __init__(
        self,
        x: ArrayLike,
        heatmap: ArrayLike,
        neuron: int,
        replacement: ArrayLike | Impute,
        *schedule: Any,
    ) -> None:
        self.x, values = read_explained(x, heatmap)
        self.ranks, self.steps, self.per_step = _schedule(values, *schedule)
        self.neuron = read_integer("neuron", neuron, 0)
        self.replacement = replacement

    def rows(self, first: int) -> Iterator[NDArray[np.float32]]:
        """Yields the image after each step, starting with step `first`; step 0 is the original image."""
        # The pixels in the order in which they are replaced, and their number after each region.
        pixels = np.argsort(self.ranks.ravel(), kind="stable")
        ends = np.concatenate([[0], np.cumsum(np.bincount(self.ranks.ravel()))])
        # Each step changes only a few pixels, unless a function fills all missing ones again.
        impute = self.replacement if callable(self.replacement) else None
        other = self.x if callable(self.replacement) else self.replacement
        flat = self.x.reshape(len(pixels), -1)
        filling = read_replacement(other, self.x.shape, self.x.dtype).reshape(flat.shape)
        current, missing = flat.copy(), np.zeros(self.ranks.shape, bool)
        for step in range(self.steps + 1):
            if step:
                chosen = pixels[ends[(step - 1) * self.per_step] : ends[step * self.per_step]]
                missing.ravel()[chosen] = True
                if impute is not None:
                    filled = imputed(impute, self.x, missing.copy()).reshape(current.shape)
                    current[missing.ravel()] = filled[missing.ravel()]
                else:
                    current[chosen] = filling[chosen]
            if step >= first:
                yield current.reshape(self.x.shape)

    def curve(self, logits: NDArray[np.float64], head: Head) -> PerturbationCurve:
        """The curve, from the logits of all steps."""
        chances = probabilities(logits, head)
        return PerturbationCurve(
            fractions=np.arange(self.steps + 1) * self.per_step / (self.ranks.max() + 1),
            logits=logits[:, self.neuron],
            correct=are_decided(logits, self.neuron, head),
            probabilities=None if chances is None else chances[:, self.neuron],
        )


def deletion_curve(
    predict: Predict,
    x: ArrayLike,
    heatmap: ArrayLike,
    neuron: int,
    replacement: ArrayLike | Impute = 0.0,
    **options: Any,
) -> PerturbationCurve:
    """The explained logit while the most relevant pixels are removed from the image.

    Deletion of Petsiuk, Das and Saenko, "RISE", BMVC 2018, arXiv 1806.07421. Its score is the area
    under the probabilities, `area_under_curve(curve.fractions, curve.probabilities)`; smaller is
    better. It is `perturbation_curve`, with the same arguments, and with order "morf".

    Returns:
        The curve.

    Example:
        >>> predict = lambda images: images.sum((1, 2))
        >>> x = np.ones((4, 4, 2))
        >>> rap_keras.evaluation.deletion_curve(predict, x, x[..., 0], 1, steps=2).probabilities
        array([0.5, 0.5, 0.5])
    """
    return perturbation_curve(
        predict, x, heatmap, neuron, order="morf", replacement=replacement, **options
    )


def insertion_curve(
    predict: Predict,
    x: ArrayLike,
    heatmap: ArrayLike,
    neuron: int,
    start: ArrayLike | None = None,
    **options: Any,
) -> PerturbationCurve:
    """The explained logit while the most relevant pixels of a blurred image become sharp.

    Insertion of Petsiuk, Das and Saenko, "RISE", BMVC 2018, arXiv 1806.07421. Its score is the area
    under the probabilities, `area_under_curve(curve.fractions, curve.probabilities)`; larger is better.
    It has the arguments of `perturbation_curve` except for `replacement`. It starts with the image
    `start`, of x's shape; default: `blurred(x)`.

    Returns:
        The curve.

    Example:
        >>> predict = lambda images: images.sum((1, 2))
        >>> x = np.ones((4, 4, 2))
        >>> start = np.zeros_like(x)
        >>> rap_keras.evaluation.insertion_curve(predict, x, x[..., 0], 1, start, steps=2).logits
        array([ 0.,  8., 16.])
    """
    begin = blurred(x) if start is None else start
    return perturbation_curve(
        predict, begin, heatmap, neuron, order="morf", replacement=x, **options
    )


def _schedule(
    values: NDArray[np.float64], steps: int, pixels_per_step: int | None, order: str, patch: int
) -> tuple[NDArray[np.int64], int, int]:
    """The rank of each pixel's region, the number of steps, and the number of regions per step."""
    side = read_integer("patch", patch, 1)
    along = [-(-size // side) for size in values.shape]
    regions = np.ravel_multi_index(tuple(np.indices(values.shape) // side), along)
    relevance = values.ravel()
    if side > 1:
        relevance = np.bincount(regions.ravel(), relevance) / np.bincount(regions.ravel())
    steps, per_step = _read_steps(steps, pixels_per_step, relevance.size, [side] * values.ndim)
    choose("order", order, ("lerf", "morf"))
    ranks = np.empty(relevance.size, np.int64)
    ordered = np.argsort(relevance if order == "lerf" else -relevance, kind="stable")
    ranks[ordered] = np.arange(relevance.size)
    return ranks[regions], steps, per_step


def _read_steps(
    steps: int, pixels_per_step: int | None, regions: int, patch: Sequence[int]
) -> tuple[int, int]:
    """The number of steps, and the number of regions, of the sides of a patch, that each replaces."""
    size = math.prod(patch)
    steps = read_integer("steps", steps, 1)
    if pixels_per_step is None:
        per_step = max(1, regions // steps)
    else:
        per_step, rest = divmod(read_integer("pixels_per_step", pixels_per_step, 1), size)
        if rest:
            raise InputError(
                f"Expected pixels_per_step to be a multiple of the {size} pixels of a patch, got "
                f"{pixels_per_step}.",
                ("pixels_per_step", "patch"),
            )
    if steps * per_step > regions:
        what = "pixels" if size == 1 else f"patches of {' x '.join(map(str, patch))} pixels"
        raise InputError(
            f"Expected {'steps * pixels_per_step' if size == 1 else 'the steps'} to replace at most "
            f"the {regions} {what} of the heatmap, got {steps} * {per_step}: lower one of them."
        )
    return steps, per_step
