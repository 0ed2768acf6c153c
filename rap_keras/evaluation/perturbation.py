"""What the explained logit does while the pixels are replaced in the order of their relevance.

Region perturbation by Samek et al., "Evaluating the visualization of what a deep neural network has
learned", IEEE TNNLS 2017, arXiv 1509.06321, with single pixels or squares as regions. Most relevant
first (MoRF), the logit should fall soon; least relevant first (LeRF), as in RAP (Nam et al., AAAI 2020,
arXiv 1904.00605), the logit should stay, or rise while negative relevance is removed.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import csc_array
from scipy.sparse.linalg import spsolve
from scipy.stats import pearsonr

from rap_keras.errors import InputError
from rap_keras.evaluation.heads import Head, are_decided, both_classes, probabilities_of, read_head
from rap_keras.evaluation.reading import read_array, read_heatmap, read_mask, read_seed
from rap_keras.support.options import choose, read_integer, read_number

Predict = Callable[[NDArray[np.float32]], ArrayLike]
Impute = Callable[[NDArray[np.float32], NDArray[np.bool_]], ArrayLike]

# Weights of a pixel's neighbours, as row and column offsets: 1/6 beside it, 1/12 at its corners.
_NEIGHBOURS = {
    (row, column): (1 / 6 if 0 in (row, column) else 1 / 12)
    for row in (-1, 0, 1)
    for column in (-1, 0, 1)
    if (row, column) != (0, 0)
}


@dataclass(frozen=True, eq=False)
class PerturbationCurve:
    """What became of one image, step by step, from the image as it is.

    Attributes:
        fractions: The share of the regions that is replaced, `(steps + 1,)`, from 0 on.
        logits: The logit of the explained neuron, `(steps + 1,)`, float64; for class 0 of one sigmoid
            the negated logit.
        correct: Whether the model still predicts the explained class, bool `(steps + 1,)`: no other
            neuron has a larger logit; with sigmoids, which may predict several classes, the logit is not
            negative. None for a regression.
        probabilities: Its softmax or sigmoid, by the model's head, `(steps + 1,)`, float64; None for a
            regression.
    """

    fractions: NDArray[np.float64]
    logits: NDArray[np.float64]
    correct: NDArray[np.bool_] | None
    probabilities: NDArray[np.float64] | None


def perturbation_masks(
    heatmap: ArrayLike, steps: int, pixels_per_step: int, order: str = "lerf", patch: int = 1
) -> NDArray[np.bool_]:
    """The pixels that are replaced after each step.

    Args:
        heatmap: The relevance of the pixels, `(height, width)`.
        steps: The number of steps.
        pixels_per_step: How many more pixels each step replaces: a multiple of `patch ** 2`.
        order: "lerf": the least relevant first, the most negative relevance being the least.
            "morf": the most relevant first. Of equally relevant pixels, those of the upper rows
            come first, and in a row those on the left.
        patch: The side of the square regions, in pixels, that are replaced as a whole. They lie side
            by side from the upper left on; those that stick out on the right and below are cut off. A
            region has the mean relevance of its pixels.

    Returns:
        The masks, bool `(steps, height, width)`; mask k has `(k + 1) * pixels_per_step` pixels, less
        where regions are cut off.

    Raises:
        InputError: The arguments are not as described, or there are not as many pixels.
    """
    values = read_heatmap(heatmap)
    regions, relevance = _regions(values, patch)
    steps, per_step = _read_steps(steps, pixels_per_step, relevance.size, patch)
    counts = np.arange(1, steps + 1) * per_step
    return _ranks(relevance, order)[regions] < counts[:, np.newaxis, np.newaxis]


def perturb(x: ArrayLike, masks: ArrayLike, replacement: ArrayLike | Impute = 0.0) -> NDArray[Any]:
    """Replaces the pixels of an image that the masks mark.

    The result has all perturbed images at once; `perturbation_curve` makes them batch by batch.

    Args:
        x: The model's input as preprocessed, `(height, width, channels)`.
        masks: Which pixels to replace, bool `(steps, height, width)`.
        replacement: What by: a number, an array `(channels,)`, one of x's shape (as `blurred` makes
            it), or a function from the image and a mask `(height, width)` to one of x's shape, of
            which the marked pixels are taken (as `noisy_linear_imputation`).

    Returns:
        The perturbed images, `(steps, height, width, channels)`, of x's dtype (float32 where x holds
        integers).

    Raises:
        InputError: The arguments are not as described.
    """
    values = read_array("the input x", x, 3)
    given = np.asarray(x)
    dtype = given.dtype if given.dtype.kind == "f" else np.dtype(np.float32)
    where = np.asarray(masks)
    if where.dtype != bool or where.ndim != 3 or where.shape[1:] != values.shape[:2]:
        height, width = values.shape[:2]
        raise InputError(
            f"Expected masks to be a bool array of shape (steps, {height}, {width}), as "
            f"perturbation_masks makes them, got {where.dtype} of shape {where.shape}."
        )
    image = values.astype(dtype)
    if callable(replacement):
        other = np.empty((len(where), *values.shape), dtype)
        for row, mask in zip(other, where, strict=True):
            row[...] = _imputed(replacement, image, mask)
    else:
        other = _read_replacement(replacement, values.shape, dtype)
    return np.where(where[..., np.newaxis], other, image)


def blurred(x: ArrayLike, sigma: float = 5) -> NDArray[np.float32]:
    """The image blurred by a Gaussian, as a replacement that keeps its colours.

    Args:
        x: The model's input as preprocessed, `(height, width, channels)`.
        sigma: The standard deviation of the Gaussian, in pixels; that of Petsiuk et al. by default.

    Returns:
        The blurred image, float32; beyond its border, the image goes on mirrored.

    Raises:
        InputError: The arguments are not as described.
    """
    width = read_number("sigma", sigma, 0)
    image = read_array("the input x", x, 3)
    return np.asarray(gaussian_filter(image, (width, width, 0)), np.float32)


def noisy_linear_imputation(
    x: ArrayLike, mask: ArrayLike, noise: float = 0.01, seed: int | Sequence[int] = 0
) -> NDArray[np.float32]:
    """Replaces pixels by weighted means of their neighbours, so that their place cannot be told.

    Of Rong et al., "A consistent and efficient evaluation strategy for attribution methods" (ROAD), ICML
    2022, arXiv 2202.00449: each missing pixel is the mean of its eight neighbours, with weights 1/6
    beside it and 1/12 at its corners, whether these are known or missing themselves, which makes a
    sparse linear system; beyond the border there are none. Then a little noise is added.

    Args:
        x: The model's input as preprocessed, `(height, width, channels)`.
        mask: The pixels to replace, bool `(height, width)`.
        noise: The standard deviation of the noise, in the unit of x.
        seed: That of the noise.

    Returns:
        The image, float32. Where no pixel is known, all are the mean of x, with noise.

    Raises:
        InputError: The arguments are not as described.
    """
    deviation, generator = read_number("noise", noise, 0), read_seed(seed)
    image = read_array("the input x", x, 3)
    missing = read_mask("mask", mask, image.shape[:2])
    found = image.astype(np.float32)
    if missing.all():
        filled = np.broadcast_to(image.mean(axis=(0, 1)), (missing.size, image.shape[-1]))
    elif missing.any():
        filled = _imputation(image, missing)
    else:
        return found
    found[missing] = filled + generator.normal(scale=deviation, size=filled.shape)
    return found


def _imputation(image: NDArray[np.float64], missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The solution of the linear system, a row for each missing pixel."""
    height, width = missing.shape
    count = int(missing.sum())
    unknown = np.full(missing.shape, -1)
    unknown[missing] = np.arange(count)
    rows, columns = np.nonzero(missing)
    totals, known = np.zeros(count), np.zeros((count, image.shape[-1]))
    entries: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    for (down, right), weight in _NEIGHBOURS.items():
        y, x = rows + down, columns + right
        (there,) = np.nonzero((y >= 0) & (y < height) & (x >= 0) & (x < width))
        y, x = y[there], x[there]
        totals[there] += weight
        free = missing[y, x]
        known[there[~free]] += weight * image[y[~free], x[~free]]
        entries.append((there[free], unknown[y[free], x[free]], np.full(int(free.sum()), -weight)))
    entries.append((np.arange(count), np.arange(count), totals))
    i, j, weights = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    system = csc_array((weights, (i, j)), shape=(count, count))
    # The ordering for systems whose pattern is symmetric.
    return np.asarray(spsolve(system, known, permc_spec="MMD_AT_PLUS_A")).reshape(known.shape)


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

    `predict` is called `ceil((steps + 1) / batch_size)` times, each time with a new array of the
    same shape: the last batch is filled up with copies of the last image, whose logits are dropped.

    Args:
        predict: From a batch float32 `(n, height, width, channels)` to the logits `(n, classes)`.
        x: The model's input as preprocessed, `(height, width, channels)`.
        heatmap: The relevance of its pixels, `(height, width)`.
        neuron: The index of the explained neuron among the logits.
        steps: The number of steps.
        pixels_per_step: How many more pixels each step replaces, a multiple of `patch ** 2`; default:
            `regions // steps` regions, so that (nearly) all are replaced in the end.
        order: "lerf" or "morf", see `perturbation_masks`.
        replacement: What to replace the pixels by: a number, an array `(channels,)`, one of x's
            shape, or a function, see `perturb`.
        batch_size: The most images in a batch.
        patch: The side of the square regions, see `perturbation_masks`.
        head: What turns the model's logits into probabilities. "softmax": classes that exclude each
            other. "sigmoid": one logit z is two classes, `neuron` 1 for z and 0 for -z; several logits
            are classes that do not exclude each other. None: several outputs count as for "softmax", one
            as a regression. `LoadedModel.head` knows a model's head.

    Returns:
        The curve.

    Raises:
        InputError: The arguments or the logits are not as described.
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
    """`perturbation_curve` of several images of one size, whose steps share batches.

    Args:
        predict: See `perturbation_curve`; it is called `ceil(n * (steps + 1) / batch_size)` times.
        x: The model's inputs as preprocessed, n times `(height, width, channels)`.
        heatmaps: The relevance of their pixels, n times `(height, width)`.
        neurons: The index of the explained neuron of each.
        steps: See `perturbation_curve`, as `pixels_per_step`, `order`, `batch_size` and `patch`.
        pixels_per_step: See there.
        order: See there.
        replacements: What to replace the pixels of each image by, n times `replacement`; default: 0.
        batch_size: See there.
        patch: See there.
        logits: Those of the images as they are, `(n, classes)`, if they are known: then step 0 is not
            computed, which saves one forward pass of `steps + 1`.
        head: See `perturbation_curve`.

    Returns:
        The curve of each image.

    Raises:
        InputError: The arguments or the logits are not as described.
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
        raise InputError(f"Expected one of each for every image, got {listed}.")
    if not len(x):
        return []
    images = [
        _Perturbed.of(*one, steps, pixels_per_step, order, patch)
        for one in zip(x, heatmaps, neurons, replacements, strict=True)
    ]
    if len({image.x.shape for image in images}) > 1:
        shapes = sorted({image.x.shape for image in images})
        raise InputError(f"Expected images of one size, got {', '.join(map(str, shapes))}.", "x")
    first = 0 if known is None else 1
    rows = itertools.chain.from_iterable(image.rows(first) for image in images)
    each = images[0].steps + 1 - first
    largest = max(image.neuron for image in images)
    found = _logits_of(
        predict, rows, each * len(images), images[0].x.shape, largest, batch_size, head
    ).reshape(len(images), each, -1)
    if known is not None:
        if known.shape[1] != found.shape[-1]:
            raise InputError(
                f"Expected logits of the {found.shape[-1]} neurons of predict, got {known.shape[1]}.",
                "logits",
            )
        found = np.concatenate([known[:, np.newaxis], found], axis=1)
    return [image.curve(own, head) for image, own in zip(images, found, strict=True)]


@dataclass(frozen=True, eq=False)
class _Perturbed:
    """An image on its way through the steps of a perturbation.

    Attributes:
        x: The image.
        neuron: The explained neuron.
        steps: The number of steps.
        per_step: The regions that each replaces.
        ranks: The place of each pixel's region in the order, `(height, width)`.
        replacement: What replaces them.
    """

    x: NDArray[np.float32]
    neuron: int
    steps: int
    per_step: int
    ranks: NDArray[np.intp]
    replacement: ArrayLike | Impute

    @classmethod
    def of(
        cls,
        x: ArrayLike,
        heatmap: ArrayLike,
        neuron: int,
        replacement: ArrayLike | Impute,
        steps: int,
        pixels_per_step: int | None,
        order: str,
        patch: int,
    ) -> "_Perturbed":
        image, values = _read_image(x, heatmap)
        regions, relevance = _regions(values, patch)
        steps, per_step = _read_steps(steps, pixels_per_step, relevance.size, patch)
        ranks = _ranks(relevance, order)[regions]
        return cls(image, read_integer("neuron", neuron, 0), steps, per_step, ranks, replacement)

    def rows(self, first: int) -> Iterator[NDArray[np.float32]]:
        """The image after each step from the first one on; step 0 is the image as it is."""
        # The pixels in the order in which they are replaced, and how many are after each region.
        pixels = np.argsort(self.ranks.ravel(), kind="stable")
        ends = np.concatenate([[0], np.cumsum(np.bincount(self.ranks.ravel()))])
        # From step to step only a few pixels change, unless a function fills all the missing ones anew.
        impute = self.replacement if callable(self.replacement) else None
        other = self.x if callable(self.replacement) else self.replacement
        flat = self.x.reshape(len(pixels), -1)
        filling = _read_replacement(other, self.x.shape, self.x.dtype).reshape(flat.shape)
        current, missing = flat.copy(), np.zeros(self.ranks.shape, bool)
        for step in range(self.steps + 1):
            if step:
                chosen = pixels[ends[(step - 1) * self.per_step] : ends[step * self.per_step]]
                missing.ravel()[chosen] = True
                if impute is not None:
                    filled = _imputed(impute, self.x, missing.copy()).reshape(current.shape)
                    current[missing.ravel()] = filled[missing.ravel()]
                else:
                    current[chosen] = filling[chosen]
            if step >= first:
                yield current.reshape(self.x.shape)

    def curve(self, logits: NDArray[np.float64], head: Head) -> PerturbationCurve:
        """The curve, from the logits of all steps."""
        return PerturbationCurve(
            fractions=np.arange(self.steps + 1) * self.per_step / (self.ranks.max() + 1),
            logits=logits[:, self.neuron],
            correct=are_decided(logits, self.neuron, head),
            probabilities=probabilities_of(logits, self.neuron, head),
        )


def _logits_of(
    predict: Predict,
    rows: Iterable[NDArray[np.float32]],
    count: int,
    shape: tuple[int, ...],
    neuron: int,
    batch_size: int,
    head: Head,
) -> NDArray[np.float64]:
    """The logits of each row, `(count, classes)`, in as few batches as may be, of equal size."""
    batches = max(1, -(-count // read_integer("batch_size", batch_size, 1)))
    size = -(-count // batches)
    queue = iter(rows)
    parts = []
    for start in range(0, count, size):
        used = min(size, count - start)
        batch = np.empty((size, *shape), np.float32)
        for k in range(used):
            batch[k] = next(queue)
        batch[used:] = batch[used - 1]
        parts.append(_logits(predict(batch), size, neuron, head)[:used])
    return np.concatenate(parts)


def deletion_curve(
    predict: Predict,
    x: ArrayLike,
    heatmap: ArrayLike,
    neuron: int,
    replacement: ArrayLike | Impute = 0.0,
    **options: Any,
) -> PerturbationCurve:
    """What the network makes of the image while the most relevant pixels are taken from it.

    Deletion of Petsiuk, Das and Saenko, "RISE", BMVC 2018, arXiv 1806.07421, whose score is the area
    under the probabilities, `area_under_curve(curve.fractions, curve.probabilities)`: the smaller the
    better. It is `perturbation_curve` with the most relevant pixels first.

    Args:
        predict: From a batch float32 `(n, height, width, channels)` to the logits `(n, classes)`.
        x: The model's input as preprocessed, `(height, width, channels)`.
        heatmap: The relevance of its pixels, `(height, width)`.
        neuron: The index of the explained neuron among the logits.
        replacement: What pixels become, see `perturb`.
        **options: `steps`, `pixels_per_step`, `batch_size`, `patch`, `head` of `perturbation_curve`.

    Returns:
        The curve.

    Raises:
        InputError: The arguments or the logits are not as described.
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
    """What the network makes of a blurred image while the most relevant pixels become sharp.

    Insertion of Petsiuk, Das and Saenko, "RISE", BMVC 2018, arXiv 1806.07421, whose score is the area
    under the probabilities, `area_under_curve(curve.fractions, curve.probabilities)`: the greater the
    better.

    Args:
        predict: From a batch float32 `(n, height, width, channels)` to the logits `(n, classes)`.
        x: The model's input as preprocessed, `(height, width, channels)`.
        heatmap: The relevance of its pixels, `(height, width)`.
        neuron: The index of the explained neuron among the logits.
        start: The image to begin with, of x's shape; default: `blurred(x)`.
        **options: `steps`, `pixels_per_step`, `batch_size`, `patch`, `head` of `perturbation_curve`.

    Returns:
        The curve, from the blurred image on.

    Raises:
        InputError: The arguments or the logits are not as described.
    """
    begin = blurred(x) if start is None else start
    return perturbation_curve(
        predict, begin, heatmap, neuron, order="morf", replacement=x, **options
    )


def faithfulness_correlation(
    predict: Predict,
    x: ArrayLike,
    heatmap: ArrayLike,
    neuron: int,
    pixels: int | None = None,
    samples: int = 100,
    replacement: ArrayLike | Impute = 0.0,
    seed: int | Sequence[int] = 0,
    batch_size: int = 32,
    head: Head = None,
) -> float:
    """Whether the relevance of pixels tells what the logit loses without them.

    Of Bhatt, Weller and Moura, "Evaluating and aggregating feature-based model explanations", IJCAI
    2020, arXiv 2005.00631: Pearson's correlation, over random sets S of pixels, of sum_S R with
    f(x) - f(x without S).

    Args:
        predict: From a batch float32 `(n, height, width, channels)` to the logits `(n, classes)`.
        x: The model's input as preprocessed, `(height, width, channels)`.
        heatmap: The relevance of its pixels, `(height, width)`.
        neuron: The index of the explained neuron among the logits.
        pixels: The number of pixels in a set; default: a tenth of all.
        samples: The number of sets, 2 at least.
        replacement: What the pixels of a set become, see `perturb`.
        seed: That of the sets.
        batch_size: The most images in a batch.
        head: "sigmoid" for a model with one logit z: `neuron` 1 is z, 0 is -z. It has no effect for
            other models.

    Returns:
        -1 to 1, the greater the better. NaN where all sums, or all logits, are the same.

    Raises:
        InputError: The arguments or the logits are not as described.
    """
    image, values = _read_image(x, heatmap)
    neuron = read_integer("neuron", neuron, 0)
    samples, generator = read_integer("samples", samples, 2), read_seed(seed)
    count = max(1, values.size // 10) if pixels is None else read_integer("pixels", pixels, 1)
    if count > values.size:
        raise InputError(
            f"Expected at most the {values.size} pixels of the heatmap in a set, got {count}: lower "
            "pixels.",
            "pixels",
        )
    sums = np.empty(samples)

    def images() -> Iterator[NDArray[np.float32]]:
        for k in range(samples):
            chosen = generator.choice(values.size, count, replace=False)
            sums[k] = values.ravel()[chosen].sum()
            mask = np.zeros(values.size, bool)
            mask[chosen] = True
            yield perturb(image, mask.reshape(1, *values.shape), replacement)[0]

    drops = logit_drops(predict, image, images(), samples, neuron, batch_size, head)
    if np.ptp(sums) == 0 or np.ptp(drops) == 0:
        return math.nan
    return float(pearsonr(sums, drops).statistic)


def logit_drops(
    predict: Predict,
    x: NDArray[np.float32],
    images: Iterable[NDArray[np.float32]],
    count: int,
    neuron: int,
    batch_size: int,
    head: Head = None,
) -> NDArray[np.float64]:
    """What the explained logit loses on each of `count` other images, `(count,)`."""
    rows = itertools.chain([x], images)
    read_head(head)
    logits = _logits_of(predict, rows, count + 1, x.shape, neuron, batch_size, head)[:, neuron]
    return logits[0] - logits[1:]


def symmetric_relevance_gain(
    lerf: PerturbationCurve, morf: PerturbationCurve, of: str = "logits"
) -> float:
    """How much longer the logit stays with the least relevant pixels replaced first than with the most.

    The area under the curve of the least relevant first less that of the most relevant first, of
    Blücher, Vielhaben and Strodthoff, "Decoupling pixel flipping and occlusion strategy for consistent
    XAI benchmarks", TMLR 2024, arXiv 2401.06654. What the replacement does to all images alike drops
    out, so that orders of methods depend less on it.

    Args:
        lerf: The curve of order "lerf".
        morf: The curve of order "morf", with the same steps.
        of: "logits", "probabilities" or "correct".

    Returns:
        The gain, in units of these, the greater the better; 0 for a map that tells nothing.

    Raises:
        InputError: The curves have different steps, or the option is none of these.
    """
    choose("of", of, ("logits", "probabilities", "correct"))
    if getattr(lerf, of) is None or getattr(morf, of) is None:
        raise InputError(
            f"Expected curves with {of}, got curves of a regression: use of='logits'.", "of"
        )
    if not np.array_equal(lerf.fractions, morf.fractions):
        raise InputError(
            "Expected two curves of the same steps: compute them with the same options."
        )
    above, below = (np.asarray(getattr(curve, of), np.float64) for curve in (lerf, morf))
    return area_under_curve(lerf.fractions, above - below)


def area_over_perturbation_curve(values: ArrayLike) -> float:
    """How far the values lie below the first, on average: AOPC.

    The mean of values[0] - values[k] over k = 0 ... steps, the first included, of one image in eq. 12
    of Samek et al. (2017). MoRF: the greater the better; LeRF: the smaller the better.

    Args:
        values: The logits (or other scores) of a curve, `(steps + 1,)`.

    Returns:
        The AOPC, in units of the values.

    Raises:
        InputError: The values are no such array of finite numbers.
    """
    numbers = read_array("the values of a curve", values, 1)
    return float((numbers[0] - numbers).mean())


def area_under_curve(fractions: ArrayLike, values: ArrayLike) -> float:
    """The area under a curve by the trapezoidal rule.

    Args:
        fractions: Where the values belong, `(n,)`, ascending.
        values: The values, `(n,)`.

    Returns:
        The area, in units of the values; over fractions from 0 to 1 it is their mean.

    Raises:
        InputError: The arrays are not as described, or hold a single point.
    """
    numbers = read_array("the values of a curve", values, 1)
    places = read_array("the fractions of a curve", fractions, 1)
    if len(places) < 2 or len(places) != len(numbers) or (np.diff(places) < 0).any():
        raise InputError(
            "Expected at least two ascending fractions and as many values, got "
            f"{len(places)} and {len(numbers)}: pass those of one PerturbationCurve."
        )
    return float((np.diff(places) * (numbers[1:] + numbers[:-1])).sum() / 2)


def _ranks(relevance: NDArray[np.float64], order: str) -> NDArray[np.int64]:
    """When each region is replaced, from 0 on."""
    choose("order", order, ("lerf", "morf"))
    ranks = np.empty(relevance.size, np.int64)
    ordered = np.argsort(relevance if order == "lerf" else -relevance, kind="stable")
    ranks[ordered] = np.arange(relevance.size)
    return ranks


def _regions(
    values: NDArray[np.float64], patch: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The region of each pixel, numbered from the upper left on, and the relevance of each region."""
    side = read_integer("patch", patch, 1)
    rows, columns = np.indices(values.shape) // side
    regions = rows * (columns.max() + 1) + columns
    if side == 1:
        return regions, values.ravel()
    flat = regions.ravel()
    return regions, np.bincount(flat, values.ravel()) / np.bincount(flat)


def _read_steps(
    steps: int, pixels_per_step: int | None, regions: int, patch: int
) -> tuple[int, int]:
    """The number of steps, and of the regions that each replaces."""
    steps = read_integer("steps", steps, 1)
    if pixels_per_step is None:
        per_step = max(1, regions // steps)
    else:
        per_step, rest = divmod(read_integer("pixels_per_step", pixels_per_step, 1), patch**2)
        if rest:
            raise InputError(
                f"Expected pixels_per_step to be a multiple of the {patch**2} pixels of a patch, got "
                f"{pixels_per_step}.",
                ("pixels_per_step", "patch"),
            )
    if steps * per_step > regions:
        what = "pixels" if patch == 1 else f"patches of {patch} x {patch} pixels"
        raise InputError(
            f"Expected {'steps * pixels_per_step' if patch == 1 else 'the steps'} to replace at most "
            f"the {regions} {what} of the heatmap, got {steps} * {per_step}: lower one of them."
        )
    return steps, per_step


def _read_image(
    x: ArrayLike, heatmap: ArrayLike
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    image = read_array("the input x", x, 3).astype(np.float32)
    values = read_heatmap(heatmap)
    if values.shape != image.shape[:2]:
        raise InputError(
            f"Expected a heatmap of the height and width of the input, {image.shape[:2]}, got "
            f"{values.shape}."
        )
    return image, values


def _imputed(impute: Impute, image: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    found = read_array("what the replacement returns", impute(image.copy(), mask), None)
    if found.shape != image.shape:
        raise InputError(
            f"Expected the replacement to return an image of shape {image.shape}, got {found.shape}."
        )
    return found.astype(image.dtype)


def _read_replacement(
    replacement: ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    array = read_array("the replacement", replacement, None)
    if array.shape not in ((), shape[-1:], shape):
        raise InputError(
            f"Expected the replacement to be a number or an array of shape {shape[-1:]} or {shape}, "
            f"got shape {array.shape}."
        )
    return np.broadcast_to(array.astype(dtype), shape)


def _logits(logits: ArrayLike, size: int, neuron: int, head: Head) -> NDArray[np.float64]:
    # A copy: what predict returns may be its own, to be overwritten with the next batch.
    array = np.array(logits, np.float64)
    if array.ndim != 2 or len(array) != size:
        raise InputError(
            f"Expected predict to return logits of shape ({size}, classes), got {array.shape}."
        )
    array = both_classes(array, head)
    if neuron >= array.shape[1]:
        raise InputError(
            f"Expected neuron to be less than the {array.shape[1]} logits of predict, got {neuron}."
        )
    if not np.isfinite(array).all():
        raise InputError("Expected predict to return finite logits, got NaN or infinity.")
    return array
